"""Programs that are started until they report that they serve, and ended."""

import queue
import re
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

from benchmarks.contenders import Contender

ROOT: Final = Path(__file__).parents[1]
_PATIENCE: Final = 30.0  # seconds from one line to the next until it serves
_EXIT_TIMEOUT: Final = 10.0  # seconds from SIGTERM to SIGKILL
_REMEMBERED: Final = 20  # lines, for those who ask what went wrong


class StartError(Exception):
    """A program did not come to serve."""


class Program:
    """A server program that accepts connections.

    Its output is read all the time, so it never waits for its reader.

    Attributes:
        pid: its process.
        port: where it answers.
        said: lines that it wrote before that, its port's own among them.
    """

    def __init__(self, popen: subprocess.Popen[str], announcement: str, name: str) -> None:
        self.pid = popen.pid
        self.said: list[str] = []
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        assert popen.stdout is not None  # noqa: S101  # for the type checker: it was asked for
        reader = threading.Thread(target=self._read, args=(popen.stdout,), daemon=True)
        reader.start()
        self.port = self._announced(announcement, name)

    def _announced(self, announcement: str, name: str) -> int:
        while True:
            try:
                line = self._lines.get(timeout=_PATIENCE)
            except queue.Empty:
                line = None
            if line is None:
                raise StartError(f"{name} does not come to serve; it said: {' / '.join(self.said[-_REMEMBERED:])}")
            self.said.append(line.rstrip())
            if found := re.search(announcement, line):
                return int(found[1])

    def _read(self, output: IO[str]) -> None:
        for line in output:
            self._lines.put(line)
        self._lines.put(None)


@contextmanager
def started(
    contender: Contender, credentials: Path, *, before: Sequence[str] = (), errors: IO[bytes] | None = None
) -> Iterator[Program]:
    """Starts a contender with the credentials of a directory; it is ended with the block.

    Args:
        contender: what is started.
        credentials: the directory.
        before: arguments that come before the contender's.
        errors: where its standard error goes; to that of this process if not given.

    Raises:
        StartError: it does not come to serve.
        UnavailableError: it cannot be built here.
    """
    program, *arguments = contender.command(credentials)
    command = [program, *before, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, cwd=ROOT) as popen:
        try:
            yield Program(popen, contender.announcement, contender.name)
        finally:
            popen.terminate()
            try:
                popen.wait(_EXIT_TIMEOUT)
            except subprocess.TimeoutExpired:
                popen.kill()

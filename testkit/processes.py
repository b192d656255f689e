"""Real processes: started with free ports, found through their own log, stopped by their own id."""

import json
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import AnyStr

from testkit.authorities import LOOPBACK

FAILED = "reload failed, still running the previous configuration: "
_PATIENCE = 60.0  # seconds without a line of log where one is waited for


@contextmanager
def killed_at_end(popen: subprocess.Popen[AnyStr]) -> Iterator[subprocess.Popen[AnyStr]]:
    """Kills a process at the end of the block if it still runs, as when an assertion fails."""
    with popen:
        try:
            yield popen
        finally:
            popen.kill()


class Process:
    """A `sentry-trio` that serves. Its log is read all the time, so that it never waits for its reader.

    Attributes:
        records: the log, as far as it was waited for.
    """

    def __init__(self, popen: subprocess.Popen[str]) -> None:
        self.popen = popen
        self.records: list[dict[str, object]] = []
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def log_until(self, beginning: str) -> str:
        """Reads the log up to a message that begins so, and returns the rest of that."""
        while self._next_record():
            message = str(self.records[-1]["msg"])
            if message.startswith(beginning):
                return message.removeprefix(beginning)
        raise AssertionError(f"the process ended without saying {beginning!r}; it said {self.messages()}")

    def health_port(self) -> int:
        """The port of the health server; reads the log up to that line if necessary."""
        return self._port("Healthz server is listening on ")

    def metrics_port(self) -> int:
        """The port of the metrics server; reads the log up to that line if necessary."""
        return self._port("metrics server started on ")

    def oidc_port(self) -> int:
        """The port of the OIDC server with TLS; reads the log up to that line if necessary."""
        return self._port("Starting OIDC HTTP server on 127.0.0.1:")

    def _port(self, beginning: str) -> int:
        read = next((message for message in self.messages() if message.startswith(beginning)), None)
        address = f":{self.log_until(beginning)}" if read is None else read
        return int(address.rstrip("/").rpartition(":")[2])

    def messages(self) -> list[str]:
        return [str(record["msg"]) for record in self.records]

    def send(self, number: signal.Signals) -> None:
        self.popen.send_signal(number)

    def exit_code(self) -> int:
        """Waits for the end and reads the rest of the log."""
        code = self.popen.wait(timeout=_PATIENCE)
        while self._next_record():
            pass
        return code

    def close(self) -> None:
        """Kills it if it is still there."""
        self.popen.kill()
        self.popen.wait()
        self._reader.join()

    def _next_record(self) -> bool:
        try:
            line = self._lines.get(timeout=_PATIENCE)
        except queue.Empty:
            raise AssertionError(f"nothing more in the log for {_PATIENCE:g} s; last {self.messages()[-20:]}") from None
        if line is None:
            self._lines.put(None)
            return False
        self.records.append(json.loads(line))
        return True

    def _read(self) -> None:
        assert self.popen.stdout is not None
        with self.popen.stdout as lines:
            for line in lines:
                self._lines.put(line)
        self._lines.put(None)


@contextmanager
def sentry_process(
    credentials: Path, *flags: str, module: str = "sentry_trio", open_files: int | None = None
) -> Iterator[Process]:
    """Starts `python -m sentry_trio` on loopback with the credentials of a directory; it is killed in the end.

    Args:
        credentials: the directory.
        flags: further ones.
        module: to start instead.
        open_files: the limit on them.
    """
    standalone = ("--mode", "standalone", "--issuer-credentials", str(credentials))
    command = [sys.executable, "-m", module, *standalone, *LOOPBACK, "--log-as-json", *flags]
    if open_files is not None:
        command = ["prlimit", f"--nofile={open_files}", *command]
    process = Process(
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=credentials)
    )
    try:
        yield process
    finally:
        process.close()

"""A process full of attackers, started and stopped; `__main__.py` is its program."""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import msgspec

from testkit.processes import killed_at_end

from .band import Report

_MORE_THAN_A_MOMENT = 60  # seconds; a thousand of them may have much to put down


class Attackers:
    """A process that attacks."""

    def __init__(self, popen: subprocess.Popen[str]) -> None:
        self._popen = popen

    def wait_ready(self) -> None:
        """Returns once each attacker has begun, or was cut before."""
        assert self._popen.stderr is not None
        line = self._popen.stderr.readline()
        assert line == "ready\n", f"the attackers said {line!r}"

    def stop(self) -> Report:
        """Stops all attackers, and reads their results."""
        output, complaints = self._popen.communicate(timeout=_MORE_THAN_A_MOMENT)
        assert self._popen.returncode == 0, complaints
        return msgspec.json.decode(output, type=Report)


@contextmanager
def attackers(kind: str, flags: Mapping[str, object]) -> Iterator[Attackers]:
    """Starts attackers of a kind; `flags` as they name them."""
    command = [sys.executable, "-m", "testkit.attackers", kind, *(f"--{name}={value}" for name, value in flags.items())]
    pipe = subprocess.PIPE
    popen = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
    with killed_at_end(popen):
        yield Attackers(popen)

"""A server process of the control plane: its log goes to a file, and it does not outlive the tests."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from testkit.leftovers import LASTING

_PATIENCE: Final = 60.0  # seconds to get ready in, on a machine that does much else
_INTERVAL: Final = 0.02  # seconds between two looks


class Child:
    """A running process. Start it in the main thread: where Linux can, it is killed when the thread that began it ends.

    Args:
        command: executable and flags.
        log: what it writes is appended there.
        environ: variables of its environment, beside those of this process.
    """

    def __init__(self, command: list[str], log: Path, environ: Mapping[str, str] | None = None) -> None:
        self._name = Path(command[0]).name
        self._log = log
        setpriv = shutil.which("setpriv")
        guard = [setpriv, "--pdeathsig", "KILL"] if setpriv else []
        with log.open("ab") as output:
            self._popen = subprocess.Popen(
                [*guard, *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environ or {})},
            )
        LASTING.add(self.pid)

    @property
    def pid(self) -> int:
        """Its process."""
        return self._popen.pid

    def wait_until(self, ready: Callable[[str], bool]) -> None:
        """Returns once `ready` succeeds, on the log or elsewhere. Blocks."""
        end = time.monotonic() + _PATIENCE
        while not ready(log := self._log.read_text(errors="replace")):
            assert self._popen.poll() is None, f"{self._name} has ended: {log[-2000:]}"
            assert time.monotonic() < end, f"{self._name} is not ready after {_PATIENCE:g} s: {log[-2000:]}"
            time.sleep(_INTERVAL)

    def kill(self) -> None:
        """Ends it at once, as a power cut would, and waits for its end."""
        self._popen.kill()
        self._popen.wait()

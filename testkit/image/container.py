"""The image as a container would run it, by the kernel's own means: namespaces, a read-only root, no privileges."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from testkit.authorities import LOOPBACK
from testkit.processes import Process

from .dockerfile import Stage

CREDENTIALS: Final = "/var/run/secrets/dapr.io/credentials"
_UNSHARE: Final = ("unshare", "--mount", "--pid", "--fork", "--kill-child=KILL")


@dataclass(frozen=True)
class Mount:
    """A directory of this machine in a container."""

    source: Path
    target: str
    is_writable: bool = False


class Contained(Process):
    """A container's process: signals go to it, and not to the process that started it."""

    @property
    def pid(self) -> int:
        """Its number on this machine; in its own eyes it is 1."""
        (number,) = Path(f"/proc/{self.popen.pid}/task/{self.popen.pid}/children").read_text().split()
        return int(number)

    def status(self) -> dict[str, list[str]]:
        """Figures that the kernel reports for it."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return {name: rest.split() for name, _, rest in (line.partition(":") for line in lines)}

    def send(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def close(self) -> None:
        """Kills it and all that it has started: its parent cannot, once it has changed its user."""
        with suppress(ValueError, OSError):  # there is none any more
            self.send(signal.SIGKILL)
        super().close()


def missing() -> str | None:
    """Returns the feature that this machine lacks to run containers; None if none."""
    if os.geteuid() != 0:
        return "only root may change its root directory and its user"
    if shutil.which("unshare") is None:
        return "there is no unshare on this machine"
    # The first step that fails if root is restricted, for example within another container.
    mount = ("mount", "-t", "proc", "proc", "/proc")
    tried = subprocess.run([*_UNSHARE, *mount], capture_output=True, text=True, check=False)
    return None if tried.returncode == 0 else f"no namespaces to be had: {tried.stderr.strip()}"


def command(
    image: Stage, *words: str, mounts: tuple[Mount, ...] = (), environ: Mapping[str, str] | None = None
) -> list[str]:
    """Returns the command line that starts a container with a command, whose first word is a path in the image."""
    user, group = image.ids
    asked = {
        "root": str(image.root),
        "user": user,
        "group": group,
        "mounts": [(str(each.source), each.target, each.is_writable) for each in mounts],
        "command": words,
        "environ": dict(environ or {}),
    }
    return [*_UNSHARE, sys.executable, "-I", str(Path(__file__).with_name("enter.py")), json.dumps(asked)]


def run(image: Stage, *words: str, mounts: tuple[Mount, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end."""
    started = command(image, *words, mounts=mounts)
    return subprocess.run(started, capture_output=True, text=True, check=False, timeout=60)


@contextmanager
def started(
    image: Stage, *words: str, mounts: tuple[Mount, ...] = (), environ: Mapping[str, str] | None = None
) -> Iterator[Contained]:
    """Starts a command; it is killed in the end."""
    popen = subprocess.Popen(
        command(image, *words, mounts=mounts, environ=environ),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    process = Contained(popen)
    try:
        yield process
    finally:
        process.close()


@contextmanager
def serving(image: Stage, *flags: str, credentials: Path, is_writable: bool = True) -> Iterator[Contained]:
    """Starts the image's entry point in standalone mode, on free ports of loopback."""
    arguments = ("--mode=standalone", *LOOPBACK, "--log-as-json", *flags)
    mounts = (Mount(credentials, CREDENTIALS, is_writable),)
    with started(image, *image.entrypoint, *arguments, mounts=mounts) as process:
        yield process

"""Machine and versions of a measurement."""

import os
import platform
import ssl
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Final

from benchmarks.findings import Machine
from benchmarks.processes import ROOT

_PACKAGES: Final = (
    "sentry-trio",
    "trio",
    "h2",
    "hpack",
    "grpclib",
    "trio-asyncio",
    "grpcio",
    "cryptography",
    "protobuf",
)


def this_machine() -> Machine:
    """This one, now."""
    return Machine(
        processor=_processor(),
        processors=len(os.sched_getaffinity(0)),
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        openssl=ssl.OPENSSL_VERSION,
        packages={name: version(name) for name in _PACKAGES},
        commit=_commit(),
    )


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()


def _commit() -> str | None:
    """The commit, marked if the work tree differs from it; None if there is no git or no repository."""
    command = ["git", "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return done.stdout.strip() or None

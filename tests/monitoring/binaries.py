"""prometheus and promtool, built from the module beside this file into build/.

The first build takes some two and a half minutes of a processor; later ones a second or two. Left out is the discovery
of targets in clouds, which is half of what they are made of.
"""

import os
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

_MODULE: Final = Path(__file__).parent
_BUILT: Final = _MODULE.parents[1] / "build" / "monitoring"
_COMMANDS: Final = "github.com/prometheus/prometheus/cmd/"
_ENVIRON: Final = os.environ | {"GOFLAGS": "-tags=remove_all_sd"}


class UnavailableError(Exception):
    """Prometheus cannot be built on this machine, through no fault of its own."""


@dataclass(frozen=True, slots=True)
class Binaries:
    """Where the executables are."""

    prometheus: Path
    promtool: Path


@cache
def build() -> Binaries:
    """Builds both.

    Raises:
        UnavailableError: there is no Go here, or its modules cannot be had.
    """
    go = shutil.which("go")
    if go is None:
        raise UnavailableError("there is no Go on this machine to build prometheus and promtool with")
    # Fetches what is needed and no more, which `go mod download` does not.
    command = [go, "list", "-deps", f"{_COMMANDS}prometheus", f"{_COMMANDS}promtool"]
    fetched = subprocess.run(command, cwd=_MODULE, env=_ENVIRON, capture_output=True, text=True, check=False)
    if fetched.returncode != 0:
        raise UnavailableError(f"the modules of prometheus cannot be had: {fetched.stderr.strip()}")
    return Binaries(prometheus=_built(go, "prometheus"), promtool=_built(go, "promtool"))


def _built(go: str, name: str) -> Path:
    # Not `go tool`, which would build what is left out, too.
    binary = _BUILT / name
    subprocess.run([go, "build", "-o", binary, _COMMANDS + name], cwd=_MODULE, env=_ENVIRON, check=True)
    return binary

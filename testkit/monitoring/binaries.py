"""prometheus and promtool, built from the module beside this file.

The first build takes some two and a half minutes of a processor; later ones a second or two. Left out is the discovery
of targets in clouds, which is half of what they are made of.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from testkit.go_modules import GoModule

_COMMANDS: Final = "github.com/prometheus/prometheus/cmd/"


@dataclass(frozen=True, slots=True)
class Binaries:
    """Paths of the executables."""

    prometheus: Path
    promtool: Path


@cache
def build() -> Binaries:
    """Builds both.

    Raises:
        UnavailableError: there is no Go here, or its modules cannot be had.
    """
    module = GoModule(
        Path(__file__).parent,
        "prometheus and promtool",
        # Fetches what is needed and no more, which `go mod download` does not.
        fetching=("list", "-deps", f"{_COMMANDS}prometheus", f"{_COMMANDS}promtool"),
        variables={"GOFLAGS": "-tags=remove_all_sd"},
    ).fetched()
    # Not as tools, which would build what is left out, too.
    prometheus, promtool = (module.build(_COMMANDS + name) for name in ("prometheus", "promtool"))
    return Binaries(prometheus, promtool)

"""Dapr's programs, built from the module beside this file.

go.mod pins the release. The scheduler is left out: it needs a module that cannot be downloaded.

daprd is built from daprd/main.go, which links Dapr's runtime, security and flags with one name resolver and no other
component. Dapr's own main package panics unless all stable components or all components are compiled in. The components
do not affect requests to a CA, so the small program behaves the same. Measured one after the other, with an empty
build cache at first:

    sentry                          236 s of processor time     78 MB
    daprd, with another resolver    118 s more                  95 MB
    operator                         70 s more                  74 MB
    placement                        14 s more                  64 MB
    injector                          7 s more                  77 MB

daprd with all components takes some 480 s. Later builds take a second or two.
"""

from functools import cache
from pathlib import Path
from typing import Final, Literal

from testkit.go_modules import FetchedModule, GoModule

Program = Literal["daprd", "injector", "operator", "placement", "sentry"]

VERSION: Final = "v1.18.1"
_HERE: Final = Path(__file__).parent
GO_MOD: Final = _HERE / "go.mod"
_COMMANDS: Final = "github.com/dapr/dapr/cmd/"
_PACKAGES: Final[dict[Program, str]] = {
    "daprd": "./daprd",
    "injector": f"{_COMMANDS}injector",
    "operator": f"{_COMMANDS}operator",
    "placement": f"{_COMMANDS}placement",
    "sentry": f"{_COMMANDS}sentry",
}


@cache
def build(program: Program) -> Path:
    """Builds one program and returns its executable.

    Raises:
        UnavailableError: Go or its modules are not available.
    """
    return _module().build(_PACKAGES[program])


@cache
def source() -> Path:
    """Returns the directory of the release, with its charts.

    Raises:
        UnavailableError: Go or its modules are not available.
    """
    return Path(_module().run("list", "-m", "-f", "{{.Dir}}", "github.com/dapr/dapr").stdout.strip())


@cache
def _module() -> FetchedModule:
    # `go list -deps` downloads only the modules that these packages need; `go mod download` would take all of them.
    return GoModule(_HERE, "Dapr's programs", fetching=("list", "-deps", *_PACKAGES.values())).fetched()

"""Builds the program from the module beside this file; some minutes of a processor the first time, a second later."""

from pathlib import Path
from typing import Final

from testkit.go_modules import GoModule

_BINARY: Final = Path(__file__).parents[2] / "build" / "dapr_cli" / "dapr"


def build() -> Path:
    """Builds the program into build/.

    Raises:
        UnavailableError: there is no Go here, or its modules cannot be had.
    """
    module = GoModule(Path(__file__).parent, "the dapr CLI", ("list", "-deps", "."))
    return module.fetched().build(".", _BINARY)

"""Builds the program from the module beside this file; some minutes of a processor the first time, a second later."""

from pathlib import Path

from testkit.go_modules import GoModule


def build() -> Path:
    """Builds the program.

    Raises:
        UnavailableError: there is no Go here, or its modules cannot be had.
    """
    module = GoModule(Path(__file__).parent, "the dapr CLI", ("list", "-deps", "."))
    return module.fetched().build(".")

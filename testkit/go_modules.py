"""Foreign programs for tests, built by Go from modules that the tests keep, each with versions and hashes pinned."""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from testkit.locks import exclusively


class UnavailableError(Exception):
    """A program cannot be built on this machine, through no fault of its own; the text names it and the reason."""


@dataclass(frozen=True, slots=True)
class GoModule:
    """A directory with `go.mod` and `go.sum`.

    Attributes:
        directory: itself.
        what: is built from it, for messages.
        fetching: arguments of `go` that fetch what is needed for that.
        variables: of the environment, beside those of this process.
    """

    directory: Path
    what: str
    fetching: Sequence[str] = ("mod", "download")
    variables: Mapping[str, str] = field(default_factory=dict)

    def fetched(self) -> "FetchedModule":
        """The module with all that it needs.

        Raises:
            UnavailableError: there is no Go here, or its modules cannot be had.
        """
        go = shutil.which("go")
        if go is None:
            raise UnavailableError(f"there is no Go on this machine to build {self.what} with")
        module = FetchedModule(go, self)
        done = module.run(*self.fetching, check=False)
        if done.returncode != 0:
            raise UnavailableError(f"the modules of {self.what} cannot be had: {done.stderr.strip()}")
        return module


@dataclass(frozen=True, slots=True)
class FetchedModule:
    """A module that can be built from."""

    go: str
    module: GoModule

    def build(self, package: str) -> Path:
        """A program in Go's own cache, where another clone finds it, too: `go build` would link it again."""
        program = self._print_program(package)
        # A program that was not in the cache is printed as a temporary file, of which the cache has kept a copy.
        return program if program.exists() else self._print_program(package)

    def _print_program(self, package: str) -> Path:
        return Path(self.run("run", "-buildvcs=false", "-exec=echo", package).stdout.strip())

    def run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Runs `go` in the module's directory; its errors go to this process's standard error."""
        # Go uses all cores, and two builds at once would compile the same packages twice.
        with exclusively("go"):
            done = subprocess.run(
                [self.go, *arguments],
                cwd=self.module.directory,
                env={**os.environ, **self.module.variables},
                capture_output=True,
                text=True,
                check=False,
            )
        if check and done.returncode != 0:
            raise AssertionError(f"go {' '.join(arguments)} failed: {done.stderr.strip()}")
        return done

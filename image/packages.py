"""The packages: installed by pip as the lock file has them, and copied without files that an image never needs."""

import os
import re
import shutil
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from image.errors import ImageError, run

PROJECT: Final = Path(__file__).parent.parent

# Distributions that come along and that nothing of ours imports: the build backend; what rich takes to show source code
# and Markdown; what cffi needs to build; time zones, which are not used.
UNUSED: Final = frozenset({"flit_core", "markdown_it_py", "mdurl", "pycparser", "pygments", "tzdata"})
# Of kubernetes_asyncio, whose loaders of credentials alone are used: see sentry_trio/kube/library.py.
_UNUSED_PARTS: Final = frozenset(
    f"kubernetes_asyncio/{part}"
    for part in ("client/api", "client/models", "dynamic", "leaderelection", "stream", "utils", "watch")
)
_UNUSED_DIRECTORIES: Final = frozenset({"__pycache__", "test", "tests", "_tests"})
# For compilers, for type checkers, for tests; and pip's notes, of which RECORD would no longer be true.
_UNUSED_FILES: Final = re.compile(
    r".*\.(pyi|pyx|pxd|pxi|c|h|cpp|hpp|asm|obj)|py\.typed|.*_test\.py|RECORD|REQUESTED|INSTALLER|direct_url\.json"
)


def install(directory: Path) -> None:
    """Installs the packages of requirements.txt for this interpreter; wheels only, as images have no compiler.

    Raises:
        ImageError: pip cannot; its words are in the text.
    """
    _pip("--require-hashes", "--only-binary", ":all:", "--requirement", str(PROJECT / "requirements.txt"), to=directory)


def copy(packages: Path, to: Path) -> None:
    """Copies installed packages, and this project itself, without unneeded files.

    Args:
        packages: what `install` has made; not changed.
        to: a directory that is not there yet.

    Raises:
        ImageError: `packages` is not such a directory, or this project cannot be built.
    """
    if not packages.is_dir():
        raise ImageError(
            f"{packages} is not a directory of packages: create it with `python -m image packages {packages}`"
        )
    unused = _unused_paths(packages)

    def left_out(directory: str, names: list[str]) -> Iterable[str]:
        here = Path(directory).relative_to(packages)
        if here == Path():
            return [name for name in names if name in unused or not _is_importable(packages / name)]
        return [
            name
            for name in names
            if name in _UNUSED_DIRECTORIES or _UNUSED_FILES.fullmatch(name) or (here / name).as_posix() in _UNUSED_PARTS
        ]

    shutil.copytree(packages, to, ignore=left_out)
    for directory in sorted((path for path in to.rglob("*") if path.is_dir()), reverse=True):
        with suppress(OSError):  # it is not empty
            directory.rmdir()
    # It is built by the backend that the lock file pins, and nothing is fetched for it.
    _pip("--no-deps", "--no-build-isolation", "--no-index", str(PROJECT), to=to, path=packages)
    shutil.rmtree(to / "bin")
    for surplus in [path for path in to.glob("sentry_trio*/**/*") if _UNUSED_FILES.fullmatch(path.name)]:
        surplus.unlink()


def _unused_paths(packages: Path) -> set[str]:
    """Returns the top-level names of the UNUSED packages in the directory, from their RECORD files."""
    unused: set[str] = set()
    for information in packages.glob("*.dist-info"):
        if information.name.partition("-")[0].lower() in UNUSED:
            lines = (information / "RECORD").read_text().splitlines()
            unused |= {line.partition("/")[0] for line in lines if not line.startswith("..")}
    return unused


def _is_importable(path: Path) -> bool:
    """True for packages, modules and their metadata; some wheels have their README beside them."""
    if path.is_dir():
        return path.name not in {"__pycache__", "bin", "include", "share"}
    return path.suffix in {".py", ".so"}


def _pip(*arguments: str, to: Path, path: Path | None = None) -> None:
    environ = {name: value for name, value in os.environ.items() if name != "PIP_REQUIRE_HASHES"}
    if path is not None:
        environ["PYTHONPATH"] = str(path)
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "install", "--no-compile"]
    run([*command, "--root-user-action", "ignore", "--target", str(to), *arguments], environ=environ)

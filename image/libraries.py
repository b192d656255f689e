"""The shared libraries that a tree needs, as the dynamic linker of this machine finds them."""

import re
import shutil
from pathlib import Path
from typing import Final

from image.errors import ImageError, run

_FOUND: Final = re.compile(r"^\t(?:(?P<name>\S+) => )?(?P<path>/\S+) \(0x[0-9a-f]+\)$", re.MULTILINE)
_MISSING: Final = re.compile(r"^\t(\S+) => not found$", re.MULTILINE)


def copy(tree: Path) -> Path:
    """Copies the libraries that the executables and libraries of a tree need and do not contain.

    All go beside libc, where every dynamic linker looks unasked: a tree has no cache that lists other places. The
    linker itself goes where executables name it.

    Returns:
        the linker in the tree; it is the only one of them that the kernel executes.

    Raises:
        ImageError: a library is not on this machine, or there is no glibc, or no `ldd` to ask.
    """
    binaries = [str(path) for path in sorted(tree.rglob("*")) if path.is_file() and _is_elf(path)]
    reported = run(["ldd", *binaries])
    if missing := _MISSING.search(reported):
        raise ImageError(f"the shared library {missing[1]} is needed and is not on this machine")
    found = {
        found["name"]: Path(found["path"])
        for found in _FOUND.finditer(reported)
        if not Path(found["path"]).is_relative_to(tree.resolve())
    }
    if "libc.so.6" not in found:
        raise ImageError("this machine's C library is not glibc, which the wheels of the lock file are for")
    beside = found["libc.so.6"].parent
    linker = found.pop(None)
    for target, path in [(linker, linker), *((beside / str(name), path) for name, path in found.items())]:
        there = tree / target.relative_to("/")
        there.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, there)  # what a symbolic link leads to
    return tree / linker.relative_to("/")


def _is_elf(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"

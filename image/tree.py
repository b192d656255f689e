"""The whole tree, built reproducibly."""

import os
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Final

from image import bytecode, interpreter, libraries, packages, system

PACKAGES: Final = "usr/lib/sentry-trio"
"""Directory of the packages; entry.py has the same."""


def assemble(installed: Path, tree: Path) -> None:
    """Assembles the image's file system.

    Args:
        installed: packages, as `image.packages.install` leaves them.
        tree: a directory that is not there yet.

    Raises:
        ImageError: something that is needed is not there.
    """
    tree.mkdir(parents=True)
    tree = tree.resolve()
    interpreter.copy(tree / "usr")
    packages.copy(installed, tree / PACKAGES)
    linker = libraries.copy(tree)
    system.write(tree)
    entry = tree / "sentry"
    shutil.copy(Path(__file__).with_name("entry.py"), entry)
    (standard,) = (tree / "usr/lib").glob("python3.*")
    bytecode.compile_all(tree, standard, tree / PACKAGES)
    _level(tree, executable={entry, linker, tree / "usr/bin/python3"})


def _level(tree: Path, *, executable: Collection[Path]) -> None:
    """Sets owner (root), modes (read-only) and times (those of the sources)."""
    epoch = int(os.environ.get("SOURCE_DATE_EPOCH") or 0)
    for path in [*sorted(tree.rglob("*"), reverse=True), tree]:  # what is in a directory before the directory
        if os.geteuid() == 0:
            os.chown(path, 0, 0, follow_symlinks=False)
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path in executable else 0o644)
        os.utime(path, (epoch, epoch), follow_symlinks=False)

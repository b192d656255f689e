"""Layers of earlier builds, as container engines keep them: a step with the same input is not run again.

They are in `build/layers`, which `make clean` removes; those that the last session had no use for are removed by it.
"""

import hashlib
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

LAYERS: Final = Path(__file__).parents[2] / "build" / "layers"


class Chain:
    """Sources that a stage has been made from so far."""

    def __init__(self) -> None:
        # In place of the base image's digest.
        self._digest = hashlib.sha256(f"{sys.version} {sys.base_prefix} {sys.prefix}".encode())
        self._used: set[str] = set()

    def add(self, *parts: str) -> None:
        """Something that the steps to come depend on."""
        self._digest.update(repr(parts).encode())

    def add_files(self, path: Path) -> None:
        """A file or a directory, by names and content."""
        for each in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if each.is_file():
                self.add(str(each.relative_to(path.parent)), hashlib.sha256(each.read_bytes()).hexdigest())

    def after(self, root: Path, run: Callable[[], None]) -> None:
        """Runs a step, or uses its earlier result; `root` is a stage's file system, and layers must be linkable."""
        name = self._digest.hexdigest()
        layer = LAYERS / name
        self._used.add(name)
        if layer.is_dir():
            shutil.rmtree(root)
            _link(layer, root)
            return
        run()
        partial = layer.with_suffix(f".{os.getpid()}")  # whole, or not there
        _link(root, partial)
        partial.replace(layer)

    def forget_others(self) -> None:
        """Removes the layers that this stage does not consist of."""
        for layer in LAYERS.iterdir():
            if layer.name not in self._used:
                shutil.rmtree(layer)


def _link(source: Path, target: Path) -> None:
    shutil.copytree(source, target, symlinks=True, copy_function=os.link)

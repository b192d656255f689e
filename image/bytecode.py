"""Bytecode, compiled once: the image's root is read-only, so its sources never change."""

import os
import subprocess
import sys
from pathlib import Path

from image.errors import ImageError


def compile_all(tree: Path, *directories: Path) -> None:
    """Compiles directories of a tree, one process for each; the paths in tracebacks will be those in the image.

    Raises:
        ImageError: a file is not Python.
    """
    # Never compared with the sources (PEP 552), so that times do not matter.
    command = [sys.executable, "-m", "compileall", "-q", "-f", "--invalidation-mode", "unchecked-hash"]
    paths = ["-s", str(tree), "-p", "/"]
    # The order of a set's members, which bytecode keeps, must be the same each time.
    environ = {**os.environ, "PYTHONHASHSEED": "0"}
    started = [
        subprocess.Popen([*command, *paths, str(each)], env=environ, stdout=subprocess.PIPE, text=True)
        for each in directories
    ]
    reported = [each.communicate()[0] for each in started]
    for process, said in zip(started, reported, strict=True):
        if process.returncode != 0:
            raise ImageError(f"cannot compile: {said.strip()[-2000:]}")

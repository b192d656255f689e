"""The interpreter that runs this, and its standard library without modules that a certificate authority never needs."""

import re
import shutil
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path
from typing import Final

# Tests, tools for people, other programs, and what needs a display or a database.
_UNUSED: Final = re.compile(
    r"test|tests|idlelib|lib2to3|pydoc_data|tkinter|turtledemo|turtle\.py|ensurepip|venv|distutils|site-packages"
    r"|dist-packages|sqlite3|dbm|curses|config-.*|__pycache__|.*\.a|_tkinter\..*|_sqlite3\..*|_dbm\..*|_gdbm\..*"
    r"|_curses.*\.so|readline\..*|_test.*|_ctypes_test\..*|_xxtestfuzz\..*|xxlimited.*|_xx.*|ossaudiodev\..*|nis\..*"
    r"|EXTERNALLY-MANAGED|sitecustomize\.py|_sysconfigdata_.*\.json"
)


def copy(usr: Path) -> None:
    """Copies the interpreter to `bin/python3` and its standard library to where that looks for it.

    By the place of its executable an interpreter finds its library: one that was built elsewhere runs here as well.

    Args:
        usr: the tree's /usr.
    """
    (usr / "bin").mkdir(parents=True)
    shutil.copy(Path(sys.executable).resolve(), usr / "bin" / "python3")
    library = Path(sysconfig.get_path("stdlib"))
    shutil.copytree(library, usr / library.relative_to(Path(sys.base_prefix).resolve()), ignore=_left_out)


def _left_out(_directory: str, names: list[str]) -> Iterable[str]:
    return [name for name in names if _UNUSED.fullmatch(name)]

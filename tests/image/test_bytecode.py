"""Bytecode is the same wherever and whenever it is compiled."""

import os
import shutil
from pathlib import Path

import pytest

import sentry_trio
from image import bytecode
from image.errors import ImageError


def _compiled(directory: Path) -> dict[str, bytes]:
    package = directory / "usr" / "sentry_trio"
    source = Path(sentry_trio.__file__).parent
    shutil.copytree(source, package, ignore=shutil.ignore_patterns("__pycache__"))
    bytecode.compile_all(directory, package)
    return {str(path.relative_to(package)): path.read_bytes() for path in package.rglob("*.pyc")}


def test_the_same_sources_give_the_same_bytecode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = _compiled(tmp_path / "one")
    monkeypatch.setitem(os.environ, "SOURCE_DATE_EPOCH", "1")  # which changes compileall's habits
    two = _compiled(tmp_path / "another" / "place")
    assert one == two
    assert len(one) > 100


def test_files_that_are_not_python_are_named(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("def")
    with pytest.raises(ImageError, match=r"broken\.py"):
        bytecode.compile_all(tmp_path, tmp_path)

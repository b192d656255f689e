"""`python -m image`: errors if it cannot be done."""

import subprocess
import sys
from pathlib import Path

import pytest

from image import libraries, packages
from image.errors import ImageError, run
from testkit.image.dockerfile import PROJECT


def _image(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "image", *arguments]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("step", [("packages",), ("tree", "/nowhere")])
def test_existing_directories_are_not_overwritten(tmp_path: Path, step: tuple[str, ...]) -> None:
    done = _image(*step, str(tmp_path))
    assert done.returncode == 1
    assert done.stderr == f"image: {tmp_path} is there already: remove it, or name another directory\n"


def test_packages_come_first(tmp_path: Path) -> None:
    done = _image("tree", "/nowhere", str(tmp_path / "tree"))
    assert done.returncode == 1
    assert done.stderr == (
        "image: /nowhere is not a directory of packages: create it with `python -m image packages /nowhere`\n"
    )


def test_packages_that_are_left_out_are_locked_dependencies() -> None:
    """An unused name would hide that something else has come in its place."""
    locked = (PROJECT / "requirements.txt").read_text().replace("-", "_")
    for name in packages.UNUSED:
        assert f"\n{name}==" in locked


def test_a_library_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "module.so").write_bytes(b"\x7fELF")
    reported = "\tlibc.so.6 => /lib/libc.so.6 (0x00007f1)\n\tlibnope.so.1 => not found\n"
    monkeypatch.setattr(libraries, "run", lambda _command: reported)
    with pytest.raises(ImageError, match=r"libnope\.so\.1"):
        libraries.copy(tmp_path)


def test_a_c_library_other_than_glibc_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libraries, "run", lambda _command: "\t/lib/ld-musl-x86_64.so.1 (0x7f1)\n")
    with pytest.raises(ImageError, match="not glibc"):
        libraries.copy(tmp_path)


def test_the_error_of_a_failing_command_has_its_output() -> None:
    with pytest.raises(ImageError, match="cannot run /nowhere"):
        run(["/nowhere"])
    with pytest.raises(ImageError, match="oh no"):
        run([sys.executable, "-c", "raise SystemExit('oh no')"])

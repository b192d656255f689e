"""Passphrases in files: the first line, and files that cannot be read."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from sentry_trio.errors import StoreError
from sentry_trio.stores.passphrase import read_passphrase, read_passphrase_file

READERS = [read_passphrase, read_passphrase_file]


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"correct horse", b"correct horse"),
        (b"correct horse\n", b"correct horse"),
        (b"correct horse\r\nbattery staple\r\n", b"correct horse"),
        (b"\xff\x00 horse ", b"\xff\x00 horse "),
        (b"x" * 5000 + b"\n", b"x" * 4096),
    ],
)
def test_the_first_line_counts(read: Callable[[Path], bytes], content: bytes, expected: bytes, tmp_path: Path) -> None:
    (tmp_path / "passphrase").write_bytes(content)
    assert read(tmp_path / "passphrase") == expected


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("content", [b"", b"\ncorrect horse\n", b"1234567\r\n"])
def test_a_short_line_is_rejected(read: Callable[[Path], bytes], content: bytes, tmp_path: Path) -> None:
    (tmp_path / "passphrase").write_bytes(content)
    with pytest.raises(StoreError, match="must have at least 8 characters"):
        read(tmp_path / "passphrase")


@pytest.mark.parametrize("read", READERS)
def test_files_that_cannot_be_read(read: Callable[[Path], bytes], tmp_path: Path) -> None:
    for path, why in ((tmp_path, "is a directory"), (tmp_path / "missing", "no such file or directory")):
        with pytest.raises(StoreError) as caught:
            read(path)
        assert str(caught.value) == f"cannot read the passphrase file {path}: {why}"


def test_a_server_waits_for_no_writer_of_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(StoreError, match="not a regular file"):
        read_passphrase_file(tmp_path / "pipe")

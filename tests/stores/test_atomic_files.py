"""Single file operations: what reads as what, modes, and locks."""

import errno
import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from sentry_trio.stores.atomic_files import LIMIT, Content, FileOperations, Lock, Unreadable, os_reason


def a_directory(path: Path) -> None:
    path.mkdir()


def a_fifo(path: Path) -> None:
    os.mkfifo(path)


def a_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(path))


def a_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def a_dangling_link(path: Path) -> None:
    path.symlink_to("nowhere")


def a_loop(path: Path) -> None:
    path.symlink_to(path.name)


def a_file(size: int) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        path.write_bytes(b"x" * size)

    return make


@pytest.mark.parametrize(
    ("make", "content"),
    [
        (lambda path: None, None),
        (a_file(0), b""),
        (a_file(3), b"xxx"),
        (a_file(LIMIT), b"x" * LIMIT),
        (a_file(LIMIT + 1), Unreadable("larger than 1048576 bytes")),
        (a_directory, Unreadable("is a directory")),
        (a_fifo, Unreadable("not a regular file")),
        (a_device, Unreadable("not a regular file")),
        (a_socket, Unreadable("no such device or address")),
        (a_dangling_link, Unreadable("dangling symbolic link")),
        (a_loop, Unreadable("too many levels of symbolic links")),
    ],
    ids=["none", "empty", "file", "limit", "large", "directory", "fifo", "device", "socket", "dangling", "loop"],
)
def test_files_and_other_nodes_are_read_as_content_or_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], None], content: Content
) -> None:
    monkeypatch.chdir(tmp_path)  # the name of a socket must be short
    make(tmp_path / "file")
    assert FileOperations().read(tmp_path / "file") == content


def test_a_file_in_place_of_the_directory_is_trouble(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert FileOperations().read(tmp_path / "file" / "ca.crt") == Unreadable("not a directory")


def test_a_read_error_is_trouble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    (tmp_path / "file").touch()
    monkeypatch.setattr(os, "read", broken)
    assert FileOperations().read(tmp_path / "file") == Unreadable("input/output error")


@pytest.mark.parametrize("umask", [0o000, 0o077, 0o777], ids=oct)
def test_new_files_have_mode_0600_with_any_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        FileOperations().close(FileOperations().create(tmp_path / "file"))
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o600


@pytest.mark.parametrize("make", [a_file(1), a_dangling_link], ids=["file", "dangling"])
def test_create_takes_nothing_that_is_there(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "file")
    with pytest.raises(FileExistsError):
        FileOperations().create(tmp_path / "file")
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize(("number", "fails"), [(errno.EINVAL, False), (errno.EIO, True)], ids=["unsupported", "broken"])
def test_a_file_system_that_cannot_flush_directories_is_put_up_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, number: int, fails: bool
) -> None:
    def refuse(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    if fails:
        with pytest.raises(OSError, match="Input/output error"):
            FileOperations().sync_directory(tmp_path)
    else:
        FileOperations().sync_directory(tmp_path)


def test_a_lock_is_held_by_one(tmp_path: Path) -> None:
    with FileOperations().lock(tmp_path, patience=0) as first:
        assert first is Lock.HELD
        with FileOperations().lock(tmp_path, patience=0.06) as second:
            assert second is Lock.TAKEN
    with FileOperations().lock(tmp_path, patience=0) as third:
        assert third is Lock.HELD
    assert list(tmp_path.iterdir()) == []


def test_no_lock_where_there_is_no_directory(tmp_path: Path) -> None:
    with FileOperations().lock(tmp_path / "none", patience=5) as lock:
        assert lock is Lock.UNAVAILABLE


def test_no_lock_where_the_file_system_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", refuse)
    with FileOperations().lock(tmp_path, patience=5) as lock:
        assert lock is Lock.UNAVAILABLE


@pytest.mark.parametrize(
    ("error", "reason"),
    [(OSError(errno.EACCES, "Permission denied", "/x"), "permission denied"), (TimeoutError(), "timeoutError")],
    ids=["errno", "bare"],
)
def test_reasons(error: OSError, reason: str) -> None:
    assert os_reason(error) == reason

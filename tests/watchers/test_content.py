"""Content of watched files."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from sentry_trio.watchers import content
from sentry_trio.watchers.content import ContentTracker, fingerprint


def a_large_file(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(content.LIMIT + 1)


STATES: list[Callable[[Path], object]] = [
    lambda path: None,
    lambda path: path.write_bytes(b""),
    lambda path: path.write_bytes(b"a"),
    lambda path: path.write_bytes(b"b"),
    lambda path: path.write_bytes(b"a" * content.LIMIT),
    a_large_file,
    lambda path: path.mkdir(),
    os.mkfifo,
    lambda path: path.symlink_to(path.name),
]


def test_every_state_has_a_fingerprint_of_its_own(tmp_path: Path) -> None:
    seen = set()
    for number, make in enumerate(STATES):
        path = tmp_path / str(number)
        make(path)
        assert fingerprint(path) == fingerprint(path)
        seen.add(fingerprint(path))
    assert len(seen) == len(STATES)


def test_a_read_error_is_a_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> bytes:
        raise OSError(5, "Input/output error")

    (tmp_path / "file").touch()
    monkeypatch.setattr(os, "read", broken)
    assert fingerprint(tmp_path / "file") == "unreadable: 5"


async def test_changes_since_the_start_are_reported_until_accepted(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.write_bytes(b"1")
    tracker = await ContentTracker.start([here, there])
    assert tracker.paths == {here, there}
    assert await tracker.changed() == frozenset()
    here.write_bytes(b"2")
    there.write_bytes(b"")
    assert await tracker.changed() == {here, there}
    assert await tracker.take_changed() == {here, there}
    assert await tracker.take_changed() == frozenset()
    here.unlink()
    assert await tracker.take_changed() == {here}


async def test_loaded_content_is_not_a_change(tmp_path: Path) -> None:
    path = tmp_path / "file"
    tracker = await ContentTracker.start([path])
    path.write_bytes(b"loaded")
    tracker.accept({path: b"loaded", tmp_path / "not watched": b""})
    assert await tracker.changed() == frozenset()
    assert tracker.paths == {path}


async def test_changes_between_load_and_accept_are_reported(tmp_path: Path) -> None:
    path = tmp_path / "file"
    tracker = await ContentTracker.start([path])
    path.write_bytes(b"later")
    tracker.accept({path: b"loaded"})
    assert await tracker.changed() == {path}


async def test_an_own_write_is_never_seen(tmp_path: Path) -> None:
    path = tmp_path / "file"
    tracker = await ContentTracker.start([path])
    looks: list[frozenset[Path]] = []

    async def look() -> None:
        looks.append(await tracker.take_changed())

    async with trio.open_nursery() as nursery, tracker.own_write():
        path.write_bytes(b"own")
        nursery.start_soon(look)
        await wait_all_tasks_blocked()
        assert looks == []
        tracker.accept({path: b"own"})
    assert looks == [frozenset()]


async def test_a_failing_write_of_its_own_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "file"
    tracker = await ContentTracker.start([path])

    async def fail() -> None:
        async with tracker.own_write():
            path.write_bytes(b"ow")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert await tracker.take_changed() == {path}

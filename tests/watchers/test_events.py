"""The config watcher on real directories, with the operating system's events; polls are hours apart but where tested.

The clock is the real one: an outcome is waited for, and a deadline of some seconds means failure.
"""

import contextlib
import os
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import trio
from watchfiles._rust_notify import RustNotify

from sentry_trio.watchers import events as events_module
from sentry_trio.watchers.config import watch_config
from sentry_trio.watchers.content import ContentTracker
from sentry_trio.watchers.events import EventSource, file_events, watched_directories
from testkit.log_capture import capture_logs

PATIENCE = 60  # s; no test waits that long unless it fails


class Watched:
    """A running watch; `calls` receives the files of each call."""

    def __init__(self, calls: trio.MemoryReceiveChannel[frozenset[Path]]) -> None:
        self._calls = calls

    async def reported(self, *paths: Path) -> None:
        with trio.fail_after(PATIENCE):
            assert await self._calls.receive() == frozenset(paths)

    def quiet(self) -> bool:
        return self._calls.statistics().current_buffer_used == 0


@contextlib.asynccontextmanager
async def watching(
    *paths: Path, poll: float = 3600, quiet: float = 0.1, events: EventSource = file_events
) -> AsyncIterator[Watched]:
    send, receive = trio.open_memory_channel[frozenset[Path]](100)
    tracker = await ContentTracker.start(paths)

    async def run(task_status: trio.TaskStatus[None]) -> None:
        await watch_config(
            tracker, changed=send.send, poll=poll, quiet=quiet, longest=1, events=events, task_status=task_status
        )

    async with trio.open_nursery() as nursery:
        with trio.fail_after(PATIENCE):
            await nursery.start(run)
        yield Watched(receive)
        nursery.cancel_scope.cancel()


def write(path: Path, content: str) -> None:
    path.write_text(content)


def rename_over(path: Path) -> None:
    write(path.with_name("4913~"), "2")
    path.with_name("4913~").replace(path)


def rename_away_and_write(path: Path) -> None:
    path.replace(path.with_name("ca.crt~"))
    write(path, "2")


def replace_directory(path: Path) -> None:
    shutil.rmtree(path.parent)
    path.parent.mkdir()
    write(path, "2")


def move_directory_away(path: Path) -> None:
    path.parent.rename(path.parent.with_name("moved"))


@pytest.mark.parametrize(
    "edit",
    [
        lambda path: write(path, "2"),
        rename_over,
        rename_away_and_write,
        lambda path: path.unlink(),
        replace_directory,
        move_directory_away,
        lambda path: shutil.rmtree(path.parent),
        lambda path: shutil.rmtree(path.parent.parent),
    ],
    ids=[
        "truncate and rewrite",
        "rename over",
        "rename away",
        "delete",
        "directory replaced",
        "directory moved away",
        "directory deleted",
        "its parent deleted",
    ],
)
async def test_an_edit_is_reported_once_and_the_next_one_too(tmp_path: Path, edit: Callable[[Path], None]) -> None:
    path = tmp_path / "volume" / "creds" / "ca.crt"
    path.parent.mkdir(parents=True)
    write(path, "1")
    async with watching(path) as watched:
        edit(path)
        await watched.reported(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path, "3")
        await watched.reported(path)
        assert watched.quiet()


async def test_the_kubelets_swap_is_reported_once_with_all_files(tmp_path: Path) -> None:
    names = ("ca.crt", "issuer.crt", "issuer.key")

    def project(version: int) -> None:
        directory = tmp_path / f"..2026_{version}"
        directory.mkdir()
        for name in names:
            write(directory / name, str(version))
        (tmp_path / "..data_tmp").symlink_to(directory.name)
        (tmp_path / "..data_tmp").replace(tmp_path / "..data")
        if version > 1:
            shutil.rmtree(tmp_path / f"..2026_{version - 1}")

    project(1)
    for name in names:
        (tmp_path / name).symlink_to(f"..data/{name}")
    paths = [tmp_path / name for name in names]
    async with watching(*paths) as watched:
        for version in (2, 3):
            project(version)
            await watched.reported(*paths)
        assert watched.quiet()


async def test_a_link_that_is_pointed_elsewhere_is_followed(tmp_path: Path) -> None:
    for version in ("v1", "v2"):
        (tmp_path / version).mkdir()
        write(tmp_path / version / "ca.crt", version)
    (tmp_path / "creds").mkdir()
    (tmp_path / "creds" / "current").symlink_to("../v1")
    path = tmp_path / "creds" / "current" / "ca.crt"
    async with watching(path) as watched:
        write(tmp_path / "v1" / "ca.crt", "edited behind the link")
        await watched.reported(path)
        (tmp_path / "creds" / "new").symlink_to(tmp_path / "v2")
        (tmp_path / "creds" / "new").replace(tmp_path / "creds" / "current")
        await watched.reported(path)
        write(tmp_path / "v2" / "ca.crt", "edited behind the new link")
        await watched.reported(path)


@pytest.mark.parametrize(
    "act",
    [
        lambda path: write(path.with_name("unrelated"), "x"),
        os.utime,
        lambda path: path.chmod(0o644),
        lambda path: write(path, "1"),
    ],
    ids=["unrelated file", "touch", "mode", "same content"],
)
async def test_events_without_new_content_are_not_reported(tmp_path: Path, act: Callable[[Path], None]) -> None:
    path, witness = tmp_path / "ca.crt", tmp_path / "witness"
    write(path, "1")
    async with watching(path, witness) as watched:
        act(path)
        # The only call is about a file that was changed afterwards.
        write(witness, "2")
        await watched.reported(witness)
        assert watched.quiet()


async def test_the_poll_finds_changes_that_events_hide(tmp_path: Path) -> None:
    async def deaf(
        paths: frozenset[Path],
        notify: Callable[[], None],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        task_status.started()
        await trio.sleep_forever()

    path = tmp_path / "ca.crt"
    async with watching(path, poll=0.05, quiet=0.01, events=deaf) as watched:
        write(path, "1")
        await watched.reported(path)


async def test_directories_that_do_not_exist_yet_are_picked_up(tmp_path: Path) -> None:
    path = tmp_path / "not" / "yet" / "ca.crt"
    async with watching(path) as watched:
        path.parent.mkdir(parents=True)
        write(path, "1")
        await watched.reported(path)


async def test_a_link_that_moves_just_before_the_subscription_is_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for version in ("v1", "v2"):
        (tmp_path / version).mkdir()
        write(tmp_path / version / "ca.crt", version)
    (tmp_path / "current").symlink_to("v1")
    path = tmp_path / "current" / "ca.crt"
    subscriptions: list[list[str]] = []

    def moving(directories: list[str], **how: Any) -> RustNotify:
        subscriptions.append(sorted(directories))
        (tmp_path / "new").symlink_to("v2")
        (tmp_path / "new").replace(tmp_path / "current")
        return RustNotify(directories, **how)

    monkeypatch.setattr(events_module, "RustNotify", moving)
    async with watching(path) as watched:
        await watched.reported(path)
        write(tmp_path / "v2" / "ca.crt", "edited")
        await watched.reported(path)
    assert subscriptions[:2] == [[str(tmp_path), str(tmp_path / version)] for version in ("v1", "v2")]


async def test_a_subscription_is_renewed_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events_module, "RENEWAL", 0.06)
    hints = 0
    enough = trio.Event()

    def notify() -> None:
        nonlocal hints
        hints += 1
        if hints == 3:
            enough.set()

    async with trio.open_nursery() as nursery:
        await nursery.start(file_events, frozenset({tmp_path / "ca.crt"}), notify)
        with trio.fail_after(PATIENCE):
            await enough.wait()
        nursery.cancel_scope.cancel()


async def test_a_refused_subscription_is_logged_once_and_retried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the machine is out of inotify instances; afterwards all is as it should be."""
    left = 5
    relented = trio.Event()

    def refusing(directories: list[str], **how: Any) -> RustNotify:
        nonlocal left
        left -= 1
        if left >= 0:
            raise OSError(24, "Too many open files")
        relented.set()
        return RustNotify(directories, **how)

    monkeypatch.setattr(events_module, "RustNotify", refusing)
    monkeypatch.setattr(events_module, "RETRY", 0.01)
    path = tmp_path / "ca.crt"
    with capture_logs() as lines:
        async with watching(path) as watched:
            write(path, "1")
            await watched.reported(path)
            await relented.wait()
            write(path, "2")
            await watched.reported(path)
    assert [(line["log_level"], line["event"]) for line in lines] == [
        (
            "warning",
            f"File events are not available for [{tmp_path}], files are polled instead: [Errno 24] Too many open files",
        )
    ]


async def test_cancelling_is_prompt_and_leaves_nothing_behind(tmp_path: Path) -> None:
    async with watching(tmp_path / "ca.crt"):
        assert inotify_instances() == 1
        begun = trio.current_time()
    assert trio.current_time() - begun < PATIENCE
    for _ in range(PATIENCE * 100):  # the native thread closes its descriptor in its own time
        if not inotify_instances():
            return
        await trio.sleep(0.01)
    raise AssertionError("an inotify instance was left open")


def inotify_instances() -> int:
    links = []
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the one that the listing itself had open
            links.append(str(descriptor.readlink()))
    return links.count("anon_inode:inotify")


# --- which directories decide


def test_directories_of_plain_paths(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "file").touch()
    paths = {tmp_path / "a" / "file", tmp_path / "a" / "none", tmp_path / "none" / "deeper" / "file"}
    assert watched_directories(frozenset(paths)) == {tmp_path / "a", tmp_path}


def test_directories_along_links(tmp_path: Path) -> None:
    for name in ("creds", "real", "links"):
        (tmp_path / name).mkdir()
    (tmp_path / "real" / "file").touch()
    (tmp_path / "links" / "dir").symlink_to("../real")
    (tmp_path / "creds" / "file").symlink_to(tmp_path / "links" / "dir" / "file")
    assert watched_directories(frozenset({tmp_path / "creds" / "file"})) == {
        tmp_path / "creds",
        tmp_path / "links",
        tmp_path / "real",
    }


def test_directories_of_a_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "creds").mkdir()
    assert watched_directories(frozenset({Path("creds/ca.crt"), Path("ca.crt")})) == {tmp_path / "creds", tmp_path}


def test_a_loop_of_links_ends(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    assert watched_directories(frozenset({tmp_path / "loop"})) == {tmp_path}


def test_a_file_where_a_directory_should_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert watched_directories(frozenset({tmp_path / "file" / "ca.crt"})) == {tmp_path}

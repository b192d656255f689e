"""The config watcher in virtual time: events and contents are injected."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from sentry_trio.watchers.config import watch_config
from sentry_trio.watchers.content import ContentTracker

CA, KEY = Path("/creds/ca.crt"), Path("/creds/issuer.key")
ONLY_CA, BOTH = frozenset({CA}), frozenset({CA, KEY})


class Desk:
    """Files that exist only here, a hand that rings the events' bell, and a list of the calls that came of it."""

    def __init__(self) -> None:
        self.files = {CA: "1", KEY: "1"}
        self.calls: list[tuple[float, frozenset[Path]]] = []
        self.looks: list[float] = []
        self.notify: Callable[[], None] = lambda: None
        self.tracker = ContentTracker(self.files, look=self.look)
        self.changed: Callable[[frozenset[Path]], Awaitable[None]] = self.remember

    async def look(self, paths: frozenset[Path]) -> Mapping[Path, str]:
        await trio.lowlevel.checkpoint()
        self.looks.append(trio.current_time())
        return {path: self.files[path] for path in paths}

    async def events(
        self,
        paths: frozenset[Path],
        notify: Callable[[], None],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        assert paths == BOTH
        self.notify = notify
        task_status.started()
        await trio.sleep_forever()

    async def remember(self, paths: frozenset[Path]) -> None:
        await trio.lowlevel.checkpoint()
        self.calls.append((trio.current_time(), paths))

    def write(self, path: Path, content: str) -> None:
        self.files[path] = content
        self.notify()

    @asynccontextmanager
    async def watched(self, *, settled: bool = True) -> AsyncIterator[None]:
        async def run(task_status: trio.TaskStatus[None]) -> None:
            await watch_config(self.tracker, changed=self.changed, events=self.events, task_status=task_status)

        async with trio.open_nursery() as nursery:
            await nursery.start(run)
            if settled:  # the look at the start is over; the clock shows 1 s
                await trio.sleep_until(1)
            yield
            nursery.cancel_scope.cancel()


async def test_a_change_before_the_watch_began_is_reported(autojump_clock: MockClock) -> None:
    desk = Desk()
    desk.files[CA] = "2"
    async with desk.watched():
        assert desk.calls == [(0.25, ONLY_CA)]


async def test_nothing_changed_nothing_called(autojump_clock: MockClock) -> None:
    desk = Desk()
    async with desk.watched():
        desk.notify()
        await trio.sleep(3600)
    assert desk.calls == []


async def test_events_are_merged_over_a_quiet_time(autojump_clock: MockClock) -> None:
    desk = Desk()
    async with desk.watched():
        desk.write(CA, "2")
        await trio.sleep(0.2)
        desk.write(KEY, "2")
        await trio.sleep(0.2)
        desk.notify()
        await trio.sleep(10)
    assert desk.calls == [(1.65, BOTH)]


async def test_events_without_end_are_not_waited_for(autojump_clock: MockClock) -> None:
    desk = Desk()
    async with desk.watched():
        desk.write(CA, "2")
        while not desk.calls:
            await trio.sleep(0.1)
            desk.notify()
        assert desk.calls == [(3.0, ONLY_CA)]


async def test_content_that_came_and_went_is_no_change(autojump_clock: MockClock) -> None:
    desk = Desk()
    async with desk.watched():
        desk.write(CA, "2")
        await trio.sleep(0.1)
        desk.write(CA, "1")
        await trio.sleep(10)
    assert desk.calls == []


async def test_a_change_without_event_is_found_by_the_poll_and_waited_out(autojump_clock: MockClock) -> None:
    desk = Desk()
    async with desk.watched():
        desk.files[CA] = "2"
        await trio.sleep(100)
    # The minute counts from the look at the start; the quiet time follows, for the other files of the set.
    assert desk.calls == [(60.5, ONLY_CA)]


async def test_files_are_polled_every_minute(autojump_clock: MockClock) -> None:
    desk = Desk()
    async with desk.watched():
        await trio.sleep(600)
    assert desk.looks == [0.25 + 60 * minute for minute in range(11)]


async def test_each_change_is_reported_once_even_if_it_cannot_be_used(autojump_clock: MockClock) -> None:
    desk = Desk()
    async with desk.watched():
        for content in ("2", "1"):
            desk.write(CA, content)
            await trio.sleep(300)
    assert [paths for _, paths in desk.calls] == [ONLY_CA, ONLY_CA]


async def test_writes_of_the_process_are_not_reported(autojump_clock: MockClock) -> None:
    desk = Desk()
    async with desk.watched():
        async with desk.tracker.own_write():
            desk.write(CA, "sha256: 5b3975651c3cab92d044c096dc30a1c2d9525497457472de48c51ecb363d1f4a")
            await trio.sleep(10)
            desk.tracker.accept({CA: b"own"})
        await trio.sleep(100)
    assert desk.calls == []


async def test_changes_during_a_call_are_reported_by_the_next(autojump_clock: MockClock) -> None:
    desk = Desk()

    async def slowly(paths: frozenset[Path]) -> None:
        desk.calls.append((trio.current_time(), paths))
        await trio.sleep(5)

    desk.changed = slowly
    async with desk.watched():
        desk.write(CA, "2")
        await trio.sleep(1)
        desk.write(KEY, "2")
        desk.write(CA, "3")
        await trio.sleep(20)
    assert desk.calls == [(1.25, ONLY_CA), (6.5, BOTH)]


async def test_a_failure_of_the_callback_ends_the_watch(autojump_clock: MockClock) -> None:
    desk = Desk()

    async def fail(_: frozenset[Path]) -> None:
        raise ZeroDivisionError

    desk.changed = fail
    desk.files[CA] = "2"
    with pytest.RaisesGroup(ZeroDivisionError, flatten_subgroups=True):
        async with desk.watched():
            await trio.sleep_forever()


async def test_cancelling_is_prompt(autojump_clock: MockClock) -> None:
    desk = Desk()
    async with desk.watched(settled=False):
        await wait_all_tasks_blocked()
    assert trio.current_time() == 0

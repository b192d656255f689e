"""Config watcher: reports that files of a run have other content."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, NoReturn

import trio

from sentry_trio.debouncer import Debouncer
from sentry_trio.watchers.content import ContentTracker
from sentry_trio.watchers.events import EventSource, file_events

QUIET: Final = 0.25
"""Seconds without events after which a change counts as finished."""

LONGEST: Final = 2.0
"""Seconds after the first event after which the files are read even if events continue."""

POLL: Final = 60.0
"""Seconds between reads of the content without events."""


async def watch_config(
    tracker: ContentTracker,
    *,
    changed: Callable[[frozenset[Path]], Awaitable[None]],
    quiet: float = QUIET,
    longest: float = LONGEST,
    poll: float = POLL,
    events: EventSource = file_events,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> NoReturn:
    """Calls `changed` if watched files have other content than is known; runs until cancelled.

    Dapr Sentry 1.18 restarts once per file name that an event names, 2 s apart, unrelated files and its own writes
    included. Here events are hints that are merged, and content decides: `changed` is called once per change of
    the set, with the files that differ, and not at all for a touch, an unrelated file, or accepted content. Changes
    since the start of the tracker are found at the start. Content that came and went while events were merged is not
    reported; reported content is known from then on, even if it was unusable.

    An unreadable or absent file counts as content, too.

    Args:
        tracker: the watched files and their known content.
        changed: called with the files whose content differs, one call at a time. Changes meanwhile are kept and
            reported by the next call. What it raises ends the watch.
        quiet: seconds without events after which a change counts as finished.
        longest: seconds after the first event after which the files are read anyway.
        poll: seconds between reads without any event, for changes without events (network file systems, a full queue).
        events: the source of hints.
        task_status: started when every later change will be noticed.

    Raises:
        Whatever `changed` or `events` raise, in an exception group.

    Cancellation: at once, but for the native thread of the events (about 50 ms).
    """
    debouncer = Debouncer(quiet=quiet, longest=longest)
    async with trio.open_nursery() as nursery:
        await nursery.start(events, tracker.paths, debouncer.signal)
        task_status.started()
        debouncer.signal()
        while True:
            await _wait_hint(debouncer, tracker, poll)
            await debouncer.wait_quiet()
            if paths := await tracker.take_changed():
                await changed(paths)
    raise AssertionError("the loop above never ends")  # for the type checker, which knows that nurseries may swallow


async def _wait_hint(debouncer: Debouncer, tracker: ContentTracker, poll: float) -> None:
    """Waits for an event, or for content that changed without one."""
    while True:
        with trio.move_on_after(poll):
            await debouncer.wait_signal()
            return
        if await tracker.changed():
            return

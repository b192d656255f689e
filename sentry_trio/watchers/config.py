"""The config watcher: tells when the files that a run was made from have other content."""

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
"""Seconds after the first event at which a change is looked at even if events go on."""

POLL: Final = 60.0
"""Seconds between looks at the content when there are no events."""


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
    """Call `changed` whenever watched files have other content than is known; run until cancelled.

    Dapr Sentry 1.18 restarts once per file name that an event names, 2 s apart, unrelated files and its own writes
    included. Here events are hints that are merged, and content decides: `changed` is called once per change of
    the set, with the files that differ, and not at all for a touch, an unrelated file, or what the tracker was told
    of. What changed since the tracker was started is found at the start. Content that came and went while events
    were merged is not reported; content that was reported is known from then on, also when nobody could use it.

    A file that cannot be read, or is gone, is content too.

    Args:
        tracker: the watched files and what is known of them.
        changed: called with the files whose content differs, one call at a time. Changes meanwhile are kept and
            reported by the next call. What it raises ends the watch.
        quiet: seconds without events after which a change counts as finished.
        longest: seconds after the first event at which the files are looked at anyway.
        poll: seconds between looks without any event, for what events miss (network file systems, a full queue).
        events: the source of hints.
        task_status: started when no later change escapes.

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
    """Wait for an event, or for content that changed without one."""
    while True:
        with trio.move_on_after(poll):
            await debouncer.wait_signal()
            return
        if await tracker.changed():
            return

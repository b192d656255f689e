"""Hints from the operating system that watched files may have changed.

Only hints: the content decides what changed. A needless event costs one read of the files, and the watcher's slow poll
finds changes without an event.
"""

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final, Protocol

import trio
from watchfiles._rust_notify import RustNotify  # its asynchronous functions import much of anyio

from sentry_trio.telemetry.logs import get_logger

RENEWAL: Final = 60.0
"""Seconds after which a subscription without events is renewed, in case its directory was replaced unnoticed."""

RETRY: Final = 5.0
"""Seconds between attempts while the operating system refuses a subscription."""

_STEP: Final = 50  # ms between two checks of the stop event by the native thread: the longest that cancelling takes
_GROUPING: Final = 250  # ms over which the native thread groups events at most
_LINKS: Final = 40  # symbolic links that are followed in one path, as Linux does
# watchfiles' own error, which it does not export, is a RuntimeError.
_REFUSALS: Final = (OSError, RuntimeError)

_log = get_logger("dapr.sentry.watcher")


class EventSource(Protocol):
    """A source of hints that files may have changed."""

    async def __call__(
        self, paths: frozenset[Path], notify: Callable[[], None], *, task_status: trio.TaskStatus[None]
    ) -> None:
        """Calls `notify`, which returns at once, after anything that may have changed a file; runs until cancelled.

        Args:
            paths: the watched files, which need not exist.
            notify: the hint.
            task_status: started when every later change is noticed.
        """
        ...


async def file_events(
    paths: frozenset[Path], notify: Callable[[], None], *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Source of hints from inotify or its equivalents, through watchfiles; see `EventSource`.

    Watched are the directories in which a look-up of each path passes a symbolic link or ends, so the kubelet's swap
    of ``..data`` is seen; for a directory that does not exist, the nearest ancestor that does. A subscription
    lasts until its first events or for `RENEWAL` seconds, then the directories are determined again: a directory that
    was removed and made again, or a link that leads elsewhere now, is picked up without any bookkeeping.

    If the operating system refuses a subscription twice in a row (e.g. out of inotify instances) a warning is
    logged once, and another attempt is made every `RETRY` seconds; `task_status` is started nevertheless.

    Cancellation: within about 50 ms, when the native thread has ended.
    """
    started = False
    refusals = 0

    def ready() -> None:
        nonlocal started
        if not started:
            started = True
            task_status.started()
        # There are no events between two subscriptions, so the files must be read.
        notify()

    def subscribed() -> None:
        nonlocal refusals
        refusals = 0
        ready()

    while True:
        directories = await _find_directories(paths)
        try:
            await _next_events(paths, directories, subscribed)
        except _REFUSALS as error:
            refusals += 1
            if refusals == 1:  # a directory may have gone since it was found
                continue
            if refusals == 2:
                listed = " ".join(sorted(map(str, directories)))
                _log.warning(f"File events are not available for [{listed}], files are polled instead: {error}")
            ready()
            await trio.sleep(RETRY)
        else:
            notify()


async def _find_directories(paths: frozenset[Path]) -> frozenset[Path]:
    return await trio.to_thread.run_sync(watched_directories, paths, abandon_on_cancel=True)


async def _next_events(paths: frozenset[Path], directories: frozenset[Path], subscribed: Callable[[], None]) -> None:
    """Subscribes, and returns after the first events, after `RENEWAL` seconds, or if the directories have changed."""
    stop = trio.Event()
    failure: Exception | None = None
    with _subscribe(directories) as subscription:
        # A link that was pointed elsewhere after the directories were found, but before the subscription, made no
        # event: look again, now that any later change does make one.
        if await _find_directories(paths) != directories:
            return
        subscribed()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_set_when_cancelled, stop)
            wait = partial(subscription.watch, _GROUPING, _STEP, round(RENEWAL * 1000), stop)
            try:
                await trio.to_thread.run_sync(wait)
            except _REFUSALS as error:
                failure = error  # raised outside of the nursery, which would wrap it in a group
            nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure


def _subscribe(directories: frozenset[Path]) -> RustNotify:
    return RustNotify(
        sorted(map(str, directories)),
        debug=False,
        force_polling=False,
        poll_delay_ms=0,
        recursive=False,
        ignore_permission_denied=True,
    )


async def _set_when_cancelled(stop: trio.Event) -> None:
    # The native thread cannot be cancelled, and Trio waits for it: another task than the waiting one must stop it.
    try:
        await trio.sleep_forever()
    finally:
        stop.set()


def watched_directories(paths: frozenset[Path]) -> frozenset[Path]:
    """Returns the directories whose entries decide the targets of the paths; all existed a moment ago. Blocks."""
    return frozenset(directory for path in paths for directory in _directories(path))


def _directories(path: Path) -> Iterator[Path]:
    """Walks a path as the kernel does, link by link."""
    here = Path(path.anchor or ".").absolute()
    parts = list(reversed(path.parts[1:] if path.is_absolute() else path.parts))
    links = 0
    while parts:
        part = parts.pop()
        step = here.parent if part == ".." else here / part
        try:
            target = step.readlink()
        except OSError:  # not a link, or not there
            if not parts or not os.path.lexists(step):
                directory = here if here.is_dir() else here.parent
                yield directory
                if not os.access(directory, os.R_OK, effective_ids=os.access in os.supports_effective_ids):
                    yield directory.parent  # its events show when this one may be read, and so watched, again
                return
            here = step
            continue
        yield here
        links += 1
        if links > _LINKS:
            return
        if target.is_absolute():
            here = Path(target.anchor)
            parts.extend(reversed(target.parts[1:]))
        else:
            parts.extend(reversed(target.parts))

"""Watches of single objects that report changes of their content."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final, NoReturn, TypeVar

import msgspec
import trio

from sentry_trio.backoff import Backoff
from sentry_trio.debouncer import Debouncer
from sentry_trio.errors import ApiRejectedError, ApiUnavailableError
from sentry_trio.kube.api import Api
from sentry_trio.kube.watch_stream import WatchLoop
from sentry_trio.telemetry.logs import get_logger

QUIET: Final = 0.2
"""Seconds without events after which a change counts as finished: two objects are seldom written at once."""

LONGEST: Final = 1.0
"""Seconds after the first event after which the objects are read even if events continue."""

WATCH_SECONDS: Final = 240
"""Seconds that a watch lasts; the next one finds the changes that an unnoticed dead connection hid."""

POLL: Final = 10.0
"""Seconds between reads, at most, if the API server rejects the watch, e.g. without permission."""

_log: Final = get_logger("dapr.sentry")

Content = TypeVar("Content")


class WatchedObject(msgspec.Struct, frozen=True):
    """One object to watch.

    Attributes:
        collection: the path of the objects of its kind, e.g. `/api/v1/namespaces/default/secrets`.
        name: name of the object.
    """

    collection: str
    name: str

    @property
    def path(self) -> str:
        """The object's own path."""
        return f"{self.collection}/{self.name}"


async def watch_objects(
    api: Api,
    objects: Sequence[WatchedObject],
    *,
    look: Callable[[], Awaitable[Content]],
    known: Content,
    changed: Callable[[], Awaitable[None]],
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> NoReturn:
    """Calls `changed` when the content of the objects differs from the known one; runs until cancelled.

    Events of the watches are merged hints, after which the objects are read and compared. So a watch that was cut or
    came too late (410 Gone) loses no change: it begins again, with pauses that grow to 5 s, and the objects are
    read. A rejected watch is retried, with pauses that grow to `POLL` seconds, and the objects are read each time:
    Dapr's own chart, for one, grants no watch of the Secret. The first read finds earlier changes.

    Reported content is known from then on, even if it was unusable.

    Args:
        api: the API server.
        objects: the objects, each watched by its name.
        look: reads the relevant content of the objects; retried with pauses if it raises ApiUnavailableError.
        known: what `look` would have returned when the caller last read the objects.
        changed: called for one change at a time; the next call reports changes meanwhile. If it raises
            ApiUnavailableError, it is called again after a pause. Any other error ends the watch.
        task_status: started when each watch is open, or its first attempt has failed.

    Raises:
        Exception: any other error of `look` or `changed`, in an exception group.

    Cancellation: at once.
    """
    debouncer = Debouncer(quiet=QUIET, longest=LONGEST)
    async with trio.open_nursery() as nursery:
        for each in objects:
            watch = _ObjectWatch(api, each, debouncer)
            nursery.start_soon(watch.keep, nursery)
            await watch.tried.wait()
        task_status.started()
        debouncer.signal()
        await _report(debouncer, look, known, changed)
    raise AssertionError("reporting never ends")  # for the type checker, which knows that nurseries may swallow


class _ObjectWatch:
    """Watches one object by its name, and signals each event.

    Attributes:
        tried: set when the watch has begun, or failed once.
    """

    def __init__(self, api: Api, watched: WatchedObject, debouncer: Debouncer) -> None:
        self.tried = trio.Event()
        self._api = api
        self._watched = watched
        self._debouncer = debouncer
        self._refusal: float | None = None  # seconds to wait after the last try, if that was refused

    async def keep(self, nursery: trio.Nursery) -> NoReturn:
        """Watches until cancelled; a timer runs in the nursery."""
        loop = WatchLoop(
            f"the watch of {self._watched.path} keeps failing, changes are noticed with a delay",
            f"watching {self._watched.path} again",
            nursery,
            backoff=Backoff(first=0.25),
        )
        await loop.keep(partial(self._watch, loop), refused=self._refused)

    async def _watch(self, loop: WatchLoop) -> None:
        # Version 0 begins with the API server's cache, and is never too old. Without a version it
        # first waits until its cache has all that etcd has. With an etcd before 3.4.31 or 3.5.13 it cannot find that
        # out while nothing is written, and ends each watch with 504 after 3 s.
        query = {
            "fieldSelector": f"metadata.name={self._watched.name}",
            "resourceVersion": "0",
            "timeoutSeconds": str(WATCH_SECONDS),
        }
        try:
            with trio.move_on_after(WATCH_SECONDS + POLL):
                async with self._api.watch(self._watched.collection, query) as events:
                    self.tried.set()
                    self._refusal = None
                    self._debouncer.signal()  # for changes while there was no watch
                    with loop.established():
                        async for _ in events:
                            self._debouncer.signal()
        finally:
            self.tried.set()

    def _refused(self, error: ApiRejectedError) -> float:
        self._debouncer.signal()
        path = self._watched.path
        if error.status == 410:
            _log.debug(f"the watch of {path} must be restarted, its resourceVersion is too old: {error}")
            return 0.0
        if self._refusal is None:
            _log.warning(f"cannot watch {path}, reading it every {POLL:.0f} s instead: {error}")
        # Soon at first: an API server that has just started may reject briefly what it permits later.
        self._refusal = min(1.0 if self._refusal is None else 2 * self._refusal, POLL)
        return self._refusal


async def _report(
    debouncer: Debouncer,
    look: Callable[[], Awaitable[Content]],
    known: Content,
    changed: Callable[[], Awaitable[None]],
) -> NoReturn:
    backoff = Backoff()
    while True:
        await debouncer.wait_signal()
        await debouncer.wait_quiet()
        try:
            present = await look()
            if present != known:
                await changed()
                known = present
        except ApiUnavailableError as error:
            _log.debug(f"cannot read the changed content yet: {error}")
            debouncer.signal()
            await trio.sleep(backoff.next())
        else:
            backoff.reset()

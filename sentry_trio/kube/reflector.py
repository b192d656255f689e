"""Copy of all objects of a kind, kept current by a list and a watch."""

from collections.abc import Callable, Iterator
from functools import partial
from random import SystemRandom
from typing import Final, Generic, NoReturn, TypeVar

import msgspec
import trio

from sentry_trio.backoff import Backoff
from sentry_trio.conditions import Condition
from sentry_trio.errors import ApiRejectedError, ApiUnavailableError
from sentry_trio.kube.api import WatchApi
from sentry_trio.kube.resources import KubeObject, Resource
from sentry_trio.kube.watch_stream import Event, WatchLoop
from sentry_trio.telemetry.logs import get_logger

PAGE: Final = 500
"""Objects that one answer holds at most while they are listed."""

LONGEST_PAUSE: Final = 30.0
"""Seconds between two attempts at most."""

_FIRST_PAUSE: Final = 0.5  # seconds
# Seconds after which the server ends a watch, spread so that processes that began together do not stay together;
# a session treats a longer silence as a lost connection.
_WATCH_SECONDS: Final = range(200, 290)
YIELD_EVERY: Final = 100  # objects read between two checkpoints
_GONE: Final = 410

_random: Final = SystemRandom()
_log: Final = get_logger("dapr.sentry.kubernetes")


T = TypeVar("T", bound=KubeObject)


class _Metadata(msgspec.Struct, rename={"resource_version": "resourceVersion", "rest": "continue"}):
    """Metadata of an object or a list."""

    resource_version: str
    name: str = ""
    namespace: str = ""
    rest: str = ""


class _Page(msgspec.Struct):
    """A page of a list, or an object, of which only the metadata is read."""

    metadata: _Metadata
    items: list[msgspec.Raw] | None = None


_decoder: Final = msgspec.json.Decoder(_Page)


class Reflector(Generic[T]):
    """Keeps a copy of all objects of a kind in all namespaces.

    While the API server is unreachable, the copy stays as it was. Unreadable objects are left out.

    Args:
        api: the API server.
        resource: kind of the objects.
        deleted: called with each object that was seen to be deleted.
        page: objects in one answer at most.
        condition: set while they cannot be followed.
    """

    def __init__(
        self,
        api: WatchApi,
        resource: Resource[T],
        *,
        deleted: Callable[[T], None] = lambda _: None,
        page: int = PAGE,
        condition: Condition | None = None,
    ) -> None:
        self._api = api
        self._resource = resource
        self._deleted = deleted
        self._page = page
        self._path = resource.path
        # By namespace and name: a table each needs less memory than pairs as keys.
        self._objects: dict[str, dict[str, T]] = {}
        self._version: str | None = None  # of the last event; None if the objects are to be listed
        self._listed = trio.Event()
        self._condition = condition

    @property
    def ready(self) -> bool:
        """True once all objects have been listed."""
        return self._listed.is_set()

    async def wait_ready(self) -> None:
        """Returns once all objects have been listed. Cancellation: at once."""
        await self._listed.wait()

    def get(self, namespace: str, name: str) -> T | None:
        """Returns the object of that name; None if it is not known."""
        return self._objects.get(namespace, {}).get(name)

    def __len__(self) -> int:
        return sum(map(len, self._objects.values()))

    def __iter__(self) -> Iterator[T]:
        for objects in self._objects.values():
            yield from objects.values()

    async def keep(self) -> NoReturn:
        """Lists the objects, watches them, and watches again whenever a watch ends; runs until cancelled.

        A watch that ends or is cut is resumed. If the API server no longer has that version (410), the objects are
        listed again. Pauses grow from 0.5 s to `LONGEST_PAUSE`, half of each at random; a Retry-After of the server is
        obeyed up to that. No failure ends this: missing permissions and definitions may be added.

        Cancellation: at once.
        """
        async with trio.open_nursery() as nursery:
            loop = WatchLoop(
                f"cannot watch {self._path}, retrying",
                f"watching {self._path} again",
                nursery,
                backoff=Backoff(first=_FIRST_PAUSE, longest=LONGEST_PAUSE),
                condition=self._condition,
            )
            await loop.keep(partial(self._watch, loop), refused=partial(self._refused, loop))
        raise AssertionError("keeping never ends")  # for the type checker, which knows that nurseries may swallow

    async def _watch(self, loop: WatchLoop) -> None:
        if self._version is None:
            await self._list()
            self._listed.set()
        await self._follow(self._version, loop)

    def _refused(self, loop: WatchLoop, error: ApiRejectedError) -> float:
        if error.status == _GONE:
            self._version = None
            _log.debug(f"listing {self._path} again: {error}")
        else:
            loop.failed(error)
        return 0.0

    async def _list(self) -> None:
        objects: dict[str, dict[str, T]] = {}
        query = {"limit": str(self._page)}
        while True:
            page = self._decoded(await self._api.get_raw(self._path, query))
            for number, item in enumerate(page.items or ()):
                if number % YIELD_EVERY == 0:
                    await trio.lowlevel.checkpoint()
                if (read := self._read(item)) is not None:
                    objects.setdefault(read.namespace, {})[read.name] = read
            if not page.metadata.rest:
                break
            query["continue"] = page.metadata.rest
        self._replace(objects)
        self._version = page.metadata.resource_version

    def _replace(self, objects: dict[str, dict[str, T]]) -> None:
        before, self._objects = list(self), objects
        for each in before:
            present = self.get(each.namespace, each.name)
            if present is None or present.uid != each.uid:
                self._deleted(each)

    async def _follow(self, version: str | None, loop: WatchLoop) -> None:
        query = {
            "resourceVersion": version or "",
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(_random.choice(_WATCH_SECONDS)),
        }
        async with self._api.watch(self._path, query) as events:
            with loop.established():
                async for event in events:
                    if event.type != "BOOKMARK":
                        self._apply(event)
                    self._version = self._decoded(event.object).metadata.resource_version

    def _apply(self, event: Event) -> None:
        item = self._read(event.object)
        if item is None:
            return
        known = self.get(item.namespace, item.name)
        if known is not None and known.uid != item.uid:
            self._deleted(known)
        if event.type == "DELETED":
            self._remove(item)
            self._deleted(item)
        else:
            self._objects.setdefault(item.namespace, {})[item.name] = item

    def _remove(self, item: T) -> None:
        objects = self._objects.get(item.namespace, {})
        objects.pop(item.name, None)
        if not objects:
            self._objects.pop(item.namespace, None)

    def _read(self, document: msgspec.Raw) -> T | None:
        try:
            return self._resource.read(document)
        except msgspec.MsgspecError as error:
            _log.warning(f"ignoring {_name_of(document)} of {self._path}, which cannot be read: {error}")
            return None

    def _decoded(self, document: bytes | msgspec.Raw) -> _Page:
        try:
            return _decoder.decode(document)
        except msgspec.MsgspecError as error:
            raise ApiUnavailableError(f"{self._path}: unexpected response: {error}") from error


def _name_of(document: bytes | msgspec.Raw) -> str:
    try:
        metadata = _decoder.decode(document).metadata
    except msgspec.MsgspecError:
        return "one"
    return f"{metadata.namespace}/{metadata.name}" if metadata.namespace and metadata.name else "one"

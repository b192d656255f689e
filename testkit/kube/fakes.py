"""An API server in memory: resource versions, conflicts, watches that can be cut, and faults when they are wanted."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import msgspec
import trio

from sentry_trio.errors import ApiRejectedError, ApiUnavailableError
from sentry_trio.kube.api import Api
from sentry_trio.kube.watch_stream import Event

Object = dict[str, Any]

NAMESPACE = "dapr-system"
SECRET = f"/api/v1/namespaces/{NAMESPACE}/secrets/dapr-trust-bundle"
CONFIG_MAP = f"/api/v1/namespaces/{NAMESPACE}/configmaps/dapr-trust-bundle"


def refused(status: int, reason: str) -> ApiRejectedError:
    return ApiRejectedError(f"{status} {reason}", status=status, reason=reason)


def unavailable() -> ApiUnavailableError:
    return ApiUnavailableError("connection refused")


@dataclass
class Fault:
    """Faults of some requests.

    Attributes:
        verb: of which requests.
        part: of their path.
        error: what they raise.
        left: how many.
        after: whether what was asked for is done all the same, and only its answer lost.
    """

    verb: str
    part: str
    error: Exception
    left: int | float = 1
    after: bool = False


@dataclass(frozen=True)
class _Watch:
    collection: str
    name: str
    send: trio.MemorySendChannel[Object]


class FakeApi(Api):
    """Objects by path.

    Attributes:
        objects: what there is.
        requests: verb, path and time of each request that arrived.
        faults: the first that fits a request is used up by it.
        pause: seconds that each request takes before it is looked at.
        before: called with verb and path when a request is looked at; what it changes comes just before the request.
        versions: version at which each watch was to begin.
        allowed: answers access reviews, given the resource attributes.
    """

    def __init__(self, *, pause: float = 0.0) -> None:
        self.objects: dict[str, Object] = {}
        self.requests: list[tuple[str, str, float]] = []
        self.faults: list[Fault] = []
        self.pause = pause
        self.before: Callable[[str, str], Awaitable[None]] | None = None
        self.allowed: Callable[[Mapping[str, str]], bool] = lambda _: True
        self.down = False
        self.versions: list[str | None] = []
        self._version = 0
        self._watches: list[_Watch] = []

    # --- what an administrator does

    def put(self, path: str, body: Mapping[str, Any]) -> Object:
        """Creates or replaces an object of any version."""
        kind = "ADDED" if path not in self.objects else "MODIFIED"
        name = path.rpartition("/")[2]
        made: Object = json.loads(json.dumps(body))
        self._version += 1
        made["metadata"] = {**made.get("metadata", {}), "name": name, "resourceVersion": str(self._version)}
        self.objects[path] = made
        self._tell(path, kind, made)
        return made

    def edit(self, path: str, **changes: Any) -> None:
        """Changes top-level fields of an object."""
        self.put(path, {**self.objects[path], **changes})

    def remove(self, path: str) -> None:
        self._version += 1
        self._tell(path, "DELETED", self.objects.pop(path))

    def cut(self) -> None:
        """Ends all watches as a lost connection does."""
        watches, self._watches = self._watches, []
        for watch in watches:
            watch.send.send_nowait({"type": "CUT"})

    def expire(self) -> None:
        """Ends all watches with 410 Gone."""
        watches, self._watches = self._watches, []
        for watch in watches:
            watch.send.send_nowait({"type": "ERROR"})

    def close_watches(self) -> None:
        """Ends all watches as the server does when their time is up."""
        watches, self._watches = self._watches, []
        for watch in watches:
            watch.send.close()

    @property
    def watched(self) -> list[str]:
        return [f"{watch.collection}/{watch.name}" for watch in self._watches]

    def count(self, verb: str, part: str = "") -> int:
        return sum(1 for each, path, _ in self.requests if each == verb and part in path)

    # --- what clients do

    async def get(self, path: str, query: Mapping[str, str] | None = None) -> Object:
        return await self._request("get", path, lambda: self._copy(path))

    async def get_raw(self, path: str, query: Mapping[str, str] | None = None) -> bytes:
        return json.dumps(await self.get(path, query)).encode()

    async def create(self, path: str, body: Mapping[str, Any]) -> Object:
        return await self._request("create", path, lambda: self._create(path, body))

    async def replace(self, path: str, body: Mapping[str, Any]) -> Object:
        return await self._request("replace", path, lambda: self._replace(path, body))

    @asynccontextmanager
    async def watch(self, path: str, query: Mapping[str, str] | None = None) -> AsyncIterator[AsyncIterator[Event]]:
        asked = query or {}
        field, _, name = asked["fieldSelector"].partition("=")
        self.versions.append(asked.get("resourceVersion"))
        assert field == "metadata.name"
        await self._request("watch", path, dict)
        send, receive = trio.open_memory_channel[Object](1000)
        watch = _Watch(path, name, send)
        if (found := self.objects.get(f"{path}/{name}")) is not None:
            send.send_nowait({"type": "ADDED", "object": found})
        self._watches.append(watch)
        try:
            yield self._events(receive)
        finally:
            if watch in self._watches:
                self._watches.remove(watch)

    async def _events(self, receive: trio.MemoryReceiveChannel[Object]) -> AsyncIterator[Event]:
        async for event in receive:
            if event["type"] == "CUT":
                raise unavailable()
            if event["type"] == "ERROR":
                raise refused(410, "Expired")
            yield Event(event["type"], msgspec.Raw(json.dumps(event["object"]).encode()))

    async def _request(self, verb: str, path: str, do: Callable[[], Object]) -> Object:
        self.requests.append((verb, path, trio.current_time()))
        await trio.sleep(self.pause)
        if self.before is not None:
            await self.before(verb, path)
        if self.down:
            raise unavailable()
        fault = next((each for each in self.faults if each.verb == verb and each.part in path and each.left > 0), None)
        if fault is None:
            return do()
        fault.left -= 1
        if fault.after:
            do()
        raise fault.error

    def _copy(self, path: str) -> Object:
        if path not in self.objects:
            raise refused(404, "NotFound")
        copy: Object = json.loads(json.dumps(self.objects[path]))
        return copy

    def _create(self, path: str, body: Mapping[str, Any]) -> Object:
        if path.endswith("/selfsubjectaccessreviews"):
            return {**body, "status": {"allowed": self.allowed(body["spec"]["resourceAttributes"])}}
        own = f"{path}/{body['metadata']['name']}"
        if own in self.objects:
            raise refused(409, "AlreadyExists")
        return self.put(own, body)

    def _replace(self, path: str, body: Mapping[str, Any]) -> Object:
        current = self._copy(path)
        if body["metadata"].get("resourceVersion") != current["metadata"]["resourceVersion"]:
            raise refused(409, "Conflict")
        # A write that changes nothing leaves the version as it is.
        return current if body == current else self.put(path, body)

    def _tell(self, path: str, kind: str, subject: Object) -> None:
        for watch in self._watches:
            if f"{watch.collection}/{watch.name}" == path:
                watch.send.send_nowait({"type": kind, "object": subject})


def installed(*, pause: float = 0.0) -> FakeApi:
    """An API server with the chart's empty Secret and ConfigMap."""
    api = FakeApi(pause=pause)
    api.put(SECRET, {"apiVersion": "v1", "kind": "Secret", "type": "Opaque"})
    api.put(CONFIG_MAP, {"apiVersion": "v1", "kind": "ConfigMap"})
    return api

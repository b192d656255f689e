"""An API server in memory, as far as listing and watching go: for tests in virtual time."""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
import trio

from sentry_trio.errors import ApiRejectedError, ApiUnavailableError
from sentry_trio.kube.watch_stream import Event

PODS = "/api/v1/pods"
CONFIGURATIONS = "/apis/dapr.io/v1alpha1/configurations"

Object = dict[str, Any]
Failure = Callable[[], Exception]


def away() -> Exception:
    return ApiUnavailableError("GET /api/v1/pods: cannot connect")


def busy() -> Exception:
    return ApiUnavailableError("GET /api/v1/pods: 429", retry_after=20)


def forbidden() -> Exception:
    return ApiRejectedError('GET /api/v1/pods: 403: cannot list resource "pods"', status=403, reason="Forbidden")


def expired() -> Exception:
    return ApiRejectedError("GET /api/v1/pods: 410: too old", status=410, reason="Expired")


def pod(name: str, *, uid: str = "", namespace: str = "default", **annotations: str) -> Object:
    """A pod in JSON; its UID is its name if none is given, its annotations begin with dapr.io/."""
    named = {f"dapr.io/{key.replace('_', '-')}": value for key, value in annotations.items()}
    return {
        "metadata": {"namespace": namespace, "name": name, "uid": uid or name, "annotations": named},
        "spec": {"serviceAccountName": "account", "containers": [{"name": "app", "image": "app:1"}]},
    }


def sidecar_pod(name: str, anchors: str, *, created: str = "2026-01-01T00:00:00Z") -> Object:
    """A pod that runs a sidecar of Dapr with these trust anchors, as the injector makes it."""
    made = pod(name, enabled="true", app_id="cart")
    made["metadata"]["creationTimestamp"] = created
    env = [{"name": "NAMESPACE", "value": "default"}, {"name": "DAPR_TRUST_ANCHORS", "value": anchors}]
    made["spec"]["containers"].append({"name": "daprd", "image": "daprd:1", "env": env})
    return made


@dataclass
class Objects:
    """Objects of all kinds by path of their list; a ReadApi.

    Attributes:
        requests: what was asked for and when, by path and query.
        failures: what the next requests meet, lists, objects and watches alike.
        delay: seconds that an answer takes.
    """

    requests: list[tuple[float, str, Mapping[str, str]]] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    delay: float = 0.0
    _version: int = 100
    _lists: dict[str, dict[tuple[str, str], Object]] = field(default_factory=dict)
    _watches: list[tuple[str, trio.MemorySendChannel[Event | Exception]]] = field(default_factory=list)

    def put(self, item: Object, path: str = PODS, *, quietly: bool = False) -> None:
        """Makes or changes an object; quietly if no watch is to hear of it."""
        objects = self._lists.setdefault(path, {})
        key = _key(item)
        kind = "MODIFIED" if key in objects else "ADDED"
        objects[key] = self._versioned(item)
        if not quietly:
            self._tell(path, kind, objects[key])

    def delete(self, namespace: str, name: str, path: str = PODS, *, quietly: bool = False) -> None:
        item = self._versioned(self._lists[path].pop((namespace, name)))
        if not quietly:
            self._tell(path, "DELETED", item)

    def bookmark(self, path: str = PODS) -> None:
        """Sends watches a bookmark."""
        self._tell(path, "BOOKMARK", self._versioned({"metadata": {}, "spec": {"containers": None}}))

    def raw_event(self, kind: str, document: bytes, path: str = PODS) -> None:
        self._send(path, Event(kind, msgspec.Raw(document)))

    def end_watches(self, failure: Exception | None = None) -> None:
        """Ends all watches, as it happens after a while or when they are cut."""
        for _, channel in self._watches:
            if failure is not None:
                channel.send_nowait(failure)
            channel.close()
        self._watches.clear()

    @property
    def watches(self) -> int:
        return len(self._watches)

    def asked(self, path: str = PODS, *, watch: bool = False) -> list[float]:
        """Times of requests for a list or a watch."""
        return [at for at, each, query in self.requests if each == path and ("resourceVersion" in query) == watch]

    async def get(self, path: str, query: Mapping[str, str] | None = None) -> Any:
        return json.loads(await self.get_raw(path, query))

    async def get_raw(self, path: str, query: Mapping[str, str] | None = None) -> bytes:
        await self._meet(path, query or {})
        if "/namespaces/" in path:
            return self._one(path)
        items = list(self._lists.get(path, {}).values())
        begin = int((query or {}).get("continue", "0"))
        end = begin + int((query or {})["limit"])
        metadata = {"resourceVersion": str(self._version), "continue": str(end) if end < len(items) else ""}
        return json.dumps({"metadata": metadata, "items": items[begin:end]}).encode()

    @asynccontextmanager
    async def watch(self, path: str, query: Mapping[str, str] | None = None) -> AsyncIterator[AsyncIterator[Event]]:
        await self._meet(path, query or {})
        send, receive = trio.open_memory_channel[Event | Exception](100)
        self._watches.append((path, send))

        async def events() -> AsyncGenerator[Event]:
            async for each in receive:
                if isinstance(each, Exception):
                    raise each
                yield each

        async with aclosing(events()) as iterator:
            yield iterator

    async def _meet(self, path: str, query: Mapping[str, str]) -> None:
        self.requests.append((trio.current_time(), path, dict(query)))
        await trio.sleep(self.delay)
        if self.failures:
            error = self.failures.pop(0)()
            raise error

    def _one(self, path: str) -> bytes:
        root, _, rest = path.partition("/namespaces/")
        namespace, plural, name = rest.split("/")
        found = self._lists.get(f"{root}/{plural}", {}).get((namespace, name))
        if found is None:
            raise ApiRejectedError(f"GET {path}: 404", status=404, reason="NotFound")
        return json.dumps(found).encode()

    def _versioned(self, item: Object) -> Object:
        self._version += 1
        return {**item, "metadata": {**item["metadata"], "resourceVersion": str(self._version)}}

    def _tell(self, path: str, kind: str, item: Object) -> None:
        self._send(path, Event(kind, msgspec.Raw(json.dumps(item).encode())))

    def _send(self, path: str, event: Event) -> None:
        for watched, channel in self._watches:
            if watched == path:
                channel.send_nowait(event)


def _key(item: Object) -> tuple[str, str]:
    return item["metadata"]["namespace"], item["metadata"]["name"]

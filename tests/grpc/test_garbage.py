"""Data of calls and connections is freed as soon as they have ended, without the garbage collector, which runs late."""

import gc
import gzip
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import trio
from h2.events import StreamEnded
from hyperframe.frame import RstStreamFrame
from trio.testing import MockClock, wait_all_tasks_blocked

from sentry_trio.grpc import Limits
from sentry_trio.grpc.call import Call
from sentry_trio.grpc.connection import Connection
from sentry_trio.grpc.http_requests import HTTPRequest
from sentry_trio.grpc.tls import TLSTransport
from testkit.attackers import KINDS, attacking
from testkit.grpc.raw import peering, request_head, text
from testkit.grpc.toys import Served, serving
from tests.grpc.besieged import target_of

pytestmark = pytest.mark.uncovered

LIMIT = 256 * 1024
LIMITS = Limits(message_bytes=LIMIT, unread_bytes=2 * LIMIT, unread_bytes_in_all=4 * LIMIT)


@contextmanager
def uncollected() -> Iterator[None]:
    """Collects the garbage of other tests, and switches the collector off for the test."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@pytest.fixture
def living(monkeypatch: pytest.MonkeyPatch) -> "weakref.WeakSet[object]":
    """Calls and refusals that are in memory."""
    return _watch(monkeypatch, (Call, "connection"), (HTTPRequest, "http_requests"))


@pytest.fixture
def living_connections(monkeypatch: pytest.MonkeyPatch) -> "weakref.WeakSet[object]":
    """Connections and their transports that are in memory."""
    return _watch(monkeypatch, (Connection, "server"), (TLSTransport, "server"))


def _watch(monkeypatch: pytest.MonkeyPatch, *kinds: tuple[type, str]) -> "weakref.WeakSet[object]":
    """Finds objects of classes, imported by modules, by subclasses that can be referred to weakly."""
    found: weakref.WeakSet[object] = weakref.WeakSet()
    for kind, module in kinds:

        class Watched(kind):  # type: ignore[misc, valid-type]
            def __init__(self, *args: Any, **keywords: Any) -> None:
                super().__init__(*args, **keywords)
                found.add(self)

        monkeypatch.setattr(f"sentry_trio.grpc.{module}.{kind.__name__}", Watched)
    return found


def _compressed(payload: bytes) -> bytes:
    data = gzip.compress(payload)
    return b"\1" + len(data).to_bytes(4, "big") + data


def _invalid(payload: bytes) -> bytes:
    return b"\0" + len(payload).to_bytes(4, "big") + payload


ZERO_BYTES = b"\0" * LIMIT
BODIES = {
    "unpacks beyond the limit": _compressed(ZERO_BYTES + b"\0"),
    "cut short in gzip": b"\1" + (100).to_bytes(4, "big") + _compressed(ZERO_BYTES)[5:105],
    "no gzip": b"\1" + (100).to_bytes(4, "big") + bytes(100),
    "no protobuf": _invalid(b"\xff" * 1000),
    "too long": b"\0" + (LIMIT + 1).to_bytes(4, "big"),
    "half a message": text("hello")[:-1],
    "no message": b"",
    "two messages": text("hello") * 2,
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
async def test_a_request_that_cannot_be_read_is_freed(body: bytes, living: "weakref.WeakSet[object]") -> None:
    async with serving(LIMITS) as server, peering(server.port) as peer:
        with uncollected():
            peer.compose(1, request_head(grpc_encoding="gzip"), body)
            await peer.flush()
            await peer.wait_for(StreamEnded, 1)
            server.toys.seen.clear()
            await wait_all_tasks_blocked()
            assert list(living) == []


@pytest.mark.parametrize(
    ("method", "extra"),
    [
        ("Echo", {"method": "GET"}),
        ("Echo", {"content_type": "text/html"}),
        ("Refuse", {}),
        ("Crash", {}),
        ("SayNothing", {}),
        ("FailLate", {"grpc_timeout": "1m"}),
        ("Hang", {"grpc_timeout": "1m"}),
        ("HangUp", {}),
    ],
)
async def test_a_call_that_fails_is_freed(
    method: str, extra: dict[str, str], living: "weakref.WeakSet[object]"
) -> None:
    async with serving(LIMITS) as server, peering(server.port) as peer:
        with uncollected():
            await peer.call(1, method, **extra)
            while not (peer.having(StreamEnded, 1) or peer.answered(1).reset is not None):
                await peer.receive()
            server.witness.failed.clear()
            await wait_all_tasks_blocked()
            assert list(living) == []


async def test_a_call_that_is_reset_is_freed(living: "weakref.WeakSet[object]") -> None:
    async with serving(LIMITS) as server, peering(server.port) as peer:
        with uncollected():
            await peer.call(1, "Hang")
            await server.toys.hanging.wait()
            await peer.send_frames(RstStreamFrame(1, error_code=8))
            await server.toys.cancelled.wait()
            await wait_all_tasks_blocked()
            assert list(living) == []


async def test_calls_of_a_connection_that_breaks_the_protocol_are_freed(
    living: "weakref.WeakSet[object]", monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once, while the connection still waits for the peer to read the reason."""
    async with serving(LIMITS) as server, peering(server.port) as peer:
        with uncollected():
            peer.compose(1, request_head(), text("x" * 1000)[:-1], end=False)
            await peer.send_frames(b"\0\0\0\5\4\0\0\0\1")  # PUSH_PROMISE, which no client may send
            await wait_all_tasks_blocked()
            assert server.witness.open == 1
            assert list(living) == []


async def _all_closed(server: Served) -> None:
    await trio.sleep(LIMITS.close_timeout + 1)  # virtual seconds, which pass when all tasks wait
    assert server.witness.open == 0
    server.toys.seen.clear()
    server.witness.failed.clear()
    await wait_all_tasks_blocked()


def _own_garbage() -> list[str]:
    """Collects garbage; returns the classes of this program's objects in it."""
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        gc.collect()
        return [type(each).__name__ for each in gc.garbage if type(each).__module__.startswith("sentry_trio.")]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()


@pytest.mark.parametrize("kind", KINDS)
async def test_an_attacked_connection_is_freed(
    kind: str, living_connections: "weakref.WeakSet[object]", autojump_clock: MockClock
) -> None:
    async with serving(LIMITS) as server:
        with uncollected():
            async with attacking(KINDS[kind], target_of(server, message_bytes=LIMIT), number=2):
                pass
            await _all_closed(server)
            assert list(living_connections) == []
            assert _own_garbage() == []


@pytest.mark.parametrize("preface", [True, False], ids=["idle", "before it has sent anything"])
async def test_an_evicted_connection_is_freed(
    preface: bool, living_connections: "weakref.WeakSet[object]", autojump_clock: MockClock
) -> None:
    async with serving(Limits(connections=1)) as server:
        with uncollected():
            async with peering(server.port, preface=preface) as evicted:
                if not preface:
                    await evicted.stream.receive_some()  # the server's SETTINGS: its handshake is done, too
                async with peering(server.port):
                    await wait_all_tasks_blocked()
                    assert server.witness.open == 1
                    assert len(living_connections) == 2  # the newcomer, and its transport
            await _all_closed(server)
            assert list(living_connections) == []
            assert _own_garbage() == []


async def test_a_drained_connection_is_freed(
    living_connections: "weakref.WeakSet[object]", autojump_clock: MockClock
) -> None:
    async with serving() as server:
        with uncollected():
            async with peering(server.port) as peer:
                await peer.call(1)
                await peer.answer(1)
                server.scope.cancel()
                await peer.closed()
            await server.stopped.wait()
            server.toys.seen.clear()
            await wait_all_tasks_blocked()
            assert list(living_connections) == []
            assert _own_garbage() == []


async def test_a_connection_that_closes_while_its_call_waits_for_a_turn_is_freed(
    living_connections: "weakref.WeakSet[object]", autojump_clock: MockClock
) -> None:
    async with serving(Limits(calls=1)) as server, peering(server.port) as busy:
        await busy.call(1, "Hang")
        await server.toys.hanging.wait()
        with uncollected():
            async with peering(server.port) as peer:
                await peer.call(1)
                await wait_all_tasks_blocked()
            await wait_all_tasks_blocked()
            assert server.witness.open == 1
            assert len(living_connections) == 2  # the one with the running call, and its transport

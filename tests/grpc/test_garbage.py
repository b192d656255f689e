"""A call's data is freed as soon as the call has ended, without the garbage collector, which runs late."""

import gc
import gzip
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from h2.events import StreamEnded
from hyperframe.frame import RstStreamFrame
from trio.testing import wait_all_tasks_blocked

from sentry_trio.grpc import Limits
from sentry_trio.grpc.call import Call
from sentry_trio.grpc.http_requests import HTTPRequest
from testkit.grpc.raw import peering, request_head, text
from testkit.grpc.toys import serving

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
    """Calls and refusals that are in memory, by a base that can be referred to weakly."""
    found: weakref.WeakSet[object] = weakref.WeakSet()
    for kind, module in ((Call, "connection"), (HTTPRequest, "http_requests")):

        class Watched(kind):  # type: ignore[misc, valid-type]
            def __init__(self, *args: Any) -> None:
                super().__init__(*args)
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

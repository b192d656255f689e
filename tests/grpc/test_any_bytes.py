"""Whatever a peer sends, the same server still answers the others."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest
import trio
from hyperframe.frame import DataFrame, HeadersFrame
from hypothesis import given, settings
from hypothesis import strategies as st

from testkit.grpc.raw import Peer, peering, request_head, text
from testkit.grpc.toys import Served

pytestmark = pytest.mark.uncovered

T = TypeVar("T")


async def _hold(
    served: Served,
    strategy: st.SearchStrategy[T],
    send: Callable[[Peer, T], Awaitable[object]],
    *,
    examples: int = 60,
    preface: bool = True,
) -> None:
    """Sends each example on a connection of its own; then another one must be answered."""

    async def example(value: T) -> None:
        async with peering(served.port, preface=preface) as peer:
            try:
                await send(peer, value)
            except trio.BrokenResourceError:
                assert preface, "a server listens at least to the first write"
            async with peering(served.port) as other:
                await other.call(1)
                assert (await other.answer(1)).value == "hello"
        assert served.witness.broken == []

    @settings(max_examples=examples, deadline=None)
    @given(strategy)
    def each(value: T) -> None:
        trio.from_thread.run(example, value)

    await trio.to_thread.run_sync(each)


def _frames() -> st.SearchStrategy[bytes]:
    """Frames whose heads claim anything likely to be believed."""
    return st.builds(
        lambda kind, flags, stream, body: len(body).to_bytes(3, "big") + bytes([kind, flags]) + stream + body,
        st.integers(0, 11),
        st.sampled_from([0, 1, 4, 5, 8, 0x20, 0x25, 0x2D, 0xFF]),
        st.sampled_from([0, 1, 2, 3, 5]).map(lambda number: number.to_bytes(4, "big")),
        st.binary(max_size=40)
        | st.sampled_from([b"\0\0\0\1", b"\0\0\0\0\0", b"12345678", b"\x82\x87\x84", b"\x83\x87\x84"]),
    )


async def test_any_frames(served: Served) -> None:
    async def send(peer: Peer, value: tuple[bool, list[bytes]]) -> None:
        with_head, frames = value
        if with_head:
            peer.h2.send_headers(1, request_head("Join"))
        await peer.stream.send_all(peer.h2.data_to_send() + b"".join(frames))

    await _hold(served, st.tuples(st.booleans(), st.lists(_frames(), max_size=8)), send, examples=150)


async def test_any_data(served: Served) -> None:
    async def send(peer: Peer, value: tuple[str, bytes, bool, bool]) -> None:
        method, body, compressed, end = value
        head = request_head(method, grpc_encoding="gzip" if compressed else "identity")
        peer.compose(1, head, body, end=end)
        await peer.flush()
        if end and method != "Stall":
            assert (await peer.answer(1)).status in {0, 8, 12, 13}

    methods = st.sampled_from(["Echo", "Join", "Size", "Stall"])
    bodies = st.binary(max_size=50) | st.binary(max_size=20).map(lambda rest: text("whole") + rest)
    await _hold(served, st.tuples(methods, bodies, st.booleans(), st.booleans()), send)


async def test_any_header_values(served: Served) -> None:
    names = [
        "method",
        "path",
        "authority",
        "content_type",
        "te",
        "grpc_timeout",
        "grpc_encoding",
        "x_bin",
        "user_agent",
    ]
    names += ["content_length", "connection", "cookie", "Upper"]

    async def send(peer: Peer, headers: dict[str, Any]) -> None:
        block = peer.h2.encoder.encode(request_head("Reflect", **headers))
        await peer.send_frames(
            HeadersFrame(1, block, flags=["END_HEADERS"]), DataFrame(1, text(""), flags=["END_STREAM"])
        )
        await peer.stream.receive_some()  # to h2, the stream that is answered was never opened

    values = st.binary(max_size=30) | st.text(max_size=10).map(str.encode) | st.sampled_from([b"1S", b"CONNECT", b"5"])
    await _hold(served, st.dictionaries(st.sampled_from(names), values, max_size=4), send)


async def test_any_bytes_in_place_of_http2(served: Served) -> None:
    async def send(peer: Peer, data: bytes) -> None:
        await peer.stream.send_all(data)

    magic = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    data = st.binary(min_size=1, max_size=100)
    await _hold(served, data | data.map(magic.__add__), send, preface=False)


async def test_any_bytes_in_place_of_tls(served: Served) -> None:
    async def example(data: bytes) -> None:
        async with await trio.open_tcp_stream("127.0.0.1", served.port) as stream:
            await stream.send_all(data)
            async with peering(served.port) as other:
                await other.call(1)
                assert (await other.answer(1)).value == "hello"
        assert served.witness.broken == []

    @settings(max_examples=40, deadline=None)
    @given(st.binary(max_size=100) | st.binary(max_size=60).map((b"\x16\x03\x01\0\x40\1\0\0\x3c\3\3").__add__))
    def each(data: bytes) -> None:
        trio.from_thread.run(example, data)

    await trio.to_thread.run_sync(each)

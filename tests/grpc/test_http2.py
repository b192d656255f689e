"""HTTP/2 without a network: what a client's state machine makes of ours, and ours of any frames."""

import tracemalloc
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, ResponseReceived, StreamEnded, TrailersReceived
from h2.exceptions import ProtocolError
from hpack import Encoder
from hypothesis import given, settings
from hypothesis import strategies as st

from sentry_trio.grpc import frames
from sentry_trio.grpc.cpu_budget import CPUBudget, head_price
from sentry_trio.grpc.frames import ErrorCode, frame
from sentry_trio.grpc.headers import Header
from sentry_trio.grpc.http2 import BrokenOffError, ServerConnection
from sentry_trio.grpc.sender import ClosedStreams
from sentry_trio.grpc.turn_scheduler import SLICE

HEAD = ((b":status", b"200"), (b"content-type", b"application/grpc"))
TRAILERS = ((b"grpc-status", b"0"),)
REQUEST = [
    (":method", "POST"),
    (":scheme", "https"),
    (":path", "/a/b"),
    (":authority", "localhost"),
    ("te", "trailers"),
]


class Payer(CPUBudget):
    """Has no limit; counts."""

    def __init__(self) -> None:
        self._used = 0.0
        self.asked = 0
        self.paid = 0.0

    def charge(self, price: float = 1) -> None:
        self.used += price
        self.asked += 1
        self.paid += price

    @property
    def used(self) -> float:
        """Begins another turn when the slice has been used."""
        used = self._used
        if used >= SLICE:
            self._used = 0.0
        return used

    @used.setter
    def used(self, work: float) -> None:
        self._used = work


@dataclass
class Told:
    """Records events."""

    requests: dict[int, list[Header]] = field(default_factory=dict)
    data: dict[int, bytes] = field(default_factory=dict)
    ended: list[int] = field(default_factory=list)
    lost: list[int] = field(default_factory=list)
    pongs: list[bytes] = field(default_factory=list)
    opened: int = 0
    slices_needed: int = 0  # beyond the first, for the next data
    payer: Payer = field(default_factory=Payer, compare=False)

    def request_received(self, stream_id: int, headers: list[Header], *, ended: bool) -> None:
        self.requests[stream_id] = headers
        self.data_received(stream_id, b"", ended=ended)

    def data_received(self, stream_id: int, data: bytes, *, ended: bool) -> bool:
        assert stream_id not in self.ended
        assert stream_id not in self.lost
        self.data[stream_id] = self.data.get(stream_id, b"") + data
        if self.slices_needed and self.data[stream_id]:
            self.slices_needed -= 1
            return False
        if ended:
            self.ended.append(stream_id)
        return True

    def stream_lost(self, stream_id: int) -> None:
        assert stream_id in self.requests
        assert stream_id not in self.lost
        self.lost.append(stream_id)

    def window_opened(self) -> None:
        self.opened += 1

    def ping_answered(self, payload: bytes) -> None:
        self.pongs.append(payload)


class Pair:
    """A client by h2 and our server, without a network between them."""

    def __init__(self, *, streams: int = 100, header_bytes: int = 16_384) -> None:
        self.reported = Told()
        self.server = ServerConnection(self.reported, self.reported.payer, streams=streams, header_bytes=header_bytes)
        self.client = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self.client.initiate_connection()
        self.server.begin()
        self.exchange()

    def exchange(self) -> list[object]:
        events: list[object] = []
        self.server.receive(self.client.data_to_send())
        while data := self.server.data_to_send():
            events += self.client.receive_data(data)
            self.server.receive(self.client.data_to_send())
        return events


def test_a_call_there_and_back() -> None:
    pair = Pair()
    pair.client.send_headers(1, REQUEST)
    pair.client.send_data(1, b"hello", end_stream=True)
    pair.exchange()
    assert pair.reported.requests[1] == [(name.encode(), value.encode()) for name, value in REQUEST]
    assert (pair.reported.data[1], pair.reported.ended) == (b"hello", [1])
    pair.server.send_headers(1, HEAD)
    pair.server.send_data(1, b"there")
    pair.server.send_headers(1, TRAILERS, end_stream=True)
    events = pair.exchange()
    kinds = [type(event) for event in events]
    assert kinds == [ResponseReceived, DataReceived, TrailersReceived, StreamEnded]
    assert not pair.server.can_send(1)


def test_a_thousand_calls_leave_nothing_behind() -> None:
    pair = Pair()
    for stream_id in range(1, 4001, 2):
        pair.client.send_headers(stream_id, REQUEST, end_stream=True)
        pair.server.receive(pair.client.data_to_send())
        pair.server.send_headers(stream_id, HEAD)
        pair.server.send_headers(stream_id, TRAILERS, end_stream=True)
        pair.client.receive_data(pair.server.data_to_send())
    assert len(pair.server._streams) == 0


@pytest.mark.parametrize("by_us", [False, True])
def test_closed_streams_take_little_memory(by_us: bool) -> None:
    tracemalloc.start()
    try:
        closed = ClosedStreams()
        for stream_id in range(1, 8001, 2):
            closed.add(stream_id, by_us=by_us)
        assert tracemalloc.get_traced_memory()[0] < 4096
    finally:
        tracemalloc.stop()
    remembered = [
        stream_id
        for stream_id in range(1, 8001, 2)
        if (closed.was_reset(stream_id), closed.was_closed(stream_id)) == (by_us, not by_us)
    ]
    assert remembered[-100:] == list(range(7801, 8001, 2)), "all that a peer may have open at once"


def test_long_header_lists_come_in_several_frames_both_ways() -> None:
    pair = Pair(header_bytes=60_000)
    long = [*REQUEST, *((f"x-{number}", "y" * 7000) for number in range(5))]
    pair.client.send_headers(1, long, end_stream=True)
    pair.exchange()
    assert len(pair.reported.requests[1]) == len(long)
    trailers = (*TRAILERS, (b"details", b"z" * 40_000))
    pair.server.send_headers(1, HEAD)
    pair.server.send_headers(1, trailers, end_stream=True)
    events = pair.exchange()
    (received,) = [event for event in events if isinstance(event, TrailersReceived)]
    assert dict(received.headers or ())[cast("Any", "details")] == cast("Any", "z" * 40_000)


def test_a_client_without_a_dynamic_table_gets_a_table_size_of_zero() -> None:
    """RFC 7541, 4.2: h2 insists on it."""
    pair = Pair()
    pair.client.update_settings({frames.HEADER_TABLE_SIZE: 0})
    pair.client.send_headers(1, REQUEST, end_stream=True)
    pair.exchange()
    assert pair.client.decoder.max_allowed_table_size == 0
    pair.server.send_headers(1, HEAD)
    assert any(isinstance(event, ResponseReceived) for event in pair.exchange())


def test_windows_are_given_back_before_they_are_used_up() -> None:
    pair = Pair()
    pair.client.send_headers(1, REQUEST)
    for _ in range(100):
        pair.client.send_data(1, b"x" * 10_000)
        pair.exchange()
    pair.client.end_stream(1)
    pair.exchange()
    assert len(pair.reported.data[1]) == 1_000_000


@pytest.mark.parametrize("size", [0, 5, 2**31 - 1])
def test_the_window_is_the_size_that_the_peer_announces(size: int) -> None:
    pair = Pair()
    pair.client.update_settings({frames.INITIAL_WINDOW_SIZE: size})
    pair.client.send_headers(1, REQUEST, end_stream=True)
    pair.exchange()
    pair.server.send_headers(1, HEAD)
    assert pair.server.window(1) == min(size, frames.WINDOW_BYTES, frames.FRAME_BYTES)


def test_only_the_last_window_size_of_a_frame_counts() -> None:
    """Each would take time for every open stream, and a frame has room for 2,700."""
    pair = Pair()
    pair.client.send_headers(1, REQUEST)
    pair.client.increment_flow_control_window(1, 1)
    pair.exchange()
    sizes = [2**31 - 1, 10]  # the first would be too large for the stream, which has one byte more
    pair.server.receive(frames.settings_frame([(frames.INITIAL_WINDOW_SIZE, size) for size in sizes]), overhead=0)
    pair.server.send_headers(1, HEAD)
    assert pair.server.window(1) == 11


def test_the_peer_may_take_larger_frames() -> None:
    pair = Pair()
    pair.client.update_settings({frames.MAX_FRAME_SIZE: 40_000})
    pair.client.send_headers(1, REQUEST, end_stream=True)
    pair.exchange()
    assert pair.server.window(1) == 40_000


# --- rules of one stream

PRIORITY_FIELDS = b"\0\0\0\0\x10"
LONG_BLOCK = b"\x8f" * 300  # an entry of the static table, with an empty value
RESET = frame(frames.RST_STREAM, 0, 1, bytes(4))


def _head(
    encoder: Encoder, headers: list[tuple[str, str]], stream_id: int = 1, flags: int = frames.END_HEADERS
) -> bytes:
    return frame(frames.HEADERS, flags, stream_id, encoder.encode(headers))


def _server(**limits: int) -> tuple[ServerConnection, Told]:
    reported = Told()
    server = ServerConnection(reported, reported.payer, **{"streams": 10, "header_bytes": 4096, **limits})
    server.receive(frames.PREFACE + frame(frames.SETTINGS, 0, 0))
    server.data_to_send()
    return server, reported


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        ([*REQUEST, ("Upper", "case")], "upper case"),
        ([*REQUEST, ("connection", "close")], "of a connection"),
        ([*REQUEST[:4], ("te", "gzip")], "te"),
        ([*REQUEST, (":late", "1")], "late pseudo-header"),
        ([*REQUEST[:4], (":status", "200")], "unknown pseudo-header"),
        ([*REQUEST[:4], (":path", "/again")], "repeated pseudo-header"),
        (REQUEST[1:], "no method"),
        ([(":method", "POST"), (":scheme", "https"), (":path", ""), (":authority", "a")], "empty path"),
        ([*REQUEST[:3]], "no authority"),
        ([*REQUEST, ("host", "elsewhere")], "another host"),
        ([*REQUEST, ("x", "a\r\nb")], "a line break"),
        ([*REQUEST, ("x", " a")], "blank at the front"),
        ([*REQUEST, ("x", "a\t")], "blank at the end"),
        ([*REQUEST, ("content-length", "-1")], "a length that is none"),
        ([*REQUEST, ("content-length", "9" * 20)], "a length that no body has"),
        ([*REQUEST, ("content-length", "9" * 5000)], "a length of too many digits"),
        ([*REQUEST, ("content-length", "1"), ("content-length", "2")], "two lengths"),
        ([(":method", "CONNECT"), (":scheme", "https"), (":path", "/"), (":authority", "a")], "connect with a path"),
    ],
    ids=lambda value: value.replace(" ", "-") if isinstance(value, str) else None,
)
def test_malformed_requests_are_reset_before_the_handler(headers: list[tuple[str, str]], why: str) -> None:
    server, reported = _server(header_bytes=16_384)
    encoder = Encoder()
    server.receive(_head(encoder, headers))
    assert server.data_to_send() == frames.reset_frame(1, ErrorCode.PROTOCOL_ERROR)
    assert (reported.requests, reported.payer.asked) == ({}, 2)
    server.receive(_head(encoder, REQUEST, 3))
    assert list(reported.requests) == [3]


@pytest.mark.parametrize(
    "headers",
    [
        [*REQUEST, ("host", "localhost")],
        [*REQUEST[:3], ("host", "localhost")],
        [*REQUEST, ("content-length", "0")],
        [(":method", "CONNECT"), (":authority", "a")],
        [*REQUEST, ("x", ""), ("y", "a b"), ("x!#$%&'*+-.^_`|~9", "ü")],
    ],
)
def test_unusual_requests_are_accepted(headers: list[tuple[str, str]]) -> None:
    server, reported = _server()
    server.receive(_head(Encoder(), headers))
    assert list(reported.requests) == [1]


@pytest.mark.parametrize(
    ("then", "code"),
    [
        (frame(frames.DATA, 0, 1, b"four"), ErrorCode.PROTOCOL_ERROR),
        (frame(frames.DATA, frames.END_STREAM, 1, b"tw"), ErrorCode.PROTOCOL_ERROR),
        (frame(frames.WINDOW_UPDATE, 0, 1, bytes(4)), ErrorCode.PROTOCOL_ERROR),
        (_head(Encoder(), [("x", "y")]), ErrorCode.PROTOCOL_ERROR),
        (_head(Encoder(), [(":path", "y")], flags=5), ErrorCode.PROTOCOL_ERROR),
        (_head(Encoder(), [("x", "y")], flags=5), ErrorCode.PROTOCOL_ERROR),
        (frame(frames.WINDOW_UPDATE, 0, 1, b"\x7f\xff\xff\xff"), ErrorCode.FLOW_CONTROL_ERROR),
        (frame(frames.DATA, frames.END_STREAM, 1, b"two") + frame(frames.DATA, 0, 1, b"x"), ErrorCode.STREAM_CLOSED),
    ],
    ids=[
        "more data",
        "less data",
        "no window",
        "trailers without end",
        "pseudo-trailers",
        "trailers before the end",
        "too large a window",
        "data after the end",
    ],
)
def test_errors_of_a_stream(then: bytes, code: ErrorCode) -> None:
    server, reported = _server()
    server.receive(_head(Encoder(), [*REQUEST, ("content-length", "3")]) + then)
    assert server.data_to_send() == frames.reset_frame(1, code)
    assert reported.lost == [1]
    assert reported.payer.asked >= 2, "each reset that a peer causes counts, beside its SETTINGS (CVE-2025-8671)"


def test_a_body_that_does_not_come() -> None:
    server, reported = _server()
    server.receive(_head(Encoder(), [*REQUEST, ("content-length", "3")], flags=5))
    assert server.data_to_send() == frames.reset_frame(1, ErrorCode.PROTOCOL_ERROR)
    assert reported.requests == {}


def test_more_data_than_the_window_holds() -> None:
    server, _ = _server()
    server.receive(_head(Encoder(), REQUEST))
    # A window is given back when half of it is used, so that only who sends without looking gets here.
    server._received = frames.WINDOW_BYTES
    with pytest.raises(BrokenOffError, match="FLOW_CONTROL_ERROR"):
        server.receive(frame(frames.DATA, 0, 1, b"x" * 10))
    assert server.broken


def test_more_data_than_the_window_of_a_stream_holds() -> None:
    server, reported = _server()
    server.receive(_head(Encoder(), REQUEST))
    server._streams[1].received = frames.WINDOW_BYTES
    server.receive(frame(frames.DATA, 0, 1, b"x" * 10))
    assert server.data_to_send() == frames.reset_frame(1, ErrorCode.FLOW_CONTROL_ERROR)
    assert reported.lost == [1]


# --- rules of the connection


@pytest.mark.parametrize(
    ("what", "code"),
    [
        (frame(frames.PING, 0, 0, b"1234567"), "FRAME_SIZE_ERROR"),
        (frame(frames.PING, 0, 1, b"12345678"), "PROTOCOL_ERROR"),
        (frame(frames.SETTINGS, 0, 1), "PROTOCOL_ERROR"),
        (frame(frames.SETTINGS, 0, 0, b"12345"), "FRAME_SIZE_ERROR"),
        (frame(frames.SETTINGS, frames.ACK, 0, b"123456"), "FRAME_SIZE_ERROR"),
        (frames.settings_frame([(frames.ENABLE_PUSH, 2)]), "PROTOCOL_ERROR"),
        (frames.settings_frame([(frames.INITIAL_WINDOW_SIZE, 2**31)]), "FLOW_CONTROL_ERROR"),
        (frames.settings_frame([(frames.MAX_FRAME_SIZE, 2**14 - 1)]), "PROTOCOL_ERROR"),
        (frames.settings_frame([(frames.MAX_FRAME_SIZE, 2**24)]), "PROTOCOL_ERROR"),
        (frame(frames.GOAWAY, 0, 0, bytes(7)), "FRAME_SIZE_ERROR"),
        (frame(frames.GOAWAY, 0, 1, bytes(8)), "PROTOCOL_ERROR"),
        (frame(frames.RST_STREAM, 0, 1, bytes(4)), "PROTOCOL_ERROR"),
        (frame(frames.RST_STREAM, 0, 0, bytes(4)), "PROTOCOL_ERROR"),
        (frame(frames.RST_STREAM, 0, 1, bytes(3)), "FRAME_SIZE_ERROR"),
        (frame(frames.WINDOW_UPDATE, 0, 0, bytes(4)), "PROTOCOL_ERROR"),
        (frame(frames.WINDOW_UPDATE, 0, 1, b"\0\0\0\1"), "PROTOCOL_ERROR"),
        (frame(frames.WINDOW_UPDATE, 0, 0, bytes(3)), "FRAME_SIZE_ERROR"),
        (frame(frames.PRIORITY, 0, 3, bytes(4)), "FRAME_SIZE_ERROR"),
        (frame(frames.PUSH_PROMISE, 4, 1, bytes(4)), "PROTOCOL_ERROR"),
        (frame(frames.DATA, frames.PADDED, 1), "PROTOCOL_ERROR"),
        (frame(frames.DATA, frames.PADDED, 1, b"\5abcd"), "PROTOCOL_ERROR"),
        (frame(frames.HEADERS, frames.WITH_PRIORITY | 4, 1, bytes(4)), "FRAME_SIZE_ERROR"),
        (frame(frames.HEADERS, frames.WITH_PRIORITY | 4, 1, b"\0\0\0\1\0"), "PROTOCOL_ERROR"),
        (frame(frames.HEADERS, 0, 1) + frame(frames.CONTINUATION, 4, 3), "PROTOCOL_ERROR"),
        (frame(frames.HEADERS, 0, 1) + frame(99, 0, 1), "PROTOCOL_ERROR"),
        (frame(frames.HEADERS, 4, 1, b"\x80"), "COMPRESSION_ERROR"),
        # Integers that do not end, or are larger than anything they could count (RFC 7541, 5.1).
        (frame(frames.HEADERS, 4, 1, b"\xff" * 4000), "COMPRESSION_ERROR"),
        (frame(frames.HEADERS, 4, 1, b"\xff" * 1000 + b"\0"), "COMPRESSION_ERROR"),
        (frame(frames.HEADERS, 4, 1, b"\0\x7f" + b"\xff" * 1000 + b"\0"), "COMPRESSION_ERROR"),
        (frame(frames.HEADERS, 4, 1, b"\0\x05abc"), "COMPRESSION_ERROR"),
        (frame(frames.HEADERS, 4, 1, b"\0\xff" + b"\xff" * 8 + b"\0"), "COMPRESSION_ERROR"),
        (frame(frames.HEADERS, 4, 1, b"\x3f\xe2\x1f"), "COMPRESSION_ERROR"),  # a table of 4097 bytes
        (frame(frames.HEADERS, 4, 1, b"\0\x84\xff\xff\xff\xff\0"), "COMPRESSION_ERROR"),  # Huffman's end of string
        (frame(frames.HEADERS, 0, 1, b"x" * 4000) + frame(frames.CONTINUATION, 0, 1, b"x" * 97), "ENHANCE_YOUR_CALM"),
        (b"\0\x40\1" + bytes(6), "FRAME_SIZE_ERROR"),
    ],
)
def test_errors_of_the_connection(what: bytes, code: str) -> None:
    server, _ = _server()
    with pytest.raises(BrokenOffError, match=code):
        server.receive(what)
    assert server.data_to_send().endswith(frames.go_away_frame(0, ErrorCode[code]))
    assert not server.can_send(1)


@pytest.mark.parametrize("first", [frame(frames.PING, 0, 0, bytes(8)), frame(frames.SETTINGS, frames.ACK, 0)])
def test_settings_come_first(first: bytes) -> None:
    server = ServerConnection(Told(), Payer(), streams=1, header_bytes=1000)
    with pytest.raises(BrokenOffError, match="PROTOCOL_ERROR"):
        server.receive(frames.PREFACE + first)


@pytest.mark.parametrize("closed_by", ["both", "reset", "refused", "nobody"])
def test_a_head_on_a_stream_that_is_closed(closed_by: str) -> None:
    server, reported = _server(streams=1)
    encoder = Encoder()
    server.receive(_head(encoder, REQUEST, 5, 5 if closed_by == "both" else 4))
    if closed_by == "both":
        server.send_headers(5, HEAD, end_stream=True)
    elif closed_by == "reset":
        server.receive(frame(frames.RST_STREAM, 0, 5, bytes(4)))
    elif closed_by == "refused":
        server.reset(5, ErrorCode.CANCEL)
        server.receive(_head(encoder, [("late", "trailers")], 5, 5))
        assert reported.lost == []
        return
    with pytest.raises(BrokenOffError, match="PROTOCOL_ERROR" if closed_by == "nobody" else "STREAM_CLOSED"):
        server.receive(_head(encoder, REQUEST, 3 if closed_by == "nobody" else 5))


@pytest.mark.parametrize(("by_us", "answered"), [(True, False), (False, True)])
def test_data_on_a_stream_that_is_closed(by_us: bool, answered: bool) -> None:
    server, reported = _server()
    server.receive(_head(Encoder(), REQUEST))
    if by_us:
        server.reset(1, ErrorCode.CANCEL)
    else:
        server.receive(frame(frames.RST_STREAM, 0, 1, bytes(4)))
    server.data_to_send()
    server.receive(frame(frames.DATA, 0, 1, b"late"))
    assert server.data_to_send() == (frames.reset_frame(1, ErrorCode.STREAM_CLOSED) if answered else b"")
    assert reported.data == {1: b""}


def _frames() -> st.SearchStrategy[bytes]:
    return st.builds(
        frame,
        st.integers(0, 11),
        st.sampled_from([0, 1, 4, 5, 8, 0x20, 0x25, 0x2D, 0xFF]),
        st.sampled_from([0, 1, 2, 3, 5]),
        st.binary(max_size=40)
        | st.sampled_from([b"\0\0\0\1", PRIORITY_FIELDS, b"12345678", Encoder().encode(REQUEST), b"\x83\x87\x84"]),
    )


@pytest.mark.uncovered
@settings(max_examples=400, deadline=None)
@given(sent=st.lists(_frames(), max_size=12), cut=st.integers(1, 50))
def test_any_frames_cut_anywhere(sent: list[bytes], cut: int) -> None:
    """The events are the same for any division of the bytes, and a client's state machine accepts the answers."""
    data = frames.PREFACE + frame(frames.SETTINGS, 0, 0) + b"".join(sent)
    outcomes = []
    for size in (len(data), cut):
        reported = Told()
        server = ServerConnection(reported, reported.payer, streams=2, header_bytes=1000)
        server.begin()
        broken = ""
        try:
            for at in range(0, len(data), size):
                server.receive(data[at : at + size])
        except BrokenOffError as error:
            broken = str(error)
        outcomes.append((reported, broken, server.data_to_send()))
    assert outcomes[0] == outcomes[1]
    client = H2Connection(H2Configuration(client_side=True))
    client.initiate_connection()
    for _ in range(3):
        client.send_headers(client.get_next_available_stream_id(), REQUEST)
    try:
        client.receive_data(outcomes[0][2])
    except ProtocolError as error:
        pytest.fail(f"a client refuses our answer: {error!r}")


def test_work_is_cut_into_slices() -> None:
    """One read does not hold the event loop for as long as its frames take."""
    pair = Pair()
    ping = frame(frames.PING, 0, 0, b"12345678")
    before = pair.reported.payer.asked
    assert pair.server.receive(ping * SLICE)
    first = pair.reported.payer.asked - before
    assert 0 < first < SLICE
    assert pair.server.resume()
    assert not pair.server.resume()
    assert pair.reported.payer.asked - before == SLICE
    assert not pair.server.receive(ping)


def test_data_that_needs_more_slices_is_finished_before_later_frames() -> None:
    pair = Pair()
    told = pair.reported
    pair.client.send_headers(1, REQUEST)
    pair.client.send_data(1, b"message", end_stream=True)
    pair.client.ping(b"12345678")
    told.slices_needed = 2
    before = told.payer.asked
    assert pair.server.receive(pair.client.data_to_send())
    assert pair.server.resume()
    assert (told.data, told.ended, told.payer.asked) == ({1: b"message"}, [], before)
    assert not pair.server.resume()
    assert (told.data, told.ended, told.payer.asked) == ({1: b"message"}, [1], before + 1)


def test_an_expensive_head_ends_a_slice() -> None:
    pair = Pair()
    block = pair.client.encoder.encode(REQUEST) + b"\x8f" * 300
    heads = [frame(frames.HEADERS, frames.END_HEADERS, stream_id, block) for stream_id in range(1, 31, 2)]
    turns = 1
    more = pair.server.receive(b"".join(heads))
    while more:
        more = pair.server.resume()
        turns += 1
    assert turns == 8, "68 of price and 9 of its call for each of 15 heads"
    assert len(pair.reported.requests) == 15


def test_expensive_trailers_end_a_slice() -> None:
    pair = Pair()
    block = pair.client.encoder.encode(REQUEST)
    calls = b"".join(
        frame(frames.HEADERS, frames.END_HEADERS, stream_id, block)
        + frame(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, stream_id, LONG_BLOCK)
        for stream_id in range(1, 31, 2)
    )
    turns, paid = 1, pair.reported.payer.paid
    more = pair.server.receive(calls)
    while more:
        more = pair.server.resume()
        turns += 1
    assert turns == 8, "80 for each of 15 calls: 67 of the trailers, 13 of the rest"
    assert len(pair.reported.ended) == 15
    assert pair.reported.payer.paid == paid, "calls are not charged"


@pytest.mark.parametrize(
    ("then", "long_blocks", "others"),
    [
        (frame(frames.WINDOW_UPDATE, 0, 1, bytes(4)), 0, 2),
        (frame(frames.HEADERS, frames.END_HEADERS, 1, LONG_BLOCK), 1, 1),
        (frame(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, 1, LONG_BLOCK) + RESET, 1, 1),
        (frame(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, 1, LONG_BLOCK) * 2, 2, 1),
    ],
    ids=["an error", "trailers that are not the end", "a reset after trailers", "trailers after the end"],
)
def test_headers_that_serve_no_call_are_charged(then: bytes, long_blocks: int, others: int) -> None:
    server, reported = _server(header_bytes=16_384)
    paid = reported.payer.paid
    block = Encoder().encode(REQUEST) + b"\x8f" * (300 - len(REQUEST))
    more = server.receive(frame(frames.HEADERS, frames.END_HEADERS, 1, block) + then)
    while more:
        more = server.resume()
    price = head_price(len(block), 300) + long_blocks * head_price(len(LONG_BLOCK), 300)
    assert reported.payer.paid - paid == others + price


def test_headers_that_cannot_be_read_are_charged() -> None:
    server, reported = _server(header_bytes=16_384)
    paid = reported.payer.paid
    block = Encoder().encode([("x", "a" * 5000)], huffman=False) + b"\xfe"  # which refers to no entry
    with pytest.raises(BrokenOffError, match="COMPRESSION_ERROR"):
        server.receive(frame(frames.HEADERS, frames.END_HEADERS, 1, block))
    assert reported.payer.paid - paid == head_price(len(block), 0) > 0


@pytest.mark.parametrize("update", [b"\x20", b"\x3f\xe1\x1f"], ids=["one byte", "three bytes"])
def test_two_updates_of_the_table_size_begin_a_block_at_most(update: bytes) -> None:
    """RFC 7541, 4.2: thousands of them would be read for one byte each."""
    server, reported = _server()
    block = Encoder().encode(REQUEST)
    server.receive(frame(frames.HEADERS, 5, 1, update * 2 + block))
    assert list(reported.requests) == [1]
    with pytest.raises(BrokenOffError, match="COMPRESSION_ERROR"):
        server.receive(frame(frames.HEADERS, 5, 3, update * 3 + block))

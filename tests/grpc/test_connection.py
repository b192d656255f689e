"""One connection, as a peer sees it that speaks HTTP/2 frame by frame."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import trio
from grpclib.const import Status
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    PingAckReceived,
    RemoteSettingsChanged,
    ResponseReceived,
    StreamReset,
    WindowUpdated,
)
from h2.settings import SettingCodes
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    PushPromiseFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)
from trio.testing import MockClock, wait_all_tasks_blocked

from sentry_trio.grpc import Limits
from testkit.grpc.raw import Peer, key_update, peering, request_head, text
from testkit.grpc.toys import Served, serving

Misdeed = Callable[[Peer], list[Frame | bytes]]
# hyperframe would not make it.
DATA_ON_STREAM_0 = b"\0\0\1" + b"\0" * 6 + b"x"


def _head_frame(peer: Peer, stream_id: int, *, end: bool = False, method: str = "Echo") -> HeadersFrame:
    """A HEADERS frame beside the client's own state machine."""
    frame = HeadersFrame(stream_id, peer.h2.encoder.encode(request_head(method)))
    frame.flags.add("END_HEADERS")
    if end:
        frame.flags.add("END_STREAM")
    return frame


async def _still_answers(peer: Peer, stream_id: int) -> None:
    await peer.call(stream_id)
    assert (await peer.answer(stream_id)).value == "hello"


# --- the usual


async def test_the_settings_announce_the_limits() -> None:
    async with serving(Limits(streams=7, header_bytes=5000)) as server, peering(server.port) as peer:
        changed = (await peer.wait_for(RemoteSettingsChanged)).changed_settings
    assert changed[SettingCodes.MAX_CONCURRENT_STREAMS].new_value == 7
    assert changed[SettingCodes.MAX_HEADER_LIST_SIZE].new_value == 5000


@pytest.mark.parametrize("method", ["Echo", "Refuse"])
async def test_a_unary_answer_is_one_write(served: Served, method: str) -> None:
    async with peering(served.port) as peer:
        await _still_answers(peer, 1)
        before = peer.recorder.records()
        await peer.call(3, method)
        await peer.answer(3)
        await wait_all_tasks_blocked()
        assert peer.recorder.records() == before + 1


async def test_records_that_arrive_together_are_answered_in_one_write(served: Served) -> None:
    async with peering(served.port) as peer:
        before = peer.recorder.records()
        inner: Any = peer.stream
        for number in range(3):
            inner._ssl_object.write(PingFrame(0, bytes([number] * 8)).serialize())
        await peer.recorder.send_all(inner._outgoing.read())
        await peer.wait_for(PingAckReceived, number=3)
        assert peer.recorder.records() == before + 1


async def test_a_preface_may_come_byte_by_byte(served: Served) -> None:
    async with peering(served.port, preface=False) as peer:
        peer.h2.initiate_connection()
        peer.compose(1, request_head(), text("slowly"))
        for byte in peer.h2.data_to_send():
            await peer.stream.send_all(bytes([byte]))
        assert (await peer.answer(1)).value == "slowly"


async def test_a_hundred_calls_at_once(served: Served) -> None:
    async with peering(served.port) as peer:
        for stream_id in range(1, 200, 2):
            peer.compose(stream_id, request_head(), text(str(stream_id)))
        await peer.flush()
        for stream_id in range(1, 200, 2):
            assert (await peer.answer(stream_id)).value == str(stream_id)


async def test_a_ping_is_answered(served: Served) -> None:
    async with peering(served.port) as peer:
        peer.h2.ping(b"12345678")
        await peer.flush()
        assert (await peer.wait_for(PingAckReceived)).ping_data == b"12345678"


async def test_trailers_of_a_caller_are_no_matter(served: Served) -> None:
    async with peering(served.port) as peer:
        peer.compose(1, request_head(), text("with trailers"), end=False)
        peer.h2.send_headers(1, [("x", "y")], end_stream=True)
        await peer.flush()
        assert (await peer.answer(1)).value == "with trailers"


async def test_frames_that_are_not_known_are_passed_over(served: Served) -> None:
    async with peering(served.port) as peer:
        await peer.stream.send_all(b"\0\0\2\x60\0\0\0\0\0??")
        await _still_answers(peer, 1)


# --- streams that end early


@pytest.mark.parametrize("method", ["Echo", "Hang", "Refuse", "Count", "Misuse"])
async def test_a_reset_in_the_same_read_as_the_head(served: Served, method: str) -> None:
    """Of three calls in one read, two come and go."""
    async with peering(served.port) as peer:
        for stream_id in (1, 3):
            peer.compose(stream_id, request_head(method), text("1"))
            await peer.send_frames(RstStreamFrame(stream_id))
        await _still_answers(peer, 5)
        await wait_all_tasks_blocked()
        assert peer.having(ResponseReceived, 1) == []
    assert served.toys.seen[0].path == "/toys.Toys/Echo"
    assert len(served.toys.seen) == 1, "no handler hears of a call that is gone"


async def test_a_reset_cancels_the_handler(served: Served) -> None:
    async with peering(served.port) as peer:
        await peer.call(1, "Hang")
        await served.toys.hanging.wait()
        peer.h2.reset_stream(1, ErrorCodes.CANCEL)
        await peer.flush()
        await served.toys.cancelled.wait()
        await _still_answers(peer, 3)
    assert served.witness.finished[0] == ("Hang", Status.CANCELLED)


async def test_a_lost_connection_cancels_its_handlers(served: Served) -> None:
    async with peering(served.port) as peer:
        await peer.call(1, "Hang")
        await served.toys.hanging.wait()
    await served.toys.cancelled.wait()
    await wait_all_tasks_blocked()
    assert served.witness.finished == [("Hang", Status.CANCELLED)]
    assert served.witness.open == 0


@pytest.mark.parametrize(("method", "body", "status"), [("NoSuch", b"", 12), ("Echo", b"\0\xff\xff\xff\xff", 8)])
async def test_an_early_answer_resets_the_stream_with_no_error(
    served: Served, method: str, body: bytes, status: int
) -> None:
    """RFC 9113, 8.1: a whole answer before the whole request, then RST_STREAM with NO_ERROR."""
    async with peering(served.port) as peer:
        peer.compose(1, request_head(method), body, end=False)
        await peer.flush()
        await peer.wait_for(StreamReset, 1)
        answer = peer.answered(1)
        assert (answer.status, answer.reset) == (status, ErrorCodes.NO_ERROR)


async def test_data_on_a_refused_stream_is_dropped_and_its_window_given_back(served: Served) -> None:
    async with peering(served.port) as peer:
        peer.compose(1, request_head("NoSuch"), end=False)
        await peer.flush()
        for _ in range(5):
            await peer.send_frames(*[DataFrame(1, b"x" * 10_000)] * 5)
            await peer.wait_for(StreamReset, 1)
            await peer.receive()
        peer.compose(3, request_head("Size"), b"")
        await peer.flush()
        await _still_answers(peer, 5)
        assert sum(event.delta or 0 for event in peer.having(WindowUpdated, 0)) > 200_000


async def test_data_for_a_call_that_is_done_is_dropped(served: Served) -> None:
    async with peering(served.port) as peer:
        peer.compose(1, request_head("Hang", grpc_timeout="1m"), end=False)
        await peer.flush()
        await peer.wait_for(StreamReset, 1)
        await peer.send_frames(DataFrame(1, text("too late"), flags=["END_STREAM"]))
        await _still_answers(peer, 3)


# --- windows


async def test_an_answer_waits_for_the_window(served: Served) -> None:
    async with peering(served.port) as peer:
        peer.opens_window = False
        peer.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 0})
        await peer.call(1, "Inflate", "20000")
        await peer.wait_for(ResponseReceived, 1)
        await _answers_meanwhile(served)
        assert peer.having(DataReceived) == []
        peer.h2.increment_flow_control_window(100, 1)
        await peer.flush()
        await peer.wait_for(DataReceived, 1)
        assert len(peer.answered(1).data) == 100
        peer.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 1_000_000})
        await peer.flush()
        answer = await peer.answer(1)
        assert (answer.value, answer.status) == ("x" * 20_000, 0)


async def _answers_meanwhile(served: Served) -> None:
    async with peering(served.port) as other:
        await _still_answers(other, 1)


async def test_a_window_may_become_negative(served: Served) -> None:
    """RFC 9113, 6.9.2: a smaller initial window takes back what has been granted."""
    async with peering(served.port) as peer:
        peer.opens_window = False
        await peer.call(1, "Inflate", "100000")
        while len(peer.answered(1).data) < 65_535:
            await peer.receive()
        peer.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 0})
        await peer.flush()
        await _answers_meanwhile(served)
        peer.h2.increment_flow_control_window(200_000, 1)
        peer.h2.increment_flow_control_window(200_000)
        await peer.flush()
        assert (await peer.answer(1)).value == "x" * 100_000


async def test_large_answers_share_the_connection(served: Served) -> None:
    async with peering(served.port) as peer:
        for stream_id in (1, 3, 5):
            peer.compose(stream_id, request_head("Inflate"), text("300000"))
        await peer.flush()
        for stream_id in (1, 3, 5):
            assert len((await peer.answer(stream_id)).value) == 300_000


async def test_a_reset_frees_an_answer_that_waits_for_the_window(served: Served) -> None:
    async with peering(served.port) as peer:
        peer.opens_window = False
        await peer.call(1, "Inflate", "100000")
        await peer.wait_for(DataReceived, 1)
        peer.h2.reset_stream(1)
        await peer.flush()
        while not served.witness.finished:
            await wait_all_tasks_blocked()
        assert served.witness.finished == [("Inflate", Status.CANCELLED)]


async def test_a_peer_that_stops_reading_holds_only_its_own_connection(autojump_clock: MockClock) -> None:
    async with serving() as server, peering(server.port) as peer:
        peer.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 2**31 - 1})
        peer.h2.increment_flow_control_window(2**30)
        await peer.call(1, "Inflate", "12000000", grpc_timeout="5S")
        peer.compose(3, request_head("Pour", grpc_timeout="5S"), text(""))
        await peer.flush()
        await wait_all_tasks_blocked()
        await _answers_meanwhile(server)
        # Deadlines pass while the answers are on their way; a cancelled send loses and doubles nothing.
        await trio.sleep(10)
        assert len((await peer.answer(1)).value) == 12_000_000
        assert (await peer.answer(3)).status == 4
        await _still_answers(peer, 5)


# --- what is too much


async def test_many_unread_bytes_end_the_call_that_exceeds_the_limit() -> None:
    limits = Limits(message_bytes=10_000, unread_bytes=25_000)
    async with serving(limits) as server, peering(server.port) as peer:
        for stream_id in (1, 3, 5):
            peer.compose(stream_id, request_head("Stall"), text("x" * 9000), end=False)
            await peer.flush()
            await server.toys.hanging.wait()
        await peer.wait_for(StreamReset, 5)
        answer = peer.answered(5)
        assert (answer.status, answer.message) == (8, "grpc: more than 25000 bytes unread on one connection")
        # What was held for it is dropped: there is room for others again, and those before it were not touched.
        peer.compose(7, request_head(), text("y" * 6000))
        await peer.flush()
        assert (await peer.answer(7)).value == "y" * 6000
        server.toys.release.set()
        for stream_id in (1, 3):
            assert (await peer.answer(stream_id)).value == "x" * 9000


async def test_small_messages_without_end_are_bounded_too() -> None:
    async with serving(Limits(message_bytes=1000, unread_bytes=2000)) as server, peering(server.port) as peer:
        peer.compose(1, request_head("Stall"), text("x" * 100) * 100, end=False)
        await peer.flush()
        await peer.wait_for(StreamReset, 1)
        assert peer.answered(1).status == 8


async def test_a_header_list_over_the_limit_closes_the_connection() -> None:
    async with serving(Limits(header_bytes=2000)) as server:
        async with peering(server.port) as peer:
            await peer.call(1, "Echo", x="y" * 1000)
            assert await peer.status(1) == (0, "")
            peer.h2.send_headers(3, request_head(x="y" * 2000))
            await peer.flush()
            assert (await peer.wait_for(ConnectionTerminated)).error_code is ErrorCodes.ENHANCE_YOUR_CALM
        await _answers_meanwhile(server)


def _forget_the_limit(peer: Peer) -> None:
    """The client's own state machine lets it open streams over what the server has announced."""
    peer.h2.remote_settings.max_concurrent_streams = 1000
    peer.h2.remote_settings.acknowledge()


async def test_streams_over_the_limit_are_refused_and_the_others_go_on() -> None:
    """RFC 9113, 5.1.2; and their headers were read, or those that follow would be read wrong (RFC 7541, 2.2)."""
    async with serving(Limits(streams=3)) as server, peering(server.port) as peer:
        _forget_the_limit(peer)
        for stream_id in (1, 3, 5, 7, 9):
            peer.compose(stream_id, request_head("Stall", x=f"new {stream_id}"), text(str(stream_id)))
        await peer.flush()
        for stream_id in (7, 9):
            assert (await peer.wait_for(StreamReset, stream_id)).error_code is ErrorCodes.REFUSED_STREAM
        peer.compose(11, request_head("Stall"), text("11"))
        await peer.flush()
        assert (await peer.wait_for(StreamReset, 11)).error_code is ErrorCodes.REFUSED_STREAM
        server.toys.release.set()
        for stream_id in (1, 3, 5):
            assert (await peer.answer(stream_id)).value == str(stream_id)
        await peer.call(13, x="new 9")
        assert (await peer.answer(13)).value == "hello"
        assert len(server.toys.seen) == 4, "no handler hears of a stream that is refused"


async def test_streams_over_the_limit_are_refused_until_others_end(autojump_clock: MockClock) -> None:
    async with serving(Limits(streams=1, control_frames=10)) as server, peering(server.port) as peer:
        _forget_the_limit(peer)
        await peer.call(1, "Stall")
        for stream_id in range(3, 21, 2):  # nine of ten: the peer's settings were one
            await peer.call(stream_id)
            assert (await peer.wait_for(StreamReset, stream_id)).error_code is ErrorCodes.REFUSED_STREAM
        await peer.call(21)
        assert (await peer.wait_for(ConnectionTerminated)).error_code is ErrorCodes.ENHANCE_YOUR_CALM


def _resets(peer: Peer) -> list[Frame | bytes]:
    frames: list[Frame | bytes] = []
    for stream_id in range(1, 401, 2):
        frames += [_head_frame(peer, stream_id), RstStreamFrame(stream_id)]
    return frames


_MANY = [("accept-charset", "")] * 300


def _opened(peer: Peer, number: int, more: Sequence[tuple[str, str]] = ()) -> bytes:
    """Requests to a method that does not exist."""
    _forget_the_limit(peer)
    for stream_id in range(1, 2 * number, 2):
        peer.h2.send_headers(stream_id, [*request_head("Nope"), *more])
    return peer.h2.data_to_send()


@pytest.mark.parametrize(
    "flood",
    [
        _resets,
        lambda _: [PingFrame(0, b"12345678")] * 200,
        lambda _: [PingFrame(0, b"12345678", flags=["ACK"])] * 200,
        lambda _: [SettingsFrame(0, {SettingCodes.HEADER_TABLE_SIZE: size}) for size in range(200)],
        lambda _: [PriorityFrame(1, depends_on=3)] * 200,
        lambda peer: [_opened(peer, 150)],
        lambda peer: [_opened(peer, 1), *[DataFrame(1, b"x")] * 200],
        lambda peer: [_opened(peer, 1), *[_head_frame(peer, 1)] * 200],
        lambda peer: [_opened(peer, 10, _MANY)],
        lambda _: [b"\x00\x17\x70\x04\0\0\0\0\0" + b"\0\4\0\0\0\1" * 1000],
        lambda peer: [_head_frame(peer, 1, method="Join"), *[DataFrame(1)] * 200],
        lambda peer: [_head_frame(peer, 1, method="Join"), *[DataFrame(1, pad_length=9, flags=["PADDED"])] * 200],
    ],
    ids=[
        "resets",
        "pings",
        "pongs",
        "settings",
        "priorities",
        "unknown methods",
        "data on a reset stream",
        "heads on a reset stream",
        "heads of many entries",
        "many settings in a frame",
        "empty data",
        "padding",
    ],
)
async def test_floods_close_the_connection(autojump_clock: MockClock, flood: Misdeed) -> None:
    async with serving(Limits(control_frames=100)) as server:
        async with peering(server.port) as peer:
            await peer.send_frames(*flood(peer))
            assert (await peer.wait_for(ConnectionTerminated)).error_code is ErrorCodes.ENHANCE_YOUR_CALM
        await _answers_meanwhile(server)


async def test_reconnecting_gains_no_budget(autojump_clock: MockClock) -> None:
    """Each connection has its first tokens only, once those of its network are spent; which calls do not need."""
    ping = PingFrame(opaque_data=b"12345678").serialize()
    async with serving(Limits(control_frames=200)) as server:

        async def answered(source: str) -> int:
            async with peering(server.port, source=source) as peer:
                for _ in range(4):
                    await peer.send_frames(ping * 50)
                    await trio.sleep(0.1)
                await peer.wait_for(ConnectionTerminated)
                return sum(isinstance(event, PingAckReceived) for event in peer.events)

        numbers = [await answered("127.0.0.2") for _ in range(20)]
        assert min(numbers[:10]) > 150
        assert max(numbers[15:]) < 60
        for source in ("127.0.0.2", "127.0.0.3"):
            async with peering(server.port, source=source) as peer:
                for stream_id in range(1, 201, 2):
                    peer.h2.ping(b"12345678")
                    await _still_answers(peer, stream_id)
        assert await answered("127.0.0.3") > 150


async def test_key_updates_without_data_close_the_connection(autojump_clock: MockClock) -> None:
    async with serving(Limits(control_frames=100)) as server, peering(server.port) as peer:
        await peer.call(1)
        assert (await peer.answer(1)).value == "hello"
        updates = b"".join(key_update(peer.stream) for _ in range(600))
        await peer.recorder.inner.send_all(updates)
        assert (await peer.wait_for(ConnectionTerminated)).error_code is ErrorCodes.ENHANCE_YOUR_CALM


async def test_calls_that_are_answered_pay_for_pings(autojump_clock: MockClock) -> None:
    async with serving(Limits(control_frames=10)) as server, peering(server.port) as peer:
        for stream_id in range(1, 101, 2):
            peer.h2.ping(b"12345678")
            await _still_answers(peer, stream_id)
        for _ in range(20):
            await trio.sleep(10)
            peer.h2.ping(b"12345678")
            await peer.flush()
        await _still_answers(peer, 101)


async def test_a_peer_cannot_have_a_huge_header_table_kept_for_it(served: Served) -> None:
    async with peering(served.port) as peer:
        peer.h2.decoder.max_allowed_table_size = 2**32 - 1
        peer.h2.local_settings[SettingCodes.HEADER_TABLE_SIZE] = 2**32 - 1
        peer.h2.local_settings.acknowledge()
        await peer.send_frames(SettingsFrame(0, {SettingCodes.HEADER_TABLE_SIZE: 2**32 - 1}))
        await _still_answers(peer, 1)
        assert peer.h2.decoder.header_table_size == 4096


# --- protocol errors


def _unending(peer: Peer) -> list[Frame | bytes]:
    return [HeadersFrame(1), *[ContinuationFrame(1, b"") for _ in range(64)]]


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        (lambda _: [DataFrame(1, b"x")], ErrorCodes.PROTOCOL_ERROR),
        (lambda _: [DATA_ON_STREAM_0], ErrorCodes.PROTOCOL_ERROR),
        (lambda _: [HeadersFrame(1, b"\xff\xff\xff\xff", flags=["END_HEADERS"])], ErrorCodes.COMPRESSION_ERROR),
        (lambda _: [ContinuationFrame(1, b"", flags=["END_HEADERS"])], ErrorCodes.PROTOCOL_ERROR),
        (lambda _: [HeadersFrame(1), PingFrame(0, b"12345678")], ErrorCodes.PROTOCOL_ERROR),
        (lambda peer: [_head_frame(peer, 2)], ErrorCodes.PROTOCOL_ERROR),
        (lambda peer: [_head_frame(peer, 3), _head_frame(peer, 1)], ErrorCodes.PROTOCOL_ERROR),
        (lambda _: [WindowUpdateFrame(0, 2**31 - 1)], ErrorCodes.FLOW_CONTROL_ERROR),
        (lambda _: [SettingsFrame(0, {SettingCodes.ENABLE_PUSH: 2})], ErrorCodes.PROTOCOL_ERROR),
        (lambda _: [SettingsFrame(0, {SettingCodes.INITIAL_WINDOW_SIZE: 2**31})], ErrorCodes.FLOW_CONTROL_ERROR),
        (lambda _: [PriorityFrame(1, depends_on=1)], ErrorCodes.PROTOCOL_ERROR),
        (lambda _: [PushPromiseFrame(1, 2, b"", flags=["END_HEADERS"])], ErrorCodes.PROTOCOL_ERROR),
        (lambda peer: [_head_frame(peer, 1), DataFrame(1, b"x" * 16_385)], ErrorCodes.FRAME_SIZE_ERROR),
        (_unending, ErrorCodes.ENHANCE_YOUR_CALM),
    ],
)
async def test_protocol_errors_are_answered_with_goaway(served: Served, frames: Misdeed, code: ErrorCodes) -> None:
    async with peering(served.port) as peer:
        await peer.send_frames(*frames(peer))
        assert (await peer.wait_for(ConnectionTerminated)).error_code is code
        await peer.closed()
    await _answers_meanwhile(served)


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (DataFrame(1, b"after the end"), ErrorCodes.STREAM_CLOSED),
        (WindowUpdateFrame(1, 2**31 - 1), ErrorCodes.FLOW_CONTROL_ERROR),
    ],
)
async def test_stream_errors_end_the_call_only(served: Served, frame: Frame, code: ErrorCodes) -> None:
    async with peering(served.port) as peer:
        await peer.call(1, "Hang")
        await served.toys.hanging.wait()
        await peer.send_frames(frame)
        assert (await peer.wait_for(StreamReset, 1)).error_code is code
        await served.toys.cancelled.wait()
        await _still_answers(peer, 3)


async def test_an_overlong_frame_is_not_waited_for(served: Served) -> None:
    async with peering(served.port) as peer:
        await peer.stream.send_all(b"\xff\xff\xff\0\0\0\0\0\1" + b"x" * 40_000)
        assert (await peer.wait_for(ConnectionTerminated)).error_code is ErrorCodes.FRAME_SIZE_ERROR


async def test_a_preface_that_is_none_is_cut(served: Served) -> None:
    async with peering(served.port, preface=False) as peer:
        await peer.stream.send_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
        await peer.receive()
        assert peer.having(RemoteSettingsChanged)
        await peer.closed()


async def test_a_protocol_error_cancels_the_calls_under_way(served: Served) -> None:
    async with peering(served.port) as peer:
        await peer.call(1, "Hang")
        await served.toys.hanging.wait()
        await peer.send_frames(DATA_ON_STREAM_0)
        await served.toys.cancelled.wait()


async def test_a_peer_that_violates_the_protocol_and_stays_is_cut(autojump_clock: MockClock) -> None:
    async with serving(Limits(close_timeout=3)) as server, peering(server.port) as peer:
        begin = trio.current_time()
        await peer.send_frames(DATA_ON_STREAM_0)
        await peer.wait_for(ConnectionTerminated)
        with pytest.raises(trio.BrokenResourceError):  # noqa: PT012  # sends until it is cut
            while True:
                await peer.stream.send_all(b"more and more")
                await trio.sleep(0.5)
        assert 3 <= trio.current_time() - begin < 5


# --- the peer leaves


@pytest.mark.parametrize("last", [0, 2**31 - 1])
async def test_a_peer_that_leaves_still_gets_its_answers(served: Served, last: int) -> None:
    """RFC 9113, 6.8: GOAWAY concerns streams that its receiver would open; here none."""
    async with peering(served.port) as peer:
        peer.compose(1, request_head("Hang"), text("unfinished")[:-3], end=False)
        peer.compose(3, request_head("NoSuch"), text(""))
        # All in one read: more of a call and its end follow the GOAWAY.
        await peer.send_frames(
            PingFrame(0, b"12345678"),
            GoAwayFrame(0, last_stream_id=last),
            DataFrame(1, text("unfinished")[-3:], flags=["END_STREAM"]),
            PingFrame(0, b"87654321"),
        )
        await peer.wait_for(PingAckReceived, number=2)
        await served.toys.hanging.wait()
        served.toys.release.set()
        assert (await peer.answer(1)).value == "unfinished"
        assert await peer.status(3) == (12, "unknown method NoSuch for service toys.Toys")

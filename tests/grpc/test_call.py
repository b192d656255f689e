"""Guarantees for a handler, and their effects for its caller."""

import inspect
from typing import Any

import grpc
import pytest
import trio
from google.protobuf.wrappers_pb2 import StringValue
from grpclib.const import Status
from grpclib.exceptions import ProtocolError
from grpclib.server import Stream
from h2.events import DataReceived, ResponseReceived, StreamReset
from h2.settings import SettingCodes
from trio.testing import MockClock

from sentry_trio.grpc import Call
from sentry_trio.grpc.connection import Connection
from testkit.grpc.raw import peering, request_head, text
from testkit.grpc.toys import Served, serving, unary


async def test_a_call_is_answered(served: Served) -> None:
    assert await served.call("Echo", "grüß dich") == "grüß dich"
    [call] = served.toys.seen
    assert call.path == "/toys.Toys/Echo"
    assert "127.0.0.1" in str(call.peer)
    assert call.user_agent
    assert call.user_agent.startswith("grpc-python/")
    assert call.deadline is not None
    assert 0 < call.deadline.time_remaining() <= 60
    assert call.held == 0
    assert served.witness.finished == [("Echo", Status.OK)]


async def test_a_call_without_a_deadline_or_a_user_agent(served: Served) -> None:
    async with peering(served.port) as peer:
        await peer.call(1)
        assert (await peer.answer(1)).value == "hello"
    [call] = served.toys.seen
    assert call.deadline is None
    assert call.user_agent is None


async def test_an_answer_is_head_message_trailers(served: Served) -> None:
    async with peering(served.port) as peer:
        await peer.call(1)
        answer = await peer.answer(1)
    assert answer.heads == [{":status": "200", "content-type": "application/grpc"}, {"grpc-status": "0"}]
    assert answer.data == text("hello")
    assert answer.reset is None


async def test_a_rejection_is_trailers_only(served: Served) -> None:
    async with peering(served.port) as peer:
        await peer.call(1, "Refuse")
        answer = await peer.answer(1)
    assert answer.heads == [
        {
            ":status": "200",
            "content-type": "application/grpc",
            "grpc-status": "7",
            "grpc-message": "not you: %C3%BC 100%25%0Asecond line",
        }
    ]
    assert answer.data == b""


async def test_a_bug_is_reported_to_the_observer_and_not_to_the_caller(served: Served) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        await served.call("Crash")
    assert caught.value.code() is grpc.StatusCode.UNKNOWN
    assert caught.value.details() == "Internal Server Error"
    [error] = served.witness.failed
    assert isinstance(error, KeyError)
    assert served.witness.finished == [("Crash", Status.UNKNOWN)]


@pytest.mark.parametrize(
    ("method", "wrong", "error"),
    [
        ("SayNothing", "", ProtocolError),
        ("Misuse", "nothing", ProtocolError),
        ("Misuse", "twice", ProtocolError),
        ("Misuse", "trailers", ProtocolError),
        ("Misuse", "type", TypeError),
        ("Misuse", "metadata", ValueError),
        ("MisuseOften", "headers", ProtocolError),
    ],
)
async def test_a_misuse_ends_its_own_call_only(served: Served, method: str, wrong: str, error: type[Exception]) -> None:
    async with peering(served.port) as peer:
        await peer.call(1, method, wrong)
        assert await peer.status(1) == (2, "Internal Server Error")
        await peer.call(3)
        assert await peer.status(3) == (0, "")
    assert [type(failure) for failure in served.witness.failed] == [error]


async def test_metadata_goes_both_ways(served: Served) -> None:
    def in_thread() -> tuple[Any, Any]:
        with served.channel() as channel:
            call = unary(channel, "Reflect").with_call(
                StringValue(), timeout=10, metadata=[("a", "1"), ("a", "2"), ("b-bin", b"\0\xff"), ("e-bin", b"")]
            )[1]
            return call.initial_metadata(), call.trailing_metadata()

    expected = {("back-a", "1"), ("back-a", "2"), ("back-b-bin", b"\0\xff"), ("back-e-bin", b"")}
    for metadata in await trio.to_thread.run_sync(in_thread):
        assert {tuple(pair) for pair in metadata} >= expected


@pytest.mark.parametrize("parts", [["x"], ["a", "b", "c"], []])
async def test_a_method_that_takes_many_messages(served: Served, parts: list[str]) -> None:
    async with peering(served.port) as peer:
        peer.compose(1, request_head("Join"), b"".join(map(text, parts)))
        await peer.flush()
        assert (await peer.answer(1)).value == ",".join(parts)


async def test_a_method_that_sends_many_messages(served: Served) -> None:
    async with peering(served.port) as peer:
        await peer.call(1, "Count", "3")
        answer = await peer.answer(1)
    assert answer.data == b"".join(map(text, "012"))
    assert answer.heads[0]["first"] == "yes"
    assert answer.heads[1] == {"grpc-status": "0", "last": "yes"}


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b"", 12, "/toys.Toys/Echo expects one message but received none"),
        (text("cut")[:-1], 13, "grpc: the request ends within a message"),
        (b"\0", 13, "grpc: the request ends within a message"),
        (b"\0\0\0\0\1\xff", 13, "grpc: error unmarshalling request: Error parsing message"),
        (b"\1" + text("x")[1:], 13, "grpc: compressed flag set with identity or empty encoding"),
        (b"\2" + text("x")[1:], 13, "grpc: received unexpected payload format 2"),
        (b"\0\0\x40\0\1", 8, "grpc: received message larger than max (4194305 vs. 4194304)"),
    ],
)
async def test_invalid_messages(served: Served, body: bytes, status: int, message: str) -> None:
    async with peering(served.port) as peer:
        peer.compose(1, request_head(), body)
        await peer.flush()
        answer = await peer.answer(1)
    assert answer.status == status
    assert answer.message.startswith(message)


async def test_a_message_over_the_limit_is_answered_before_it_has_arrived(served: Served) -> None:
    async with peering(served.port) as peer:
        peer.compose(1, request_head(), b"\0\0\x40\0\1", end=False)
        await peer.flush()
        await peer.wait_for(StreamReset, 1)
        answer = await peer.answer(1)
    assert answer.status == 8
    assert answer.reset == 0  # RFC 9113, 8.1: NO_ERROR


async def test_a_second_message_is_not_read(served: Served) -> None:
    async with peering(served.port) as peer:
        peer.compose(1, request_head(), text("first") + b"\2 nonsense")
        await peer.flush()
        assert (await peer.answer(1)).value == "first"


async def test_a_deadline_cancels_the_handler(autojump_clock: MockClock, served: Served) -> None:
    async with peering(served.port) as peer:
        begin = trio.current_time()
        await peer.call(1, "Hang", grpc_timeout="3S")
        assert await peer.status(1) == (4, "deadline exceeded")
        assert trio.current_time() - begin == pytest.approx(3)
    assert served.toys.cancelled.is_set()
    assert served.witness.finished == [("Hang", Status.DEADLINE_EXCEEDED)]


async def test_a_deadline_outweighs_the_status_of_the_handler(autojump_clock: MockClock, served: Served) -> None:
    async with peering(served.port) as peer:
        await peer.call(1, "FineThenHang", grpc_timeout="1S")
        assert await peer.status(1) == (4, "deadline exceeded")


async def test_a_handler_that_fails_when_cancelled_affects_no_other_call(
    autojump_clock: MockClock, served: Served
) -> None:
    async with peering(served.port) as peer:
        await peer.call(1, "FailLate", grpc_timeout="1S")
        assert await peer.status(1) == (4, "deadline exceeded")
        await peer.call(3)
        assert await peer.status(3) == (0, "")
    [error] = served.witness.failed
    assert isinstance(error, ExceptionGroup)


async def test_a_deadline_holds_while_the_answer_waits_for_window(autojump_clock: MockClock, served: Served) -> None:
    async with peering(served.port) as peer:
        peer.opens_window = False
        peer.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 10})
        await peer.call(1, "Echo", "x" * 100, grpc_timeout="2S")
        answer = await peer.answer(1)
    assert (answer.status, answer.message) == (4, "deadline exceeded")
    assert len(answer.data) < 100


async def test_a_zero_timeout_has_run_out(served: Served) -> None:
    async with peering(served.port) as peer:
        await peer.call(1, "Hang", grpc_timeout="0S")
        assert await peer.status(1) == (4, "deadline exceeded")


async def test_a_handler_may_cancel_its_stream(served: Served) -> None:
    async with peering(served.port) as peer:
        await peer.call(1, "HangUp")
        assert (await peer.wait_for(StreamReset, 1)).error_code == 8  # CANCEL
        await peer.call(3)
        assert await peer.status(3) == (0, "")
        assert peer.having(ResponseReceived, 1) == []
    assert ("HangUp", Status.CANCELLED) in served.witness.finished


async def test_a_streaming_answer_stops_at_the_callers_reset(served: Served) -> None:
    async with peering(served.port) as peer:
        await peer.call(1, "Pour")
        await peer.wait_for(DataReceived, 1)
        peer.h2.reset_stream(1, 8)
        await peer.call(3)
        assert await peer.status(3) == (0, "")
    assert ("Pour", Status.CANCELLED) in served.witness.finished


@pytest.mark.parametrize("size", [5000, 2_000_000])
async def test_gzip_is_decompressed(served: Served, size: int) -> None:
    """The larger message in several turns of the event loop."""
    text = "".join(map(str, range(size)))[:size]

    def in_thread() -> str:
        with served.channel() as channel:
            return str(
                unary(channel, "Echo")(StringValue(value=text), timeout=10, compression=grpc.Compression.Gzip).value
            )

    assert await trio.to_thread.run_sync(in_thread) == text


async def test_a_connection_without_calls_holds_no_memory(served: Served) -> None:
    """However calls end, a connection ends up holding nothing."""
    async with serving() as server, peering(server.port) as peer:
        peer.compose(1, request_head("Stall"), text("x" * 1000), end=False)
        await peer.flush()
        await server.toys.hanging.wait()
        peer.h2.reset_stream(1)
        peer.compose(3, request_head("Echo"), text("cut")[:-1])
        peer.compose(5, request_head("Refuse"), text("unread"))
        peer.compose(7, request_head("Echo"), text("one") + text("two"))
        await peer.call(9)
        for stream_id in (3, 5, 7, 9):
            await peer.answer(stream_id)
        [connection] = {call.connection for call in server.toys.seen}
        assert isinstance(connection, Connection)
        assert connection.unread == 0
        assert connection._state.memory.total == 0


# --- what services written for grpclib rely on

STATUS_DETAILS = {"status_details"}  # a protobuf message of its own, which needs a codec that none here has


@pytest.mark.parametrize("name", [name for name in vars(Stream) if not name.startswith("_")])
def test_a_call_has_the_methods_of_grpclibs_stream(name: str) -> None:
    theirs, ours = (inspect.signature(getattr(kind, name)).parameters for kind in (Stream, Call))
    assert ours.keys() == theirs.keys() - STATUS_DETAILS
    assert [each.kind for each in ours.values()] == [theirs[each].kind for each in ours]


@pytest.mark.parametrize("name", ["deadline", "metadata", "peer", "user_agent"])
async def test_a_call_has_the_attributes_of_grpclibs_stream(served: Served, name: str) -> None:
    """Of grpclib's, nothing but the source of `__init__` names them."""
    assert f"self.{name}" in inspect.getsource(Stream.__init__)
    await served.call("Echo", "hello")
    assert hasattr(served.toys.seen[0], name)

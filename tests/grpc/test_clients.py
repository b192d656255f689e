"""Foreign clients: gRPC's C core, and grpclib on asyncio, each in a thread of its own."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import grpc
import grpclib.client
import pytest
import trio
from google.protobuf.wrappers_pb2 import BytesValue, StringValue
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from sentry_trio.grpc import Limits
from testkit.clients.grpclib_channel import with_channel
from testkit.grpc.raw import client_context
from testkit.grpc.toys import Served, serving, unary

pytestmark = pytest.mark.uncovered

T = TypeVar("T")


async def _core(served: Served, use: Callable[[grpc.Channel], T], **options: Any) -> T:
    """Runs `use` with a grpcio channel, in a thread."""

    def in_thread() -> T:
        with served.channel(**options) as channel:
            return use(channel)

    return await trio.to_thread.run_sync(in_thread)


async def _grpclib(served: Served, use: Callable[[grpclib.client.Channel], Awaitable[T]]) -> T:
    """Runs `use` with a grpclib channel, on asyncio in a thread."""
    context = client_context()
    context.check_hostname = False  # the identity is for a name, grpclib dials the address

    return await with_channel(served.port, context, use)


def _echo(channel: grpclib.client.Channel, method: str = "Echo") -> grpclib.client.UnaryUnaryMethod[Any, Any]:
    return grpclib.client.UnaryUnaryMethod(channel, f"/toys.Toys/{method}", StringValue, StringValue)


# --- gRPC's C core


async def test_core_unary(served: Served) -> None:
    assert await served.call("Echo", "hällo") == "hällo"


@pytest.mark.parametrize(
    ("method", "code", "details"),
    [
        ("Refuse", grpc.StatusCode.PERMISSION_DENIED, "not you: ü 100%\nsecond line"),
        ("Crash", grpc.StatusCode.UNKNOWN, "Internal Server Error"),
        ("SayNothing", grpc.StatusCode.UNKNOWN, "Internal Server Error"),
        ("NoSuch", grpc.StatusCode.UNIMPLEMENTED, "unknown method NoSuch for service toys.Toys"),
    ],
)
async def test_core_errors(served: Served, method: str, code: grpc.StatusCode, details: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        await served.call(method)
    assert (caught.value.code(), caught.value.details()) == (code, details)


async def test_core_deadline(served: Served) -> None:
    def use(channel: grpc.Channel) -> Any:
        with pytest.raises(grpc.RpcError) as caught:
            unary(channel, "Hang")(StringValue(), timeout=0.2)
        return caught.value.code()

    assert await _core(served, use) is grpc.StatusCode.DEADLINE_EXCEEDED
    await served.toys.cancelled.wait()


async def test_core_cancel(served: Served) -> None:
    hanging = threading.Event()

    def use(channel: grpc.Channel) -> bool:
        future = unary(channel, "Hang").future(StringValue(), timeout=60)
        assert hanging.wait(60)
        return bool(future.cancel())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(_core, served, use)
        await served.toys.hanging.wait()
        hanging.set()
        await served.toys.cancelled.wait()
    assert served.witness.finished == [("Hang", Status.CANCELLED)]


async def test_core_message_limit(served: Served) -> None:
    def use(channel: grpc.Channel) -> list[tuple[Any, str]]:
        method = channel.unary_unary(
            "/toys.Toys/Size",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=StringValue.FromString,
        )
        answers = []
        for size in (4 * 1024 * 1024, 4 * 1024 * 1024 - 5):
            try:
                answers.append((None, method(BytesValue(value=b"x" * size), timeout=60).value))
            except grpc.RpcError as error:
                answers.append((error.code(), str(error.details())))
        return answers

    assert await _core(served, use, **{"grpc.max_send_message_length": -1}) == [
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "grpc: received message larger than max (4194309 vs. 4194304)"),
        (None, str(4 * 1024 * 1024 - 5)),
    ]


async def test_core_compressed_bomb(served: Served) -> None:
    def use(channel: grpc.Channel) -> tuple[Any, Any]:
        with pytest.raises(grpc.RpcError) as caught:
            unary(channel, "Echo")(StringValue(value="x" * 5_000_000), timeout=60, compression=grpc.Compression.Gzip)
        return caught.value.code(), caught.value.details()

    assert await _core(served, use, **{"grpc.max_send_message_length": -1}) == (
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "grpc: received message after decompression larger than max 4194304",
    )


@pytest.mark.parametrize(
    ("algorithm", "code"), [(grpc.Compression.Gzip, None), (grpc.Compression.Deflate, grpc.StatusCode.UNIMPLEMENTED)]
)
async def test_core_compression(served: Served, algorithm: Any, code: Any) -> None:
    def use(channel: grpc.Channel) -> tuple[Any, Any]:
        try:
            return None, unary(channel, "Echo")(StringValue(value="x" * 999), timeout=60, compression=algorithm).value
        except grpc.RpcError as error:
            return error.code(), error.details()

    answer = await _core(served, use)
    assert answer[0] is code
    assert answer[1] in {"x" * 999, 'grpc: Decompressor is not installed for grpc-encoding "deflate"'}


async def test_core_large_answers(served: Served) -> None:
    def use(channel: grpc.Channel) -> list[int]:
        calls = [unary(channel, "Inflate").future(StringValue(value="2000000"), timeout=60) for _ in range(3)]
        return [len(call.result().value) for call in calls]

    assert await _core(served, use) == [2_000_000] * 3


async def test_core_streams(served: Served) -> None:
    def use(channel: grpc.Channel) -> tuple[list[str], str]:
        serialize, parse = StringValue.SerializeToString, StringValue.FromString
        count = channel.unary_stream("/toys.Toys/Count", serialize, parse)(StringValue(value="20"), timeout=60)
        join = channel.stream_unary("/toys.Toys/Join", serialize, parse)
        numbers = [message.value for message in count]
        return numbers, join(iter([StringValue(value=number) for number in numbers]), timeout=60).value

    numbers = [str(number) for number in range(20)]
    assert await _core(served, use) == (numbers, ",".join(numbers))


async def test_core_hundreds_of_calls_at_once(served: Served) -> None:
    """More than may be open on one connection: the client respects the limit."""

    def use(channel: grpc.Channel) -> list[str]:
        calls = [unary(channel, "Echo").future(StringValue(value=str(number)), timeout=60) for number in range(300)]
        return [call.result().value for call in calls]

    assert await _core(served, use) == [str(number) for number in range(300)]


async def test_core_many_connections(served: Served) -> None:
    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(served.call, "Echo", "x")
    assert len(served.witness.finished) == 20


# --- grpclib


async def test_grpclib_unary_errors_and_metadata(served: Served) -> None:
    async def use(channel: grpclib.client.Channel) -> tuple[str, Any, Any, GRPCError]:
        value = (await _echo(channel)(StringValue(value="hällo"), timeout=60)).value
        with pytest.raises(GRPCError) as caught:
            await _echo(channel, "Refuse")(StringValue(), timeout=60)
        async with _echo(channel, "Reflect").open(timeout=60, metadata=[("a", "1"), ("b-bin", b"\0\xff")]) as stream:
            await stream.send_message(StringValue(), end=True)
            await stream.recv_message()
            await stream.recv_trailing_metadata()
        return value, stream.initial_metadata, stream.trailing_metadata, caught.value

    value, initial, trailing, error = await _grpclib(served, use)
    assert value == "hällo"
    assert (error.status, error.message) == (Status.PERMISSION_DENIED, "not you: ü 100%\nsecond line")
    assert dict(initial) == dict(trailing) == {"back-a": "1", "back-b-bin": b"\0\xff"}


async def test_grpclib_deadline(served: Served) -> None:
    async def use(channel: grpclib.client.Channel) -> None:
        with pytest.raises((asyncio.TimeoutError, GRPCError)):
            await _echo(channel, "Hang")(StringValue(), timeout=0.2)

    await _grpclib(served, use)
    await served.toys.cancelled.wait()


async def test_grpclib_cancel(served: Served) -> None:
    async def use(channel: grpclib.client.Channel) -> None:
        async with _echo(channel, "Hang").open() as stream:
            await stream.send_message(StringValue(), end=True)
            await asyncio.to_thread(lambda: trio.from_thread.run(served.toys.hanging.wait, trio_token=token))
            await stream.cancel()

    token = trio.lowlevel.current_trio_token()
    await _grpclib(served, use)
    with trio.move_on_after(60):
        await served.toys.cancelled.wait()
    assert served.toys.cancelled.is_set()


async def test_grpclib_a_hundred_calls_at_once(served: Served) -> None:
    async def use(channel: grpclib.client.Channel) -> list[str]:
        calls = [_echo(channel)(StringValue(value=str(number)), timeout=60) for number in range(100)]
        return [message.value for message in await asyncio.gather(*calls)]

    assert await _grpclib(served, use) == [str(number) for number in range(100)]


async def test_grpclib_large_answers_and_streams(served: Served) -> None:
    async def use(channel: grpclib.client.Channel) -> tuple[int, list[str]]:
        large = await _echo(channel, "Inflate")(StringValue(value="1000000"), timeout=60)
        count = grpclib.client.UnaryStreamMethod(channel, "/toys.Toys/Count", StringValue, StringValue)
        return len(large.value), [message.value for message in await count(StringValue(value="5"), timeout=60)]

    assert await _grpclib(served, use) == (1_000_000, list("01234"))


# --- leaving under them


async def test_a_client_gets_its_answer_from_a_server_that_leaves() -> None:
    """grpclib's client would not: to h2, on which it is built, a connection is over at the first GOAWAY."""
    async with serving(Limits(close_timeout=0.2, drain_timeout=60)) as server:

        async def call() -> None:
            assert await server.call("Hang", "still") == "still"

        async with trio.open_nursery() as nursery:
            nursery.start_soon(call)
            await server.toys.hanging.wait()
            server.scope.cancel()
            await trio.sleep(0.1)
            server.toys.release.set()
        await server.stopped.wait()


async def test_a_client_gets_deadline_exceeded_when_its_call_takes_too_long() -> None:
    async with serving(Limits(close_timeout=0.2, drain_timeout=0.3)) as server, trio.open_nursery() as nursery:

        async def call() -> None:
            with pytest.raises(grpc.RpcError) as caught:
                await server.call("Hang")
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
            assert caught.value.details() == "the server is shutting down"

        nursery.start_soon(call)
        await server.toys.hanging.wait()
        server.scope.cancel()

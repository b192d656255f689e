"""A toy service under real TLS on port 0, and helpers to observe it from outside."""

import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import trio
import trustme
from google.protobuf.wrappers_pb2 import BytesValue, StringValue
from grpclib.const import Cardinality, Handler, Status
from grpclib.exceptions import GRPCError

from sentry_trio.grpc import Call, Limits, Observer, serve_grpc, server_context
from sentry_trio.grpc.observer import Eviction
from sentry_trio.listener import open_listener


class Toys:
    """One method for each thing a handler may do."""

    def __init__(self) -> None:
        self.hanging = trio.Event()
        self.cancelled = trio.Event()
        self.release = trio.Event()
        self.seen: list[Call] = []

    async def echo(self, call: Call) -> None:
        self.seen.append(call)
        message = await call.recv_message()
        await call.send_message(StringValue(value=message.value))

    async def size(self, call: Call) -> None:
        message = await call.recv_message()
        await call.send_message(StringValue(value=str(len(message.value))))

    async def inflate(self, call: Call) -> None:
        message = await call.recv_message()
        await call.send_message(StringValue(value="x" * int(message.value)))

    async def hang(self, call: Call) -> None:
        message = await call.recv_message()
        self.hanging.set()
        try:
            await self.release.wait()
        except trio.Cancelled:
            self.cancelled.set()
            raise
        await call.send_message(StringValue(value=message.value))

    async def refuse(self, call: Call) -> None:
        raise GRPCError(Status.PERMISSION_DENIED, "not you: ü 100%\nsecond line")

    async def crash(self, call: Call) -> None:
        raise KeyError("a bug of the handler's")

    async def stall(self, call: Call) -> None:
        """Takes nothing that it is sent until released."""
        self.hanging.set()
        await self.release.wait()
        await self.echo(call)

    async def fail_late(self, call: Call) -> None:
        """Stumbles over its own cleaning up when it is cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            self.hanging.set()
            try:
                await trio.sleep_forever()
            finally:
                raise KeyError("a bug in the handler's cleaning up")  # what a bug does

    async def fine_then_hang(self, call: Call) -> None:
        """Sets how it will end, and then does not end."""
        await call.send_trailing_metadata(metadata={"how": "well"})
        await trio.sleep_forever()

    async def reflect(self, call: Call) -> None:
        """Sends the metadata back, at both ends of the answer."""
        await call.recv_message()
        pairs = [(f"back-{name}", value) for name, value in call.metadata.items()]
        await call.send_initial_metadata(metadata=pairs)
        await call.send_message(StringValue(value=call.user_agent or ""))
        await call.send_trailing_metadata(metadata=pairs)

    async def misuse(self, call: Call) -> None:
        """Misbehaves as a handler in the way that the message names."""
        wrong = (await call.recv_message()).value
        if wrong == "type":
            await call.send_message(BytesValue(value=b""))
        if wrong == "twice":
            await call.send_message(StringValue())
            await call.send_message(StringValue())
        if wrong == "trailers":
            await call.send_trailing_metadata()
            await call.send_trailing_metadata()
        if wrong == "metadata":
            await call.send_initial_metadata(metadata={"split": "a\r\nb"})
        if wrong == "headers":
            await call.send_initial_metadata()
            await call.send_message(StringValue())
            await call.send_initial_metadata()

    async def hang_up(self, call: Call) -> None:
        await call.recv_message()
        await call.cancel()
        await call.send_message(StringValue(value="to nobody"))

    async def say_nothing(self, call: Call) -> None:
        await call.recv_message()

    async def count(self, call: Call) -> None:
        message = await call.recv_message()
        await call.send_initial_metadata(metadata={"first": "yes"})
        for number in range(int(message.value)):
            await call.send_message(StringValue(value=str(number)))
        await call.send_trailing_metadata(metadata={"last": "yes"})

    async def watch(self, call: Call) -> None:
        """Echoes the message, and then waits for as long as the caller stays."""
        message = await call.recv_message()
        await call.send_message(StringValue(value=message.value))
        await trio.sleep_forever()

    async def pour(self, call: Call) -> None:
        """Sends without end."""
        while True:
            await call.send_message(StringValue(value="x" * 10_000))

    async def join(self, call: Call) -> None:
        await call.send_message(StringValue(value=",".join([message.value async for message in call])))

    def __mapping__(self) -> dict[str, Handler]:
        one, many_out, many_in = Cardinality.UNARY_UNARY, Cardinality.UNARY_STREAM, Cardinality.STREAM_UNARY
        return {
            "/toys.Toys/Echo": Handler(self.echo, one, StringValue, StringValue),
            "/toys.Toys/Size": Handler(self.size, one, BytesValue, StringValue),
            "/toys.Toys/Inflate": Handler(self.inflate, one, StringValue, StringValue),
            "/toys.Toys/Hang": Handler(self.hang, one, StringValue, StringValue),
            "/toys.Toys/Refuse": Handler(self.refuse, one, StringValue, StringValue),
            "/toys.Toys/Crash": Handler(self.crash, one, StringValue, StringValue),
            "/toys.Toys/Stall": Handler(self.stall, one, StringValue, StringValue),
            "/toys.Toys/FailLate": Handler(self.fail_late, one, StringValue, StringValue),
            "/toys.Toys/FineThenHang": Handler(self.fine_then_hang, one, StringValue, StringValue),
            "/toys.Toys/Reflect": Handler(self.reflect, one, StringValue, StringValue),
            "/toys.Toys/Misuse": Handler(self.misuse, one, StringValue, StringValue),
            "/toys.Toys/MisuseOften": Handler(self.misuse, many_out, StringValue, StringValue),
            "/toys.Toys/HangUp": Handler(self.hang_up, one, StringValue, StringValue),
            "/toys.Toys/Watch": Handler(self.watch, many_out, StringValue, StringValue),
            "/toys.Toys/Pour": Handler(self.pour, many_out, StringValue, StringValue),
            "/toys.Toys/SayNothing": Handler(self.say_nothing, one, StringValue, StringValue),
            "/toys.Toys/Count": Handler(self.count, many_out, StringValue, StringValue),
            "/toys.Toys/Join": Handler(self.join, many_in, StringValue, StringValue),
        }


@dataclass
class Witness(Observer):
    """Records the events of a server."""

    open: int = 0
    handshakes_failed: list[str] = field(default_factory=list)
    finished: list[tuple[str, Status]] = field(default_factory=list)
    failed: list[Exception] = field(default_factory=list)
    broken: list[Exception] = field(default_factory=list)
    not_accepted: list[OSError] = field(default_factory=list)
    evicted: list[Eviction] = field(default_factory=list)

    def connection_opened(self) -> None:
        self.open += 1

    def connection_closed(self) -> None:
        self.open -= 1

    def connection_evicted(self, peer: object, reason: Eviction) -> None:
        self.evicted.append(reason)

    def handshake_failed(self, peer: object, reason: str) -> None:
        self.handshakes_failed.append(reason)

    def connection_failed(self, peer: object, error: Exception) -> None:
        self.broken.append(error)

    def accept_failed(self, error: OSError) -> None:
        self.not_accepted.append(error)

    def call_finished(self, path: str, status: Status, seconds: float, peer: object) -> None:
        assert seconds >= 0
        self.finished.append((path.rpartition("/")[2], status))

    def handler_failed(self, path: str, error: Exception) -> None:
        self.failed.append(error)


AUTHORITY = trustme.CA(key_type=trustme.KeyType.ECDSA)
IDENTITY = AUTHORITY.issue_cert("localhost", key_type=trustme.KeyType.ECDSA)
CONTEXT = server_context(b"".join(blob.bytes() for blob in IDENTITY.cert_chain_pems), IDENTITY.private_key_pem.bytes())
ANCHORS = AUTHORITY.cert_pem.bytes()


@dataclass
class Served:
    """A server that runs, and its handles."""

    port: int
    toys: Toys
    witness: Witness
    scope: trio.CancelScope
    stopped: trio.Event

    @contextmanager
    def channel(self, **options: Any) -> Iterator[grpc.Channel]:
        """A grpcio channel, the foreign client; use it in a thread."""
        credentials = grpc.ssl_channel_credentials(ANCHORS)
        pairs = [("grpc.enable_http_proxy", 0), *options.items()]
        with grpc.secure_channel(f"localhost:{self.port}", credentials, options=pairs) as channel:
            yield channel

    async def call(self, method: str, value: str = "", **keywords: Any) -> str:
        """One unary call on a new connection by grpcio; returns the reply or raises grpc.RpcError."""

        def in_thread() -> str:
            with self.channel() as channel:
                return str(unary(channel, method)(StringValue(value=value), timeout=60, **keywords).value)

        return await trio.to_thread.run_sync(in_thread)


def open_descriptors() -> int:
    """Number of open connections; foreign clients of tests before may still be closing theirs."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def unary(channel: grpc.Channel, method: str) -> Any:
    """A multi-callable of the toy service."""
    return channel.unary_unary(
        f"/toys.Toys/{method}",
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=StringValue.FromString,
    )


@asynccontextmanager
async def serving(
    limits: Limits | None = None,
    *,
    listener: socket.socket | None = None,
    tls: Callable[[], ssl.SSLContext] = lambda: CONTEXT,
) -> AsyncIterator[Served]:
    """Serves the toys until the block is left, or until `scope` is cancelled in it; looks for leftovers."""
    toys, witness, stopped = Toys(), Witness(), trio.Event()
    with ExitStack() as owned:
        if listener is None:
            listener = owned.enter_context(await open_listener("127.0.0.1", 0))
        async with trio.open_nursery() as nursery:
            scope = trio.CancelScope()

            async def serve(*, task_status: trio.TaskStatus[None]) -> None:
                with scope:
                    await serve_grpc(
                        [toys], [listener], tls=tls, limits=limits, observer=witness, task_status=task_status
                    )
                stopped.set()

            await nursery.start(serve)
            yield Served(listener.getsockname()[1], toys, witness, scope, stopped)
            toys.release.set()
            scope.cancel()
    assert witness.open == 0
    assert witness.broken == []

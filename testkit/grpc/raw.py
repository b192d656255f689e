"""A peer that speaks HTTP/2 over TLS frame by frame, so that it can also misbehave."""

import ssl
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import trio
from google.protobuf.wrappers_pb2 import StringValue
from h2.config import H2Configuration
from h2.connection import ConnectionInputs, H2Connection, H2ConnectionStateMachine
from h2.events import (
    DataReceived,
    Event,
    ResponseReceived,
    SettingsAcknowledged,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from hyperframe.frame import Frame

from sentry_trio.grpc.framing import frame_message
from testkit.attackers.performance import update_key

from .toys import ANCHORS

E = TypeVar("E", bound=Event)
Headers = Sequence[tuple[str | bytes, str | bytes]]


def client_context(*, alpn: bool = True) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=ANCHORS.decode())
    if alpn:
        context.set_alpn_protocols(["h2"])
    return context


def request_head(method: str = "Echo", /, **extra: str | bytes) -> list[tuple[str | bytes, str | bytes]]:
    """The head of a call of a toy; `extra` replaces or adds headers, with `_` for `-`."""
    head: dict[str | bytes, str | bytes] = {
        ":method": "POST",
        ":scheme": "https",
        ":path": f"/toys.Toys/{method}",
        ":authority": "localhost",
        "content-type": "application/grpc",
        "te": "trailers",
    }
    pseudo = {"method", "scheme", "path", "authority"}
    head.update({f":{name}" if name in pseudo else name.replace("_", "-"): value for name, value in extra.items()})
    return list(head.items())


def text(value: str) -> bytes:
    """A framed message of the toys' most usual type."""
    return frame_message(StringValue(value=value).SerializeToString())


def key_update(client: "trio.SSLStream[Any]") -> bytes:
    """Composes a key update that comes without data (RFC 8446, 4.6.3)."""
    update_key(client)
    inner: Any = client
    inner._ssl_object.do_handshake()
    return bytes(inner._outgoing.read())


def encrypted(client: "trio.SSLStream[Any]", data: bytes) -> bytes:
    """Encrypts data that is to be sent without a checkpoint."""
    inner: Any = client
    inner._ssl_object.write(data)
    return bytes(inner._outgoing.read())


class Recorder(trio.abc.HalfCloseableStream):
    """Keeps the bytes from the network, still encrypted."""

    def __init__(self, inner: trio.SocketStream) -> None:
        self.inner = inner
        self.received = bytearray()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self.inner.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self.inner.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        data = await self.inner.receive_some(max_bytes)
        self.received += data
        return data

    async def send_eof(self) -> None:
        await self.inner.send_eof()

    async def aclose(self) -> None:
        await self.inner.aclose()

    def records(self) -> int:
        """Number of TLS records of application data received (RFC 8446, 5.1: content type 23)."""
        count = at = 0
        while at < len(self.received):
            count += self.received[at] == 23
            at += 5 + int.from_bytes(self.received[at + 3 : at + 5], "big")
        return count


class _StateMachine(H2ConnectionStateMachine):
    """h2's own takes nothing more after a GOAWAY; a real client does."""

    def process_input(self, input_: ConnectionInputs) -> list[Event]:
        return [] if input_ is ConnectionInputs.RECV_GOAWAY else super().process_input(input_)


class Peer:
    """One connection to a server; received events are kept in `events`."""

    def __init__(self, stream: "trio.SSLStream[Recorder]", h2: H2Connection) -> None:
        self.stream = stream
        self.recorder = stream.transport_stream
        self.h2 = h2
        self.events: list[Event] = []
        self.gone = False
        self.opens_window = True

    async def flush(self) -> None:
        if data := self.h2.data_to_send():
            await self.stream.send_all(data)

    async def send_frames(self, *frames: Frame | bytes) -> None:
        """Sends frames, or other bytes, beside the client's own state machine and in one write."""
        data = [frame if isinstance(frame, bytes) else frame.serialize() for frame in frames]
        await self.stream.send_all(self.h2.data_to_send() + b"".join(data))

    def compose(self, stream_id: int, head: Headers, body: bytes = b"", *, end: bool = True) -> None:
        self.h2.send_headers(stream_id, head, end_stream=end and not body)
        if body:
            self.h2.send_data(stream_id, body, end_stream=end)

    async def call(self, stream_id: int, method: str = "Echo", /, value: str = "hello", **extra: str | bytes) -> None:
        """Sends a whole unary call in one write."""
        self.compose(stream_id, request_head(method, **extra), text(value))
        await self.flush()

    async def receive(self) -> list[Event]:
        """Waits for more, and returns it; nothing when the server has closed."""
        try:
            data = await self.stream.receive_some()
        except trio.BrokenResourceError:
            data = b""
        if not data:
            self.gone = True
            return []
        events = self.h2.receive_data(data)
        for event in events:
            if isinstance(event, DataReceived) and self.opens_window:
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        self.events += events
        return events

    async def wait_for(self, kind: type[E], stream_id: int | None = None, *, number: int = 1) -> E:
        """Receives until so many events of a kind are there; returns the last of them."""
        while len(found := self.having(kind, stream_id)) < number:
            assert not self.gone, f"the server has closed; it had sent {self.events}"
            await self.receive()
            if not self.gone:
                await self.flush()
        return found[number - 1]

    def having(self, kind: type[E], stream_id: int | None = None) -> list[E]:
        return [
            event
            for event in self.events
            if isinstance(event, kind) and (stream_id is None or getattr(event, "stream_id", None) == stream_id)
        ]

    async def closed(self) -> None:
        """Waits for the server to close; answers nothing meanwhile."""
        while not self.gone:
            await self.receive()

    async def answer(self, stream_id: int) -> "Answer":
        """Waits for the whole answer of a call."""
        await self.wait_for(StreamEnded, stream_id)
        return self.answered(stream_id)

    def answered(self, stream_id: int) -> "Answer":
        return Answer(self.events, stream_id)

    async def status(self, stream_id: int) -> tuple[int, str]:
        answer = await self.answer(stream_id)
        return answer.status, answer.message


class Answer:
    """Answer on one stream."""

    def __init__(self, events: Iterable[Event], stream_id: int) -> None:
        self.heads: list[dict[str, str]] = []
        self.data = b""
        self.reset: int | None = None
        for event in events:
            if getattr(event, "stream_id", None) != stream_id:
                continue
            if isinstance(event, ResponseReceived | TrailersReceived):
                self.heads.append({bytes(name).decode(): bytes(value).decode() for name, value in event.headers or ()})
            elif isinstance(event, DataReceived):
                self.data += event.data
            elif isinstance(event, StreamReset):
                self.reset = int(event.error_code)

    @property
    def status(self) -> int:
        return int(self.heads[-1]["grpc-status"])

    @property
    def message(self) -> str:
        return self.heads[-1].get("grpc-message", "")

    @property
    def value(self) -> str:
        return str(StringValue.FromString(self.data[5:]).value)


async def connect(
    port: int,
    *,
    source: str | None = None,
    context: ssl.SSLContext | None = None,
    wrap: Callable[[trio.SocketStream], Recorder] = Recorder,
) -> "trio.SSLStream[Recorder]":
    """A TLS connection, its handshake done; `source` is the address that it comes from."""
    recorder = wrap(await trio.open_tcp_stream("127.0.0.1", port, local_address=source))
    stream = trio.SSLStream(recorder, context or client_context(), server_hostname="localhost", https_compatible=True)
    try:
        await stream.do_handshake()
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    return stream


@asynccontextmanager
async def peering(
    port: int,
    *,
    source: str | None = None,
    context: ssl.SSLContext | None = None,
    preface: bool = True,
    wrap: Callable[[trio.SocketStream], Recorder] = Recorder,
) -> AsyncIterator[Peer]:
    """A peer that has exchanged settings with the server; it hangs up without a word when the block is left."""
    stream = await connect(port, source=source, context=context, wrap=wrap)
    h2 = H2Connection(
        H2Configuration(
            header_encoding=None,
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
            validate_inbound_headers=True,
        )
    )
    h2.state_machine = _StateMachine()
    peer = Peer(stream, h2)
    try:
        if preface:
            h2.initiate_connection()
            await peer.flush()
            # The server may send its settings before ours arrive, so the acknowledgment may come later.
            while not (peer.gone or peer.having(SettingsAcknowledged)):
                await peer.receive()
                await peer.flush()
        yield peer
    finally:
        await trio.aclose_forcefully(stream)

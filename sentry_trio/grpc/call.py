"""One call: the stream object that its handler gets, and the task that runs it."""

from collections import deque
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, cast

import trio
from google.protobuf.message import DecodeError, Message
from grpclib.const import Status
from grpclib.exceptions import GRPCError, ProtocolError
from grpclib.metadata import encode_metadata
from multidict import MultiDict

from .admission import Network
from .concurrency import ConcurrencyLimiter, FairLimiter
from .deadlines import Deadline
from .frames import ErrorCode
from .framing import (
    CallRequest,
    MessageReader,
    Metadata,
    Outcome,
    frame_message,
    metadata_of,
    response_headers,
    status_trailers,
)
from .headers import Header, weight
from .limits import CALL_BYTES, MESSAGE_BYTES, PARSED_SIZE, Limits

if TYPE_CHECKING:
    from .connection import Connection

MetadataLike = Mapping[str, str | bytes] | Iterable[tuple[str, str | bytes]]

# gRPC status codes: "an unknown error"; the cause is for the server's log, not for the caller.
_FAILED: Final[Outcome] = (Status.UNKNOWN, "Internal Server Error")
_DEADLINE_EXCEEDED: Final[Outcome] = (Status.DEADLINE_EXCEEDED, "deadline exceeded")


class Call:
    """A call on a connection, with the interface of `grpclib.server.Stream` for its handler.

    Services written for grpclib run here without a change. The CA itself needs only `peer`, `recv_message`,
    `send_message`, and what grpclib lacks: `network` and `wait_for_turn`. `peer` is an address here, and there are no
    status details.

    The answer to a method with one reply is written at once, headers, message and trailers together, when the handler
    returns; a streaming method's messages leave as they are sent.

    Attributes:
        path: `/<service>/<method>`.
        peer: the caller's address, from the socket.
        connection: its connection.
        started_at: time at which its headers arrived, on Trio's clock.
        held: bytes of its messages that have arrived and that its handler has not read yet.
        cost: bytes of the memory budget that it takes beside these, e.g. for its header list.
        due_at: the caller's deadline, on Trio's clock; None if there is none. A handler still running
            then is cancelled and answered DeadlineExceeded.
        streams_replies: its method may send many messages.
        aborted: true if the handler need not start: `run` answers with the status of `abort`.
    """

    # More attributes than instances can share the names of: a dictionary would take 1.5 KiB of each.
    __slots__ = (
        "_arrival",
        "_ended",
        "_h2",
        "_handler",
        "_headers_sent",
        "_initial_metadata",
        "_messages",
        "_out",
        "_outcome",
        "_parsed",
        "_place",
        "_queued",
        "_reader",
        "_received",
        "_replies",
        "_request",
        "_reset",
        "_scope",
        "_stream_id",
        "_trailing_metadata",
        "_unary_reply",
        "_verdict",
        "aborted",
        "connection",
        "cost",
        "due_at",
        "held",
        "path",
        "peer",
        "started_at",
        "streams_replies",
    )

    def __init__(self, connection: "Connection", stream_id: int, request: CallRequest, limits: Limits) -> None:
        self.path = request.path
        self.peer = connection.peer
        self.started_at = trio.current_time()
        self.due_at = None if request.timeout is None else self.started_at + request.timeout
        self.connection = connection
        self._h2 = connection.h2
        self._out = connection.out
        self._stream_id = stream_id
        self._request = request
        self._handler = request.handler
        self.streams_replies = request.handler.cardinality.server_streaming
        self._scope = trio.CancelScope()
        # Messages from the caller.
        self._reader = MessageReader(limit=limits.message_bytes, gzip=request.gzip)
        self._messages: deque[bytes | bytearray] | None = None  # empty, it would take 760 bytes of each incomplete call
        self._queued = 0
        self._parsed = 0
        self.held = 0
        self.cost = weight(request.headers) + CALL_BYTES
        self._received = 0
        self._ended = False
        self._arrival: trio.Event | None = None
        # The handler's response.
        self._place: int | None = None  # among the calls of its peer that wait for turns
        self._replies = 0
        self._unary_reply = b""
        self._initial_metadata: Iterable[Header] = ()
        self._trailing_metadata: Iterable[Header] = ()
        self._headers_sent = False
        self._outcome: Outcome | None = None
        # How the call ends if its scope is cancelled.
        self._verdict = _DEADLINE_EXCEEDED
        self.aborted = False
        # There is no one to answer: either side has reset the stream.
        self._reset = False

    # --- what the handler calls

    @property
    def deadline(self) -> Deadline | None:
        """The caller's deadline; None if there is none."""
        return None if self.due_at is None else Deadline(self.due_at)

    @property
    def network(self) -> Network:
        """The network that identifies the peer."""
        return self.connection.network

    @property
    def metadata(self) -> Metadata:
        """The custom metadata of the call."""
        return metadata_of(self._request.headers)

    @property
    def user_agent(self) -> str | None:
        """The caller's user agent."""
        agents = (value for name, value in self._request.headers if name == b"user-agent")
        return next((agent.decode("ascii", "replace") for agent in agents), None)

    async def recv_message(self) -> Any:
        """Waits for the next message and returns it; None when the caller has sent its last.

        Raises:
            GRPCError: ResourceExhausted for a message over the limit, Internal for one that cannot be read,
                Unimplemented if a method with one request got none.
        """
        while not self._messages:
            if self._reader.failure is not None:
                raise GRPCError(*self._reader.failure)
            if self._ended:
                if self._received or self._handler.cardinality.client_streaming:
                    return None
                raise GRPCError(Status.UNIMPLEMENTED, f"{self.path} expects one message but received none")
            self._arrival = trio.Event()
            await self._arrival.wait()
        message = self._messages.popleft()
        self._received += 1
        self._queued -= len(message) + MESSAGE_BYTES
        self._weigh()
        # The handler no longer needs its last message.
        parsed = PARSED_SIZE * len(message)
        self._hold(parsed - self._parsed)
        self._parsed = parsed
        try:
            return self._handler.request_type.FromString(message)
        except DecodeError as error:
            raise GRPCError(Status.INTERNAL, f"grpc: error unmarshalling request: {error}") from error

    def __aiter__(self) -> AsyncIterator[Any]:
        """Iterates over the caller's messages."""
        return self._iterate()

    async def _iterate(self) -> AsyncIterator[Any]:
        while (message := await self.recv_message()) is not None:
            yield message

    async def send_initial_metadata(self, *, metadata: MetadataLike | None = None) -> None:
        """Sets the metadata before the first message; a streaming method sends it now.

        Raises:
            ProtocolError: the headers have been sent.
        """
        if self._headers_sent:
            raise ProtocolError("Initial metadata was already sent")
        self._initial_metadata = _encoded(metadata)
        if self.streams_replies:
            self._send_headers()
            await self._out.flush()

    async def send_message(self, message: Message) -> None:
        """Sends a message; in a streaming method, waits while the caller's flow-control window is full.

        Raises:
            ProtocolError: a second message from a method with one reply.
            TypeError: a message of another type than the method's.
        """
        if not isinstance(message, self._handler.reply_type):
            raise TypeError(
                f"{self.path} answers with {self._handler.reply_type.__name__}, not {type(message).__name__}"
            )
        payload = frame_message(message.SerializeToString())
        self._replies += 1
        if self.streams_replies:
            await self._send_payload(payload)
            await self._out.flush()
            self._hold(-len(payload))
        elif self._replies > 1:
            raise ProtocolError("Message was already sent")
        else:
            self._unary_reply = payload

    async def send_trailing_metadata(
        self,
        *,
        status: Status = Status.OK,
        status_message: str | None = None,
        metadata: MetadataLike | None = None,
    ) -> None:
        """Sets the status and the trailers, which are sent when the handler returns.

        Raises:
            ProtocolError: it was set before.
        """
        if self._outcome is not None:
            raise ProtocolError("Trailing metadata was already sent")
        self._outcome = (status, status_message)
        self._trailing_metadata = _encoded(metadata)

    async def wait_for_turn(self, seconds: float) -> None:
        """Waits for a turn of the event loop that has room for the handler's next work; see `wait_for_part`."""
        self._place = await self.connection.wait_for_part(seconds, self._place)

    async def cancel(self) -> None:
        """Ends the call with RST_STREAM (CANCEL) and no status."""
        self._reset = True
        self._h2.reset(self._stream_id)
        await self._out.flush()

    # --- what the connection calls

    def feed(self, data: bytes) -> bool:
        """Processes data that has arrived for this call.

        Returns False if the slice of this turn does not suffice. Then `feed` continues, with more data or none.
        """
        cpu = self.connection.cpu
        if (self._messages or self._received) and not self._handler.cardinality.client_streaming:
            cpu.charge_unwanted(len(data))
            return True
        messages = self._reader.feed(data, cpu.rest)
        if messages:
            if self._messages is None:
                self._messages = deque()
            self._messages.extend(messages)
        self._queued += sum(map(len, messages)) + MESSAGE_BYTES * len(messages)
        self._weigh()
        self._wake()
        if len(messages) > 1 or self._reader.work:
            cpu.spend_on_messages(len(messages), self._reader.work, self._reader.unusual_work)
        return not self.paused

    @property
    def paused(self) -> bool:
        """True if `feed` must continue."""
        return self._reader.paused

    def end(self) -> None:
        """Processes the end of the request."""
        self._ended = True
        if self._reader.rest:
            self._reader.end()
            self._weigh()
        self._wake()

    def abandon(self) -> None:
        """Cancels the handler without an answer: the stream was reset."""
        self._reset = True
        self._scope.cancel()

    def abort(self, status: Status, message: str) -> None:
        """Cancels the handler, drops messages that it has not read, and responds with the given status.

        A handler that has returned is cancelled too, while its answer waits for the caller's window.
        """
        self._verdict = (status, message)
        self.aborted = True
        self._reader.fail(status, message)
        self._messages = None
        self._queued = 0
        self._weigh()
        self._scope.cancel()

    def expire(self) -> None:
        """Cancels the handler, or the wait before or after it, because the deadline has passed."""
        self._scope.cancel()

    def _wake(self) -> None:
        if self._arrival is not None:
            self._arrival.set()
            self._arrival = None

    def _hold(self, more: int) -> None:
        self.cost += more
        self.connection.hold(more)

    def _weigh(self) -> None:
        held = self._reader.rest + self._queued
        if held != self.held:
            self.connection.weigh(held - self.held)
            self.held = held

    @property
    def ready(self) -> bool:
        """True if the handler can begin: its one message has arrived or never will. Streams need not be waited for."""
        return (
            bool(self._messages)
            or self._ended
            or self._reader.failure is not None
            or self._handler.cardinality.client_streaming
        )

    async def run(self, limiter: ConcurrencyLimiter | FairLimiter | None) -> Status:
        """Runs the handler and composes its answer; the connection flushes it. Returns how the call ended.

        Args:
            limiter: has reserved a place for the handler; None if it must not run.
        """
        outcome = self._verdict
        if limiter is None:
            pass
        elif self._reset or self.aborted or (self.due_at is not None and trio.current_time() >= self.due_at):
            limiter.cancel(self)
        else:
            outcome = await self._handle(limiter)
        if self._reset:
            return Status.CANCELLED
        self._send_trailers(outcome)
        return outcome[0]

    async def _handle(self, limiter: ConcurrencyLimiter | FairLimiter) -> Outcome:
        try:
            with self._scope:
                await limiter.acquire(self)
                try:
                    await self._handler.func(self)
                finally:
                    limiter.release(self)
                return await self._replied()
        except GRPCError as error:
            return error.status, error.message
        except Exception as error:  # noqa: BLE001  # an error of a handler ends its own call and nothing else
            self.connection.observer.handler_failed(self.path, error)
            if not self._scope.cancelled_caught:
                return _FAILED
        return self._verdict

    async def _replied(self) -> Outcome:
        """Returns the answer of a handler that has returned; composes the reply of a method with one."""
        outcome = self._outcome or (Status.OK, None)
        if outcome[0] is not Status.OK or self.streams_replies:
            return outcome
        if not self._replies:
            raise ProtocolError("Unary response with OK status requires a single message to be sent")
        payload, self._unary_reply = self._unary_reply, b""
        await self._send_payload(payload)
        return outcome

    def _send_headers(self) -> None:
        self._headers_sent = True
        self._h2.send_headers(self._stream_id, response_headers(self._initial_metadata))

    async def _send_payload(self, payload: bytes) -> None:
        """Composes headers, if they were not sent yet, and DATA; waits while the caller's window is full."""
        if not self._headers_sent:
            self._send_headers()
        self._hold(len(payload))
        await self._out.send_data(self._stream_id, payload)

    def _send_trailers(self, outcome: Outcome) -> None:
        trailers = status_trailers(*outcome, self._trailing_metadata)
        if not self._headers_sent:
            trailers = response_headers((*self._initial_metadata, *trailers))
        self._h2.send_headers(self._stream_id, trailers, end_stream=True)
        if not self._ended:
            # RFC 9113, 8.1: the response is complete before the request is; the rest of the request is not needed.
            self._h2.reset(self._stream_id, ErrorCode.NO_ERROR)


def _encoded(metadata: MetadataLike | None) -> list[Header]:
    pairs = MultiDict(metadata or ())
    return [(name.encode("ascii"), value.encode("ascii")) for name, value in encode_metadata(cast("Any", pairs))]

"""One HTTP/2 connection: a task that reads, a task for each call, and the way out."""

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, Final

import trio
from grpclib.const import Handler, Status
from h2.errors import ErrorCodes
from h2.events import (
    DataReceived,
    Event,
    PingAckReceived,
    PingReceived,
    PriorityUpdated,
    RemoteSettingsChanged,
    RequestReceived,
    StreamEnded,
    StreamReset,
    WindowUpdated,
)
from h2.exceptions import ProtocolError

from .allowance import Allowance
from .call import Call
from .http2 import ServerConnection
from .limits import Limits
from .observer import Observer
from .ports import Exchange
from .refusal import Refusal
from .tls import TLSTransport
from .wire import Header, RefusedError, read_request

_HIGHEST_STREAM: Final = 2**31 - 1
_PING: Final = b"farewell"
_FRAMES_EARNED_BY_A_CALL: Final = 2


class _BrokenOffError(Exception):
    """The peer has broken the protocol or a limit; the GOAWAY that says why is composed."""


class Connection:
    """Serves the calls of one connection until it is closed by either side.

    Args:
        nursery: where the tasks of this connection live; cancelled when the connection is over.
        transport: the connection, its handshake done.
        peer: the other end's address as the socket names it.
        handlers: path to handler.
        limits: what the peer may take.
        observer: who is told what happens.

    Attributes:
        unread: bytes that have arrived for calls and that no handler has taken yet.
    """

    def __init__(
        self,
        nursery: trio.Nursery,
        transport: TLSTransport,
        *,
        peer: object,
        handlers: Mapping[bytes, Handler],
        limits: Limits,
        observer: Observer,
    ) -> None:
        self.peer = peer
        self.observer = observer
        self.unread = 0
        self._nursery = nursery
        self._transport = transport
        self._handlers = handlers
        self._limits = limits
        self._control_frames = Allowance(limits.control_frames)
        self._exchanges: dict[int, Exchange] = {}
        self._all_done: trio.Event | None = None
        self._heard = trio.Event()
        self._ponged = trio.Event()
        self._window_opened = trio.lowlevel.ParkingLot()
        self._sending = trio.Lock()
        self._leaving = False
        self._last_stream = _HIGHEST_STREAM
        self._h2 = ServerConnection(streams=limits.streams, header_bytes=limits.header_bytes)

    # --- reading

    async def serve(self) -> None:
        """Serves calls until the peer closes, breaks the protocol, or has been seen off after `leave`.

        Then cancels the nursery. Cancellation cuts the connection.
        """
        self._h2.initiate_connection()
        await self.flush()
        try:
            while data := await self._transport.receive():
                self._react(data)
                await self.flush()
        except _BrokenOffError:
            await self._break_off()
        self._nursery.cancel_scope.cancel()

    def _react(self, data: bytes) -> None:
        try:
            events = self._h2.receive_data(data)
        except ProtocolError as error:
            raise _BrokenOffError from error
        self._heard.set()
        for event in events:
            react = self._REACTIONS.get(type(event))
            if react is not None:
                react(self, event)

    async def _break_off(self) -> None:
        for exchange in self._exchanges.values():
            exchange.abandon()
        # Closing with bytes unread would send a reset, and a reset destroys the GOAWAY that says why.
        with trio.move_on_after(self._limits.goodbye_timeout):
            await self.flush()
            self._transport.half_close()
            while await self._transport.receive():
                pass

    def _request_received(self, event: RequestReceived) -> None:
        stream_id = event.stream_id
        if stream_id > self._last_stream:
            self.reset(stream_id, code=ErrorCodes.REFUSED_STREAM)
            return
        if self._h2.over_limit(stream_id):
            self._spend_control_frame()
            self.reset(stream_id, code=ErrorCodes.REFUSED_STREAM)
            return
        exchange: Exchange
        try:
            request = read_request(event.headers, self._handlers)
        except RefusedError as refusal:
            if refusal.body is None:
                self.send_headers(stream_id, refusal.headers, end_stream=True)
                self.reset(stream_id, code=ErrorCodes.NO_ERROR)
                return
            exchange = Refusal(self, stream_id, refusal, self._limits)
        else:
            exchange = Call(self, stream_id, request, message_bytes=self._limits.message_bytes)
        self._exchanges[stream_id] = exchange
        self._nursery.start_soon(self._run, stream_id, exchange)

    async def _run(self, stream_id: int, exchange: Exchange) -> None:
        status = Status.CANCELLED  # stays where the connection is lost
        try:
            status = await exchange.run()
            await self.flush()
        finally:
            # Only now: a call is under way until its answer has left, not until it is composed.
            del self._exchanges[stream_id]
            self.unread -= exchange.held
            if not self._exchanges and self._all_done is not None:
                self._all_done.set()
            exchange.finished(status)
        if status is not Status.CANCELLED:
            self._control_frames.earn(_FRAMES_EARNED_BY_A_CALL)

    def _data_received(self, event: DataReceived) -> None:
        # The window is opened again at once: what calls may hold is bounded by its own limits, not by the window, so
        # that two large messages on one connection cannot wait for each other.
        self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        if not event.data and event.stream_ended is None:
            self._spend_control_frame()
        if exchange := self._exchanges.get(event.stream_id):
            exchange.feed(event.data)
            if self.unread > self._limits.unread_bytes:
                exchange.abort(
                    Status.RESOURCE_EXHAUSTED,
                    f"grpc: more than {self._limits.unread_bytes} bytes unread on one connection",
                )

    def _stream_ended(self, event: StreamEnded) -> None:
        if exchange := self._exchanges.get(event.stream_id):
            exchange.end()

    def _stream_reset(self, event: StreamReset) -> None:
        self._spend_control_frame()
        if exchange := self._exchanges.get(event.stream_id):
            exchange.abandon()

    def _window_changed(self, _event: WindowUpdated) -> None:
        self._window_opened.unpark_all()

    def _settings_changed(self, _event: RemoteSettingsChanged) -> None:
        self._spend_control_frame()
        self._h2.bound_header_table()
        self._window_opened.unpark_all()

    def _ping_acknowledged(self, event: PingAckReceived) -> None:
        self._spend_control_frame()
        if event.ping_data == _PING:
            self._ponged.set()

    def _spend_control_frame(self, _event: Event | None = None) -> None:
        if not self._control_frames.spend():
            self._h2.close_connection(ErrorCodes.ENHANCE_YOUR_CALM)
            raise _BrokenOffError

    _REACTIONS: ClassVar[Mapping[type[Event], Callable[..., None]]] = {
        RequestReceived: _request_received,
        DataReceived: _data_received,
        StreamEnded: _stream_ended,
        StreamReset: _stream_reset,
        WindowUpdated: _window_changed,
        RemoteSettingsChanged: _settings_changed,
        PingAckReceived: _ping_acknowledged,
        PingReceived: _spend_control_frame,
        PriorityUpdated: _spend_control_frame,
    }

    # --- writing

    def send_headers(self, stream_id: int, headers: Sequence[Header], *, end_stream: bool = False) -> None:
        """Composes a HEADERS frame, unless the stream is closed; `flush` sends it."""
        # The peer may have reset the stream in the very read that opened it.
        if self._h2.can_send(stream_id):
            self._h2.send_headers(stream_id, headers, end_stream=end_stream)

    async def send_data(self, stream_id: int, data: bytes, *, end_stream: bool = False) -> None:
        """Composes DATA frames until the stream is closed; waits, having flushed, while the peer's window is full."""
        rest = memoryview(data)
        while rest and self._h2.can_send(stream_id):
            size = min(len(rest), self._h2.local_flow_control_window(stream_id), self._h2.max_outbound_frame_size)
            if size > 0:
                self._h2.send_data(stream_id, rest[:size], end_stream=end_stream and size == len(rest))
                rest = rest[size:]
            else:
                await self.flush()
                await self._window_opened.park()

    def reset(self, stream_id: int, *, code: ErrorCodes = ErrorCodes.CANCEL) -> None:
        """Composes RST_STREAM, unless the stream is closed."""
        if self._h2.can_send(stream_id):
            self._h2.reset_stream(stream_id, code)

    async def flush(self) -> None:
        """Sends what is composed and returns when it has left; a broken connection ends the connection's nursery."""
        data = self._h2.data_to_send()
        try:
            if data:
                self._transport.write(data)
            try:
                self._sending.acquire_nowait()
            except trio.WouldBlock:
                await self._sending.acquire()
            try:
                await self._transport.send()
            finally:
                self._sending.release()
        except OSError:  # ssl.SSLError is one
            self._nursery.cancel_scope.cancel()

    # --- leaving

    def leave(self) -> None:
        """Begins the graceful end, which `serve` sees through; once begun, asking again changes nothing.

        The peer is told with a GOAWAY that nothing new is wanted; what it sends until it has answered a PING is still
        served; when all calls are answered, or at the drain timeout, the connection is closed.
        """
        if not self._leaving:
            self._leaving = True
            self._nursery.start_soon(self._see_off)

    async def _see_off(self) -> None:
        """RFC 9113, 6.8: a first GOAWAY, the round trip of a PING, the final GOAWAY, the last answers, the end."""
        deadline = trio.current_time() + self._limits.drain_timeout
        goodbye = self._limits.goodbye_timeout
        with trio.move_on_after(goodbye):
            # A peer still on its way out of the handshake is heard first: its call is coming.
            await self._heard.wait()
            if self._h2.broken:
                return  # `serve` is about to end the connection, and can say nothing more on it
            self._h2.go_away(_HIGHEST_STREAM)
            self._h2.ping(_PING)
            await self.flush()
            await self._ponged.wait()
        self._last_stream = self._h2.highest_inbound_stream_id
        self._h2.go_away(self._last_stream)
        with trio.move_on_after(goodbye):
            await self.flush()
        with trio.move_on_at(deadline):
            await self._all_answered()
        for exchange in self._exchanges.values():
            exchange.abort(Status.UNAVAILABLE, "the server is shutting down")
        with trio.move_on_after(goodbye):
            await self._all_answered()
        self._transport.half_close()
        # Closing with bytes unread would send a reset, and a reset destroys an answer not yet read; the peer's own
        # close ends the wait early.
        await trio.sleep(goodbye)
        self._nursery.cancel_scope.cancel()

    async def _all_answered(self) -> None:
        while self._exchanges:
            self._all_done = trio.Event()
            await self._all_done.wait()

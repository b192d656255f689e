"""One HTTP/2 connection: a task that reads, a task for each call, and the way out."""

from typing import Final

import trio
from grpclib.const import Status

from .call import Call
from .fields import Header
from .frames import HIGHEST_STREAM, ErrorCode, ViolationError
from .holdings import WHOLE_CONNECTION
from .http2 import BrokenOffError, ServerConnection
from .limits import FRAMES_EARNED_BY_CALL
from .observer import Observer
from .outgoing import Outgoing
from .peers import Network
from .ports import Exchange
from .refusal import Refusal
from .shared import Limiter, Shared
from .tls import TLSTransport
from .token_bucket import TokenBucket
from .vigil import Verdict, Vigil
from .wire import RefusedError, read_request

_FAREWELL: Final = b"farewell"
_KEEPALIVE: Final = b"are you?"


class Connection:
    """Serves the calls of one connection until it is closed by either side.

    Args:
        nursery: where the tasks of this connection live; cancelled when the connection is over.
        transport: the connection, its handshake done.
        peer: the other end's address as the socket names it.
        network: of the peer.
        shared: what it shares with the other connections of its server.

    Attributes:
        unread: bytes that have arrived in requests and that no handler has taken yet.
        out: what leaves.
    """

    def __init__(
        self, nursery: trio.Nursery, transport: TLSTransport, *, peer: object, network: Network, shared: Shared
    ) -> None:
        limits = shared.limits
        self.peer = peer
        self.network = network
        self.unread = 0
        self._nursery = nursery
        self._transport = transport
        self._shared = shared
        self._limits = limits
        self._control_frames = TokenBucket(limits.control_frames)
        self._exchanges: dict[int, Exchange] = {}
        self._incomplete: dict[int, Exchange] = {}  # of these, the ones whose requests are not whole
        self._begun: list[int] = []  # and those that this read has brought
        self._all_done: trio.Event | None = None
        self._heard = trio.Event()
        self._ponged = trio.Event()
        self._leaving = False
        self._last_stream = HIGHEST_STREAM
        self._h2 = ServerConnection(self, streams=limits.streams, header_bytes=limits.header_bytes)
        self.out = Outgoing(self, self._h2, transport, shared, self._control_frames, nursery.cancel_scope)
        self._vigil = Vigil(limits, trio.current_time())
        shared.idle.add(self)

    @property
    def observer(self) -> Observer:
        """Who is told what happens."""
        return self._shared.observer

    # --- reading

    async def serve(self) -> None:
        """Serves calls until the peer closes, breaks the protocol, or has been seen off after `leave`.

        Then cancels the nursery. Cancellation cuts the connection.
        """
        self._h2.begin()
        # The peer's preface often comes with the end of its handshake: ours then leaves in one write with the answer.
        data = self._transport.arrived()
        if data is None:
            await self.out.flush()
            data = await self._transport.receive()
        broken_off = False
        try:
            while data:
                self._vigil.heard(trio.current_time())
                self._h2.receive(data)
                self._heard.set()
                if self._begun:
                    self._sort_begun()
                await self.out.flush()
                data = await self._transport.receive()
        except BrokenOffError:
            broken_off = True
            data = None
        finally:
            self._leaving = True
            self._shared.idle.discard(self)
            self._drop_incomplete()
        if broken_off:
            # Outside of the `except` block, whose exception holds what this read has brought.
            await self._break_off()
        self._nursery.cancel_scope.cancel()

    async def _break_off(self) -> None:
        for exchange in self._exchanges.values():
            exchange.abandon()
        # Closing with bytes unread would send a reset, and a reset destroys the GOAWAY that says why.
        with trio.move_on_after(self._limits.goodbye_timeout):
            await self.out.flush()
            self._transport.half_close()
            while await self._transport.receive():
                pass

    # --- what HTTP/2 tells

    def request_received(self, stream_id: int, headers: list[Header], *, ended: bool) -> None:
        """Begins a call, or what answers in its place."""
        if stream_id > self._last_stream:
            self._h2.reset(stream_id, ErrorCode.REFUSED_STREAM)
            return
        exchange: Exchange
        try:
            request = read_request(headers, self._shared.handlers)
        except RefusedError as refusal:
            if refusal.body is None:
                self.out.send_headers(stream_id, refusal.headers, end_stream=True)
                self.out.reset(stream_id, code=ErrorCode.NO_ERROR)
                return
            # Not the exception: its traceback leads back to this frame, which holds the request's headers.
            exchange = Refusal(self, stream_id, refusal.headers, refusal.body, self._limits)
        else:
            exchange = Call(self, stream_id, request, self._limits)
        if not self._exchanges:
            self._shared.idle.discard(self)
        self._exchanges[stream_id] = self._incomplete[stream_id] = exchange
        self._begun.append(stream_id)
        self._shared.holdings.total += exchange.cost
        if ended:
            exchange.end()
        self._bound_unread(exchange)

    def data_received(self, stream_id: int, data: bytes, *, ended: bool) -> None:
        """Hands data on."""
        exchange = self._exchanges.get(stream_id)
        if exchange is None:
            return
        if data:
            exchange.feed(data)
        if ended:
            exchange.end()
        self._bound_unread(exchange)
        if exchange.ready and stream_id in self._incomplete and stream_id not in self._begun:
            self._start(stream_id)

    def stream_lost(self, stream_id: int) -> None:
        """Cancels the call."""
        if stream_id in self._incomplete:
            self._drop(stream_id)
        elif exchange := self._exchanges.get(stream_id):
            exchange.abandon()

    def window_opened(self) -> None:
        """Wakes whoever waits for it."""
        self.out.window_opened()

    def work_asked(self) -> None:
        """Counts it; a peer that asks for too much loses the connection."""
        if not self._control_frames.spend():
            raise ViolationError(ErrorCode.ENHANCE_YOUR_CALM)

    def ping_answered(self, payload: bytes) -> None:
        """Ends the wait that sees a peer off."""
        if payload == _FAREWELL:
            self._ponged.set()

    # --- calls

    def _sort_begun(self) -> None:
        """Starts what is whole of the requests that have begun in this read."""
        begun, self._begun = self._begun, []
        for stream_id in begun:
            exchange = self._incomplete.get(stream_id)
            if exchange is None:
                continue
            if exchange.ready:
                self._start(stream_id)
            else:
                self._shared.holdings.begin(self, stream_id)

    def _start(self, stream_id: int) -> None:
        """Runs what answers a request; where there is no room for it, it answers so without being run."""
        exchange = self._incomplete.pop(stream_id)
        self._shared.holdings.end(self, stream_id)
        self._nursery.start_soon(self._run, stream_id, exchange, exchange.admit(self._shared))

    async def _run(self, stream_id: int, exchange: Exchange, limiter: Limiter | None) -> None:
        status = Status.CANCELLED  # stays where the connection is lost
        try:
            status = await exchange.run(limiter)
            await self.out.flush()
        finally:
            # Only now: a call is under way until its answer has left, not until it is composed.
            self._finish(stream_id, exchange, status)
        if status is not Status.CANCELLED:
            self._control_frames.earn(FRAMES_EARNED_BY_CALL)

    def _drop(self, stream_id: int) -> None:
        """Forgets a request that will not be whole."""
        self._shared.holdings.end(self, stream_id)
        self._finish(stream_id, self._incomplete.pop(stream_id), Status.CANCELLED)

    def _drop_incomplete(self) -> None:
        for stream_id in list(self._incomplete):
            self._drop(stream_id)

    def _finish(self, stream_id: int, exchange: Exchange, status: Status) -> None:
        del self._exchanges[stream_id]
        self.out.forget(stream_id)
        self.weigh(-exchange.held)
        self._release(exchange)
        if not self._exchanges:
            self._vigil.idle_since = trio.current_time()
            if not self._leaving:
                self._shared.idle.add(self)
            if self._all_done is not None:
                self._all_done.set()
        exchange.finished(status)

    def weigh(self, more: int) -> None:
        """Counts bytes that are held, or not any more."""
        self.unread += more
        self._shared.holdings.total += more

    def _bound_unread(self, exchange: Exchange) -> None:
        if self.unread > self._limits.unread_bytes:
            exchange.abort(
                Status.RESOURCE_EXHAUSTED,
                f"grpc: more than {self._limits.unread_bytes} bytes unread on one connection",
            )
        elif self._shared.holdings.total > self._limits.unread_bytes_in_all and not self._shared.holdings.relieve():
            exchange.abort(*_TOO_MUCH_IN_ALL)

    def give_up(self, stream_id: int) -> None:
        """Ends a call that waits for the peer, or the connection if its socket does, to make room for others."""
        if stream_id == WHOLE_CONNECTION:
            for exchange in self._exchanges.values():
                self._release(exchange)
            self.cut()
            return
        # Its task is yet to run, or to end; whoever asked for room counts what there is now.
        self._release(self._exchanges[stream_id])
        if stream_id in self._incomplete:
            self._end_incomplete(stream_id, *_TOO_MUCH_IN_ALL)
        else:
            self._end_stalled(stream_id)

    def _end_stalled(self, stream_id: int) -> None:
        self.out.reset(stream_id)
        self._exchanges[stream_id].abandon()
        self._nursery.start_soon(self.out.flush)

    def _release(self, exchange: Exchange) -> None:
        self._shared.holdings.total -= exchange.cost
        exchange.cost = 0

    def _end_incomplete(self, stream_id: int, status: Status, message: str) -> None:
        self._incomplete[stream_id].abort(status, message)
        self._start(stream_id)

    # --- what is looked at once a second

    def tend(self, now: float) -> None:
        """Ends what has taken too long: requests, answers, silence, and the connection itself when it is old."""
        if self._leaving:
            return
        idle = not self._exchanges
        match self._vigil.verdict(now, idle=idle, sent=self._transport.sent, unsent=self._transport.unsent):
            case Verdict.CUT:
                self.cut()
            case Verdict.LEAVE:
                self.leave()
            case Verdict.PING:
                self._h2.ping(_KEEPALIVE)
                self._nursery.start_soon(self.out.flush)
        for stream_id, exchange in list(self._incomplete.items()):
            self._tend_request(stream_id, exchange, now)
        for stream_id, since in list(self.out.stalled.items()):
            if now - since >= self._limits.send_timeout:
                self._end_stalled(stream_id)

    def _tend_request(self, stream_id: int, exchange: Exchange, now: float) -> None:
        if exchange.due_at is not None and now >= exchange.due_at:
            self._end_incomplete(stream_id, Status.DEADLINE_EXCEEDED, "deadline exceeded")
        elif now - exchange.started_at >= exchange.patience:
            why = f"the request has not ended within {exchange.patience:g} s"
            self._end_incomplete(stream_id, Status.DEADLINE_EXCEEDED, why)

    def cut(self) -> None:
        """Ends the connection now; the peer is told as far as its socket takes it."""
        self.out.say_goodbye()
        self._nursery.cancel_scope.cancel()

    # --- leaving

    def leave(self) -> None:
        """Begins the graceful end, which `serve` sees through; once begun, asking again changes nothing.

        The peer is told with a GOAWAY that nothing new is wanted; what it sends until it has answered a PING is still
        served; when all calls are answered, or at the drain timeout, the connection is closed.
        """
        if not self._leaving:
            self._leaving = True
            self._shared.idle.discard(self)
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
            self._h2.go_away(HIGHEST_STREAM)
            self._h2.ping(_FAREWELL)
            await self.out.flush()
            await self._ponged.wait()
        self._last_stream = self._h2.highest_stream
        self._h2.go_away(self._last_stream)
        with trio.move_on_after(goodbye):
            await self.out.flush()
        with trio.move_on_at(deadline):
            await self._all_answered()
        for stream_id, exchange in list(self._exchanges.items()):
            exchange.abort(Status.UNAVAILABLE, "the server is shutting down")
            if stream_id in self._incomplete:
                self._start(stream_id)
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


_TOO_MUCH_IN_ALL: Final = (Status.RESOURCE_EXHAUSTED, "the server is overloaded: it holds too many unread requests")

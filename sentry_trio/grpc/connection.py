"""One HTTP/2 connection: a task that reads, a task for each call, and the graceful end."""

from collections.abc import Iterable
from typing import Final

import trio
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from .admission import Admission, Network
from .call import Call
from .concurrency import ConcurrencyLimiter, FairLimiter
from .connection_timers import ConnectionTimers, TimerAction
from .cpu_budget import SLICE, SLOW_DOWN_SECONDS, CPUBudget, TurnScheduler
from .frames import HIGHEST_STREAM, ErrorCode
from .framing import RefusedError, read_request
from .headers import Header
from .http2 import BrokenOffError, ServerConnection
from .interfaces import Service
from .limits import CALL_BYTES, FRAMES_EARNED_BY_CALL, RECLAIM_PRICE, Limits
from .memory_budget import WHOLE_CONNECTION, MemoryBudget
from .observer import Eviction, Observer
from .outgoing import Outgoing
from .tls import TLSTransport

_DRAIN_PING: Final = b"farewell"
_KEEPALIVE_PING: Final = b"are you?"
_OUT_OF_MEMORY: Final = (Status.RESOURCE_EXHAUSTED, "the server is overloaded: it holds too many unread requests")


class ServerState:
    """State that all connections of one server share.

    Args:
        services: served.
        limits: on peers.
        observer: notified of events.

    Attributes:
        handlers: path to handler.
        admission: of connections.
        limiter: of calls with one reply.
        streaming: limiter of calls whose replies are streamed.
        memory: that calls hold.
        turns: of the event loop.
    """

    def __init__(self, services: Iterable[Service], limits: Limits, observer: Observer) -> None:
        self.handlers = {
            path.encode("ascii"): handler for service in services for path, handler in service.__mapping__().items()
        }
        self.limits = limits
        self.observer = observer
        self.admission = Admission(limits)
        self.limiter = ConcurrencyLimiter(
            running=limits.calls, waiting=limits.calls_waiting, patience=limits.waiting_timeout, observer=observer
        )
        self.streaming = FairLimiter(limits.streaming_calls, observer)
        self.memory = MemoryBudget(limits.unread_bytes_in_all)
        self.turns = TurnScheduler()


class HTTPRequest:
    """HTTP request that is not gRPC: dropped until it ends or reaches a limit, then answered with an HTTP error.

    Until then its stream is open, and what arrives on it must keep to the protocol (RFC 9113, 5.1 and 8.1.1).

    Args:
        headers: of the answer.
        body: of the answer.
        bytes_left: that may arrive before the answer is sent.

    Attributes:
        cost: bytes of the memory budget.
        scope: of the task that answers; None until it is started.
    """

    __slots__ = ("body", "bytes_left", "cost", "headers", "scope", "started_at")

    def __init__(self, headers: tuple[Header, ...], body: bytes, bytes_left: int) -> None:
        self.headers = headers
        self.body = body
        self.bytes_left = bytes_left
        self.cost = CALL_BYTES
        self.started_at = trio.current_time()
        self.scope: trio.CancelScope | None = None


class Connection:
    """Serves the calls of one connection until either side closes it.

    Args:
        nursery: of the tasks of this connection; cancelled when the connection is over.
        transport: the connection, its handshake done.
        peer: the other end's address as the socket names it.
        network: of the peer.
        state: shared with the other connections of the server.

    Attributes:
        unread: bytes that have arrived in requests and that no handler has read yet.
        cpu: pays for what the peer causes.
        held: bytes of the memory budget that its calls take, these among them.
        completed_call: a request was complete, and its call was not aborted.
        h2: parses and composes frames.
        out: sends what is composed.
    """

    def __init__(
        self, nursery: trio.Nursery, transport: TLSTransport, *, peer: object, network: Network, state: ServerState
    ) -> None:
        limits = state.limits
        self.peer = peer
        self.network = network
        self.observer = state.observer
        self.unread = 0
        self.held = 0
        self.completed_call = False
        self.cpu = CPUBudget(limits.control_frames)
        self._nursery = nursery
        self._transport = transport
        self._state = state
        self._limits = limits
        self._memory = state.memory
        self._calls: dict[int, Call] = {}
        self._incomplete: dict[int, Call] = {}  # of these, those whose requests are incomplete
        self._touched: dict[int, None] = {}  # and of these, those that the current read has brought something for
        self._http_requests: dict[int, HTTPRequest] = {}
        self._all_done: trio.Event | None = None
        self._heard = trio.Event()
        self._ponged = trio.Event()
        self._leaving = False
        self._turn = 0
        self._last_stream = HIGHEST_STREAM
        self.h2 = ServerConnection(self, self.cpu, streams=limits.streams, header_bytes=limits.header_bytes)
        self.out = Outgoing(self, self.h2, transport, state.memory, self.cpu, nursery.cancel_scope)
        self._timers = ConnectionTimers(limits, trio.current_time())
        state.admission.idle(self)
        state.memory.opened(self)

    # --- reading

    async def serve(self) -> None:
        """Serves calls until the peer closes, breaks the protocol, or the drain after `leave` is over.

        Then cancels the nursery. Cancellation cuts the connection.
        """
        self.h2.begin()
        # The peer's preface often comes with the end of its handshake: ours then leaves in one write with the answer.
        data = self._transport.arrived()
        if data is None:
            await self.out.flush()
            data = await self._transport.receive()
        if self._state.turns.full:
            await self._next_slice()
        broken_off = False
        try:
            while data:
                self._timers.heard(trio.current_time())
                more = self.h2.receive(data, overhead=self._transport.overhead)
                self._heard.set()
                await self._react()
                while more:
                    await self._next_slice()
                    more = self.h2.resume()
                    await self._react()
                data = await self._transport.receive()
                if self._must_wait():
                    await self._next_slice()
        except BrokenOffError as error:
            if error.code is ErrorCode.ENHANCE_YOUR_CALM:
                self.observer.connection_evicted(self.peer, "work")
            broken_off = True
            data = None
        finally:
            self._leaving = True
            self._state.admission.busy(self)
            for stream_id in list(self._incomplete):
                self._drop(stream_id)
            self._memory.closed(self)
        if broken_off:
            # Outside of the `except` block, whose exception holds what this read has brought.
            await self._break_off()
        self._nursery.cancel_scope.cancel()

    def _must_wait(self) -> bool:
        """Returns whether what has arrived needs another turn; a slice begins with a turn."""
        turns = self._state.turns
        if self._turn == turns.number:
            return self.cpu.used >= SLICE
        self._turn = turns.number
        if turns.full or self.cpu.slowed_down:
            return True
        self.cpu.begin_slice()
        return False

    async def _next_slice(self) -> None:
        if self.cpu.slowed_down:
            await trio.sleep(SLOW_DOWN_SECONDS)
        await self._state.turns.wait(self.network, self.cpu.used)
        self._turn = self._state.turns.number
        self.cpu.begin_slice()

    async def _react(self) -> None:
        if self._touched:
            self._start_complete()
        await self.out.flush()

    async def _break_off(self) -> None:
        for stream_id in [*self._calls, *self._http_requests]:
            self._abandon(stream_id)
        # Closing with bytes unread would send a reset, and a reset destroys the GOAWAY that says why.
        with trio.move_on_after(self._limits.close_timeout):
            await self.out.flush()
            self._transport.half_close()
            while await self._transport.receive():
                pass

    # --- HTTP/2 events

    def request_received(self, stream_id: int, headers: list[Header], *, ended: bool) -> None:
        """Creates a call, or answers a request that is none."""
        if stream_id > self._last_stream:
            self.cpu.charge(1 + self.h2.head_price)
            self.h2.reset(stream_id, ErrorCode.REFUSED_STREAM)
            return
        try:
            request = read_request(headers, self._state.handlers)
        except RefusedError as refusal:
            self._refuse(stream_id, refusal.headers, refusal.body, ended=ended)
            return
        call = Call(self, stream_id, request, self._limits)
        self._calls[stream_id] = self._incomplete[stream_id] = call
        self._touched[stream_id] = None
        self.hold(call.cost)
        if ended:
            call.end()
        self._bound_unread(call)

    def data_received(self, stream_id: int, data: bytes, *, ended: bool) -> None:
        """Passes data to the call."""
        call = self._calls.get(stream_id)
        if call is None:
            self._drop_data(stream_id, len(data), ended=ended)
            return
        if data:
            call.feed(data)
        if ended:
            call.end()
        self._bound_unread(call)
        if stream_id in self._incomplete:
            self._touched[stream_id] = None

    def stream_lost(self, stream_id: int) -> None:
        """Cancels the call."""
        if stream_id in self._incomplete:
            self._drop(stream_id)
        else:
            self._abandon(stream_id)

    def window_opened(self) -> None:
        """Wakes the tasks that wait for it."""
        self.out.window_opened()

    def ping_answered(self, payload: bytes) -> None:
        """Continues the drain."""
        if payload == _DRAIN_PING:
            self._ponged.set()

    # --- calls

    def _start_complete(self) -> None:
        """Starts the calls that the current read has made ready. Not before its end: it may reset them, too."""
        touched, self._touched = self._touched, {}
        for stream_id in touched:
            call = self._incomplete.get(stream_id)
            if call is None:
                continue
            if call.ready:
                self._start(stream_id)
            else:
                self._memory.add(self, stream_id)

    def _start(self, stream_id: int) -> None:
        """Starts the task of a call; one that is rejected is answered without its handler."""
        if len(self._calls) == len(self._incomplete):
            self._state.admission.busy(self)
        call = self._incomplete.pop(stream_id)
        self._memory.discard(self, stream_id)
        limiter = self._state.streaming if call.streams_replies else self._state.limiter
        reserved = not call.aborted
        if reserved:
            try:
                limiter.reserve(call)
            except GRPCError as error:
                reserved = False
                call.abort(error.status, str(error.message))
        self._nursery.start_soon(self._run, stream_id, call, limiter if reserved else None)

    async def _run(self, stream_id: int, call: Call, limiter: ConcurrencyLimiter | FairLimiter | None) -> None:
        status = Status.CANCELLED  # stays if the connection is lost
        try:
            status = await call.run(limiter)
            await self.out.flush()
        finally:
            # Only now: a call is finished when its answer has left, not when it is composed.
            self._finish(stream_id, call, status)
        self.completed_call |= not call.aborted
        if status is not Status.CANCELLED:
            self.cpu.earn(FRAMES_EARNED_BY_CALL)
        if len(self._calls) == len(self._incomplete) and not self._leaving:
            self._state.admission.idle(self)

    def _drop(self, stream_id: int) -> None:
        """Forgets a request that will not be complete."""
        self._memory.discard(self, stream_id)
        self._finish(stream_id, self._incomplete.pop(stream_id), Status.CANCELLED)

    def _finish(self, stream_id: int, call: Call, status: Status) -> None:
        del self._calls[stream_id]
        self.out.forget(stream_id)
        self.weigh(-call.held)
        self._release(call)
        self._stream_finished()
        self.observer.call_finished(call.path, status, trio.current_time() - call.started_at, self.peer)

    def _stream_finished(self) -> None:
        if not (self._calls or self._http_requests):
            self._timers.idle_since = trio.current_time()
            if self._all_done is not None:
                self._all_done.set()

    def _abandon(self, stream_id: int) -> None:
        """Cancels the task of a stream that cannot be answered."""
        if call := self._calls.get(stream_id):
            call.abandon()
        elif request := self._http_requests.get(stream_id):
            if request.scope is None:
                self._finish_http(stream_id)
            else:
                request.scope.cancel()

    def _end_stalled(self, stream_id: int) -> None:
        self.h2.reset(stream_id)
        self._abandon(stream_id)
        self._nursery.start_soon(self.out.flush)

    def _end_incomplete(self, stream_id: int, status: Status, message: str) -> None:
        self._incomplete[stream_id].abort(status, message)
        self._start(stream_id)

    # --- requests that are not gRPC

    def _refuse(self, stream_id: int, headers: tuple[Header, ...], body: bytes | None, *, ended: bool) -> None:
        self.cpu.charge(1 + self.h2.head_price)
        if body is None:
            # A gRPC caller is answered immediately: it may be waiting for just that.
            self.h2.send_headers(stream_id, headers, end_stream=True)
            self.h2.reset(stream_id, ErrorCode.NO_ERROR)
            return
        request = self._http_requests[stream_id] = HTTPRequest(headers, body, self._limits.refused_bytes)
        self.hold(request.cost)
        if ended:
            self._answer_http(stream_id)
        self._memory.reclaim()

    def _drop_data(self, stream_id: int, size: int, *, ended: bool) -> None:
        request = self._http_requests.get(stream_id)
        if request is not None:
            request.bytes_left -= size
            if ended or request.bytes_left < 0:
                self._answer_http(stream_id)

    def _answer_http(self, stream_id: int) -> None:
        request = self._http_requests[stream_id]
        if request.scope is None:
            request.scope = trio.CancelScope()
            self._nursery.start_soon(self._send_http, stream_id, request, request.scope)

    async def _send_http(self, stream_id: int, request: HTTPRequest, scope: trio.CancelScope) -> None:
        answered = False
        try:
            with scope, trio.move_on_after(self._limits.refused_timeout):
                self.h2.send_headers(stream_id, request.headers, end_stream=not request.body)
                await self.out.send_data(stream_id, request.body, end_stream=True)
                answered = True
            # RFC 9113, 8.1: the answer is complete before the request; the rest of the request is not wanted.
            self.h2.reset(stream_id, ErrorCode.NO_ERROR if answered else ErrorCode.CANCEL)
            await self.out.flush()
        finally:
            self._finish_http(stream_id)

    def _finish_http(self, stream_id: int) -> None:
        self._release(self._http_requests.pop(stream_id))
        self.out.forget(stream_id)
        self._stream_finished()

    # --- memory

    def weigh(self, more: int) -> None:
        """Counts unread bytes that are held, or not any more."""
        self.unread += more
        self.held += more
        self._memory.total += more

    def hold(self, more: int) -> None:
        """Counts other bytes that are held, or not any more."""
        self.held += more
        self._memory.total += more

    def _bound_unread(self, call: Call) -> None:
        if self.unread > self._limits.unread_bytes:
            call.abort(
                Status.RESOURCE_EXHAUSTED,
                f"grpc: more than {self._limits.unread_bytes} bytes unread on one connection",
            )
        elif self._memory.total > self._limits.unread_bytes_in_all:
            self.cpu.used += RECLAIM_PRICE
            if not self._memory.reclaim():
                call.abort(*_OUT_OF_MEMORY)

    def reclaim(self, stream_id: int | None) -> bool:
        """Ends a call that waits for the peer, for `WHOLE_CONNECTION` the connection, for None the largest call.

        Their memory is off the budget on return. Returns False if there was nothing to end.
        """
        if stream_id is None:
            return self._abort_largest()
        if stream_id == WHOLE_CONNECTION:
            for call in self._calls.values():
                self._release(call)
            for request in self._http_requests.values():
                self._release(request)
            self.evict("memory")
            return True
        # Their tasks are yet to run, or to end; the budget counts what there is now.
        if stream_id in self._calls:
            self._release(self._calls[stream_id])
        elif stream_id in self._http_requests:
            self._release(self._http_requests[stream_id])
        if stream_id in self._incomplete:
            self._end_incomplete(stream_id, *_OUT_OF_MEMORY)
        else:
            self._end_stalled(stream_id)
        return True

    def _abort_largest(self) -> bool:
        call = max(self._calls.values(), key=lambda call: call.cost + call.held, default=None)
        if call is None or not call.cost:
            return False
        self._release(call)
        call.abort(*_OUT_OF_MEMORY)
        return True

    def _release(self, held: Call | HTTPRequest) -> None:
        self.hold(-held.cost)
        held.cost = 0

    # --- timers

    def tend(self, now: float) -> None:
        """Ends what has taken too long: requests, answers, silence, and the connection itself when it is old."""
        if self._leaving:
            return
        idle = not (self._calls or self._http_requests)
        match self._timers.action(now, idle=idle, sent=self._transport.sent, unsent=self._transport.unsent):
            case TimerAction.CUT:
                self.cut()
            case TimerAction.LEAVE:
                self.leave()
            case TimerAction.PING:
                self.h2.ping(_KEEPALIVE_PING)
                self._nursery.start_soon(self.out.flush)
        for stream_id, call in list(self._incomplete.items()):
            if call.due_at is not None and now >= call.due_at:
                self._end_incomplete(stream_id, Status.DEADLINE_EXCEEDED, "deadline exceeded")
            elif now - call.started_at >= self._limits.receive_timeout:
                why = f"the request has not ended within {self._limits.receive_timeout:g} s"
                self._end_incomplete(stream_id, Status.DEADLINE_EXCEEDED, why)
        for stream_id, request in self._http_requests.items():
            if now - request.started_at >= self._limits.refused_timeout:
                self._answer_http(stream_id)
        for stream_id, since in list(self.out.stalled.items()):
            if now - since >= self._limits.send_timeout:
                self._end_stalled(stream_id)

    def evict(self, reason: Eviction) -> None:
        """Cuts the connection, and reports the reason."""
        self.observer.connection_evicted(self.peer, reason)
        self.cut()

    def cut(self) -> None:
        """Closes the connection now; sends a GOAWAY as far as the socket accepts it."""
        self.out.say_goodbye()
        self._nursery.cancel_scope.cancel()

    # --- leaving

    def leave(self) -> None:
        """Starts the graceful end, if it has not begun; `serve` returns when it is over.

        A GOAWAY announces it. What the peer sends until it has answered a PING is still served. When all calls are
        answered, or at the drain timeout, the connection is closed.
        """
        if not self._leaving:
            self._leaving = True
            self._state.admission.busy(self)
            self._nursery.start_soon(self._drain)

    async def _drain(self) -> None:
        """RFC 9113, 6.8: a first GOAWAY, the round trip of a PING, the final GOAWAY, the last answers, the end."""
        deadline = trio.current_time() + self._limits.drain_timeout
        with trio.move_on_after(self._limits.close_timeout):
            # A peer whose handshake has just ended is heard first: its call is coming.
            await self._heard.wait()
            if self.h2.broken:
                return  # `serve` is about to end the connection, and nothing more can be sent
            self.h2.go_away(HIGHEST_STREAM)
            self.h2.ping(_DRAIN_PING)
            await self.out.flush()
            await self._ponged.wait()
        self._last_stream = self.h2.highest_stream
        self.h2.go_away(self._last_stream)
        with trio.move_on_after(self._limits.close_timeout):
            await self.out.flush()
        with trio.move_on_at(deadline):
            await self._all_answered()
        for stream_id, call in list(self._calls.items()):
            call.abort(Status.UNAVAILABLE, "the server is shutting down")
            if stream_id in self._incomplete:
                self._start(stream_id)
        for stream_id in self._http_requests:
            self._answer_http(stream_id)
        with trio.move_on_after(self._limits.close_timeout):
            await self._all_answered()
        self._transport.half_close()
        # Closing with bytes unread would send a reset, and a reset destroys an answer not yet read; the peer's own
        # close ends the wait early.
        await trio.sleep(self._limits.close_timeout)
        self._nursery.cancel_scope.cancel()

    async def _all_answered(self) -> None:
        while self._calls or self._http_requests:
            self._all_done = trio.Event()
            await self._all_done.wait()

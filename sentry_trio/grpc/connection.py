"""One HTTP/2 connection: a task that reads, a task for each call, and the graceful end."""

import sys
from typing import Final

import trio
from grpclib.const import Status

from .admission import Network
from .call import Call
from .connection_timers import ConnectionTimers, TimerAction
from .cpu_budget import CALL, SLOW_DOWN_SECONDS, CPUBudget, HandshakeWork
from .frames import HIGHEST_STREAM, ErrorCode
from .framing import RefusedError, read_request
from .headers import Header
from .http2 import BrokenOffError, ServerConnection
from .http_requests import HTTPRequest, HTTPRequests
from .limits import CALL_BYTES, FRAMES_EARNED_BY_CALL
from .memory_budget import INCOMPLETE, SLOWED_DOWN, WHOLE_CONNECTION, MemoryBudget
from .observer import Eviction
from .open_calls import OpenCalls
from .outgoing import Outgoing
from .server_state import ServerState
from .tls import TLSTransport
from .turn_scheduler import SLICE

_DRAIN_PING: Final = b"farewell"
_KEEPALIVE_PING: Final = b"are you?"


class Connection:
    """Serves the calls of one connection until either side closes it.

    Args:
        nursery: nursery of this connection's tasks; cancelled when the connection is over.
        transport: TLS, after the handshake.
        peer: address of the other end, from the socket.
        network: network of the peer.
        state: shared with the other connections of the server.
        handshake: cost of this connection's handshake.

    Attributes:
        unread: bytes of requests that no handler has read yet.
        cpu: budget that pays for the peer's work.
        memory: budget of memory for calls.
        held: bytes of the memory budget that its calls take, unread ones included.
        completed_call: true if a request was complete, and its call was not aborted.
        h2: parses and composes frames.
        out: sends composed frames.
    """

    def __init__(
        self,
        nursery: trio.Nursery,
        transport: TLSTransport,
        *,
        peer: object,
        network: Network,
        state: ServerState,
        handshake: HandshakeWork,
    ) -> None:
        limits = state.limits
        self.peer = peer
        self.network = network
        self.observer = state.observer
        self.unread = 0
        self.held = 0
        self.completed_call = False
        self.cpu = CPUBudget(limits.control_frames, state.networks[network])
        self.memory = state.memory
        self._nursery = nursery
        self._transport = transport
        self._state = state
        self._handshake = handshake
        self._limits = limits
        self._calls = OpenCalls(self, nursery, state)
        self._http_requests = HTTPRequests(self, nursery, limits)
        # Parts of `held`: bytes of an incomplete record, frame or header block, and of the peer's table of headers.
        self._partial = 0
        self._table = 0
        self._all_done: trio.Event | None = None
        self._heard = trio.Event()
        self._ponged = trio.Event()
        self._leaving = False
        self._turn = 0
        self._last_stream = HIGHEST_STREAM
        self.h2 = ServerConnection(self, self.cpu, streams=limits.streams, header_bytes=limits.header_bytes)
        self.out = Outgoing(self, self.h2, transport, state.memory, self.cpu)
        self._timers = ConnectionTimers(limits, trio.current_time())
        # Many connections that become readable at once, if only by closing, must not make one long turn.
        transport.before_read = self._take_turn
        transport.on_no_data = self._no_data_received
        state.admission.idle(self)
        state.memory.opened(self)

    # --- reading

    async def serve(self) -> None:
        """Serves calls until the peer closes, breaks the protocol, or the drain after `leave` is over.

        Then cancels the nursery. Cancellation cuts the connection.
        """
        broken_off = False
        try:
            await self._read_until_closed()
        except BrokenOffError as error:
            if error.code is ErrorCode.ENHANCE_YOUR_CALM:
                self.observer.connection_evicted(self.peer, "work")
            broken_off = True
        finally:
            self._leaving = True
            self._state.admission.busy(self)
            self._calls.drop_incomplete()
            self._hold_partial(0)
            self._hold_table(0)
            self.memory.closed(self)
        if broken_off:
            # Outside of the `except` block, because the exception keeps the data of this read in memory.
            await self._break_off()
        await self._end()

    async def _end(self) -> None:
        """Cancels all tasks."""
        await self._wait_to_end_calls()
        self._nursery.cancel_scope.cancel()

    async def _wait_to_end_calls(self) -> None:
        """Waits for a turn that has room for the end of all calls, because other connections may end as well."""
        if self._calls:
            await self._state.turns.wait(self.network, CALL * len(self._calls))

    async def _read_until_closed(self) -> None:
        self.h2.begin()
        data = await self._receive()
        if self._state.turns.full:
            await self._next_slice()
        while data:
            self._timers.heard(trio.current_time())
            size = len(data)
            more = self.h2.receive(data, overhead=self._transport.overhead)
            del data  # while this waits, it would take up to 16 KiB of each connection
            self._heard.set()
            self._react(more=more)
            while more:
                await self._next_slice(size)
                more = self.h2.resume()
                self._react(more=more)
            # Before more is decrypted: bytes that wait, perhaps slowed down, are in memory.
            await self._take_turn()
            data = await self._receive()

    async def _receive(self) -> bytes:
        """Returns data, empty at the end; sends what was composed before it waits for the peer.

        So answers to data that has arrived together leave in one write: often our preface, and the acknowledgment of
        the peer's, which came with the end of its handshake.
        """
        data = self._transport.arrived()
        if data is None:
            await self.out.flush()
            data = await self._transport.receive()
        return data

    def dispose(self) -> None:
        """Breaks the reference cycles of a connection whose tasks have ended.

        They would keep OpenSSL's buffers in memory until a full garbage collection.
        """
        self._transport.before_read = self._transport.on_no_data = None
        del self.h2, self.out, self._calls, self._http_requests

    def _must_wait(self) -> bool:
        """Returns whether the data that has arrived needs another turn; a slice begins with a turn."""
        turns = self._state.turns
        if self._turn == turns.number:
            return self.cpu.used >= SLICE
        self._turn = turns.number
        if turns.full or self.cpu.slowed_down:
            return True
        self.cpu.begin_slice()
        return False

    async def _take_turn(self) -> None:
        if self._must_wait():
            await self._next_slice()

    async def _next_slice(self, unprocessed: int = 0) -> None:
        """Sends what was composed, and waits for another slice; `unprocessed` bytes are decrypted and wait, too."""
        await self.out.flush()
        unprocessed += self._transport.buffered
        self.hold(unprocessed)
        try:
            if self.cpu.slowed_down:
                await self._slow_down()
            await self._state.turns.wait(self.network, self.cpu.used)
        finally:
            self.hold(-unprocessed)
        if self._transport.was_reset():
            # A flood may have left much that needs no answer. Not before the slice: ending many connections takes long.
            await self._end()
            await trio.lowlevel.checkpoint()
        self._turn = self._state.turns.number
        self.cpu.begin_slice()

    async def _slow_down(self) -> None:
        self.memory.add(self, SLOWED_DOWN)
        self.reclaim_memory()
        await trio.sleep(SLOW_DOWN_SECONDS)
        self.memory.discard(self, SLOWED_DOWN)

    def _react(self, *, more: bool) -> None:
        self._calls.start_complete(more=more)
        if self.h2.table_bytes != self._table:
            self._hold_table(self.h2.table_bytes)
            self.reclaim_memory()
        self._count_partial()

    def _no_data_received(self, dataless: int) -> None:
        """Charges bytes of TLS records without data, and counts a record that is not complete."""
        if dataless:
            self.h2.charge_records(dataless)
        self._count_partial()

    def _count_partial(self) -> None:
        size = self.h2.incomplete + self._transport.incomplete
        if size != self._partial:
            self._hold_partial(size)
            self.reclaim_memory()

    async def _break_off(self) -> None:
        await self._wait_to_end_calls()
        self._calls.abandon_all()
        self._http_requests.abandon_all()
        # Closing with bytes unread would send a reset, and a reset destroys the GOAWAY that says why.
        with trio.move_on_after(self._limits.close_timeout):
            await self.out.flush()
            self._transport.half_close()
            await self._transport.discard()

    # --- HTTP/2 events

    def request_received(self, stream_id: int, headers: list[Header], *, ended: bool) -> None:
        """Creates a call, or answers a request that is not gRPC."""
        if stream_id > self._last_stream:
            self.cpu.charge(1 + self.h2.head_price)
            self.h2.reset(stream_id, ErrorCode.REFUSED_STREAM)
            return
        try:
            request = read_request(headers, self._state.handlers)
        except RefusedError as refusal:
            self._http_requests.refuse(stream_id, refusal, ended=ended)
            if self._http_requests:
                self.reclaim_memory()
            return
        self._calls.open(stream_id, request, ended=ended)

    def data_received(self, stream_id: int, data: bytes, *, ended: bool) -> bool:
        """Passes data to the call; returns False if it needs another slice to decompress it."""
        if stream_id in self._calls:
            return self._calls.feed(stream_id, data, ended=ended)
        self._http_requests.drop_data(stream_id, len(data), ended=ended)
        return True

    def stream_lost(self, stream_id: int) -> None:
        """Ends the call or request of a stream that cannot be answered."""
        if not self._calls.abandon(stream_id):
            self._http_requests.abandon(stream_id)

    def window_opened(self) -> None:
        """Wakes a task that waits for the window; it wakes the next one."""
        self.out.window_opened()

    def ping_answered(self, payload: bytes) -> None:
        """Continues the drain."""
        if payload == _DRAIN_PING:
            self._ponged.set()

    # --- calls

    def call_ended(self, call: Call, status: Status) -> None:
        """Rewards the peer for a call whose answer was sent, and notes when none is running."""
        if not (call.aborted or self.completed_call):
            self.completed_call = True
            self._handshake.give_back()
        if status is not Status.CANCELLED:
            self.cpu.earn(FRAMES_EARNED_BY_CALL)
        if not (self._leaving or self._calls.any_running):
            self._state.admission.idle(self)

    async def wait_for_part(self, seconds: float, place: int | None) -> int | None:
        """Waits for a turn for a part of a call's work; see `TurnScheduler.wait_for_part`."""
        return await self._state.turns.wait_for_part(self.network, seconds, place)

    def stream_finished(self) -> None:
        """Notes when the last stream has ended."""
        if not (self._calls or self._http_requests):
            self._timers.idle_since = trio.current_time()
            if self._all_done is not None:
                self._all_done.set()

    def _end_stalled(self, stream_id: int) -> None:
        self.h2.reset(stream_id)
        self.stream_lost(stream_id)
        self._nursery.start_soon(self.out.flush)

    # --- memory

    def weigh(self, more: int) -> None:
        """Counts unread bytes that were added, or released if negative."""
        self.unread += more
        self.held += more
        self.memory.total += more

    def hold(self, more: int) -> None:
        """Counts other bytes that were added, or released if negative."""
        self.held += more
        self.memory.total += more

    def _hold_partial(self, size: int) -> None:
        self.hold(size - self._partial)
        self._partial = size
        # Less is not worth a connection.
        if size > CALL_BYTES:
            self.memory.add(self, INCOMPLETE)
        else:
            self.memory.discard(self, INCOMPLETE)

    def _hold_table(self, size: int) -> None:
        self.hold(size - self._table)
        self._table = size

    def reclaim_memory(self) -> bool:
        """Frees memory if all connections together hold too much; returns False if there is nothing to free."""
        if not self.memory.exceeded:
            return True
        price = self.memory.reclaim(SLICE)
        self.cpu.used += price
        return price > 0

    def reclaim(self, stream_id: int | None) -> int:
        """Ends a call that waits for the peer, or the connection, or for None the largest call.

        Its memory is off the budget on return. Returns the number of calls and connections that end.
        """
        if stream_id is None and self._calls.reject_largest():
            return 1
        if stream_id is None and not self.held:
            return 0
        if stream_id is None or stream_id <= WHOLE_CONNECTION:
            self._evict_for_memory()
            return 1 + len(self._calls)
        # Their tasks run or end later; the budget is reduced now.
        self._http_requests.release(stream_id)
        if not self._calls.reclaim(stream_id):
            self._end_stalled(stream_id)
        return 1

    def _evict_for_memory(self) -> None:
        self.memory.total -= self.held
        self.memory.closed(self)
        # Memory that it holds until its tasks have ended is counted separately.
        self.memory = MemoryBudget(sys.maxsize, 0)
        self.memory.opened(self)
        self.evict("memory")

    def release(self, held: Call | HTTPRequest) -> None:
        """Takes the memory of a call or request, beside unread bytes, off the budget."""
        self.hold(-held.cost)
        held.cost = 0

    # --- timers

    def tend(self, now: float) -> int:
        """Applies timeouts: of requests, responses, silence, and of the connection's age.

        Returns:
            Number of calls and requests that it has ended.
        """
        if self._leaving:
            return 0
        idle = not (self._calls or self._http_requests)
        match self._timers.action(now, idle=idle, sent=self._transport.sent, unsent=self._transport.unsent):
            case TimerAction.CUT:
                self.cut()
                return 1 + len(self._calls)
            case TimerAction.LEAVE:
                self.leave()
            case TimerAction.PING:
                self.h2.ping(_KEEPALIVE_PING)
                self._nursery.start_soon(self.out.flush)
        ended = self._calls.reject_overdue(now) + self._http_requests.answer_overdue(now)
        for stream_id, since in list(self.out.stalled.items()):
            if now - since >= self._limits.send_timeout:
                self._end_stalled(stream_id)
                ended += 1
        return ended

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

        A GOAWAY announces it. Calls that arrive before the peer has answered a PING are still served. The connection is
        closed when all calls are answered, or at the drain timeout.
        """
        if not self._leaving:
            self._leaving = True
            self._state.admission.busy(self)
            self._nursery.start_soon(self._drain)

    async def _drain(self) -> None:
        """RFC 9113, 6.8: a first GOAWAY, the round trip of a PING, the final GOAWAY, the last answers, the end."""
        deadline = trio.current_time() + self._limits.drain_timeout
        with trio.move_on_after(self._limits.close_timeout):
            # Not before the first bytes of a peer that has just ended its handshake: its call is coming.
            await self._heard.wait()
            await self._state.turns.wait_if_full(self.network, 0)  # all connections leave at once
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
        # All connections come here at once, with many calls.
        await self._state.turns.wait(self.network, CALL * len(self._calls))
        self._calls.abort_all(Status.UNAVAILABLE, "the server is shutting down")
        self._http_requests.answer_all()
        with trio.move_on_after(self._limits.close_timeout):
            await self._all_answered()
        self._transport.half_close()
        # Closing with bytes unread would send a reset, and a reset destroys an answer not yet read. The peer's own
        # close ends the wait early.
        await trio.sleep(self._limits.close_timeout)
        self._nursery.cancel_scope.cancel()

    async def _all_answered(self) -> None:
        while self._calls or self._http_requests:
            self._all_done = trio.Event()
            await self._all_done.wait()

"""Open calls of one connection: their requests, their tasks, and the memory that they take."""

from typing import TYPE_CHECKING, Final

import trio
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from .call import Call
from .concurrency import ConcurrencyLimiter, FairLimiter
from .cpu_budget import CALL
from .framing import CallRequest
from .limits import TASK_BYTES
from .server_state import ServerState

if TYPE_CHECKING:
    from .connection import Connection

_OUT_OF_MEMORY: Final = (Status.RESOURCE_EXHAUSTED, "the server is overloaded: it holds too many unread requests")


class OpenCalls:
    """Open calls of one connection, from their headers until their answers are sent.

    Args:
        connection: their connection.
        nursery: nursery of the tasks that run them.
        state: shared by the connections of the server.
    """

    __slots__ = ("_by_stream", "_connection", "_incomplete", "_nursery", "_state", "_touched")

    def __init__(self, connection: "Connection", nursery: trio.Nursery, state: ServerState) -> None:
        self._connection = connection
        self._nursery = nursery
        self._state = state
        self._by_stream: dict[int, Call] = {}
        self._incomplete: dict[int, Call] = {}  # of these, calls with incomplete requests
        self._touched: dict[int, None] = {}  # and of these, those that have got data by the current read

    def __len__(self) -> int:
        return len(self._by_stream)

    def __contains__(self, stream_id: int) -> bool:
        return stream_id in self._by_stream

    @property
    def any_running(self) -> bool:
        """True if a call has a task; incomplete requests have none."""
        return len(self._by_stream) > len(self._incomplete)

    # --- requests

    def open(self, stream_id: int, request: CallRequest, *, ended: bool) -> None:
        """Creates a call."""
        call = Call(self._connection, stream_id, request, self._state.limits)
        self._by_stream[stream_id] = self._incomplete[stream_id] = call
        self._touched[stream_id] = None
        self._connection.hold(call.cost)
        if ended:
            call.end()
        self._bound_unread(call)

    def feed(self, stream_id: int, data: bytes, *, ended: bool) -> bool:
        """Passes data to an open call; returns False if it must be called again as `Call.feed`."""
        call = self._by_stream[stream_id]
        fed = call.feed(data) if data or call.paused else True
        if fed and ended:
            call.end()
        self._bound_unread(call)
        if stream_id in self._incomplete:
            self._touched[stream_id] = None
        return fed

    def start_complete(self, *, more: bool) -> None:
        """Starts the calls that the current slice has made ready; at its end, because the slice may reset them, too.

        Others wait for the peer, unless `more` of the current read is to be processed.
        """
        if not self._touched:
            return
        touched, self._touched = self._touched, {}
        for stream_id in touched:
            call = self._incomplete.get(stream_id)
            if call is None:
                continue
            if call.ready:
                self._start(stream_id)
            elif more:
                self._touched[stream_id] = None
            else:
                self._connection.memory.add(self._connection, stream_id)

    def reject_overdue(self, now: float) -> int:
        """Rejects the calls whose requests have not ended in time; returns their number."""
        before = len(self._incomplete)
        timeout = self._state.limits.receive_timeout
        for stream_id, call in list(self._incomplete.items()):
            if call.due_at is not None and now >= call.due_at:
                self.reject_incomplete(stream_id, Status.DEADLINE_EXCEEDED, "deadline exceeded")
            elif now - call.started_at >= timeout:
                why = f"the request has not ended within {timeout:g} s"
                self.reject_incomplete(stream_id, Status.DEADLINE_EXCEEDED, why)
        return before - len(self._incomplete)

    def reject_incomplete(self, stream_id: int, status: Status, message: str) -> bool:
        """Responds to a call whose request is not complete; returns False if there is none on this stream."""
        call = self._incomplete.get(stream_id)
        if call is None:
            return False
        call.abort(status, message)
        self._start(stream_id)
        return True

    # --- tasks

    def _start(self, stream_id: int) -> None:
        """Starts the task of a call; one that is rejected is answered without its handler."""
        if not self.any_running:
            self._state.admission.busy(self._connection)
        call = self._incomplete.pop(stream_id)
        self._connection.memory.discard(self._connection, stream_id)
        limiter = self._state.streaming if call.streams_replies else self._state.limiter
        reserved = not call.aborted
        if reserved:
            try:
                limiter.reserve(call)
            except GRPCError as error:
                reserved = False
                call.abort(error.status, str(error.message))
        if reserved:
            self._connection.hold(TASK_BYTES)
            call.cost += TASK_BYTES
        self._nursery.start_soon(self._run, stream_id, call, limiter if reserved else None)

    async def _run(self, stream_id: int, call: Call, limiter: ConcurrencyLimiter | FairLimiter | None) -> None:
        status = Status.CANCELLED  # stays if the connection is lost
        number = self._state.deadlines.add(call)
        try:
            status = await call.run(limiter)
            await self._connection.out.flush()
        finally:
            self._state.deadlines.remove(number)
            # Not earlier: a call is finished when its answer was sent, not when it was composed.
            self._finish(stream_id, call, status)
        self._connection.call_ended(call, status)

    def _finish(self, stream_id: int, call: Call, status: Status) -> None:
        connection = self._connection
        del self._by_stream[stream_id]
        connection.out.forget(stream_id)
        connection.weigh(-call.held)
        connection.release(call)
        connection.stream_finished()
        connection.observer.call_finished(call.path, status, trio.current_time() - call.started_at, call.peer)

    # --- the end

    def abandon(self, stream_id: int) -> bool:
        """Ends a call that cannot be answered; returns False if it is not open."""
        if stream_id in self._incomplete:
            self._drop(stream_id)
        elif call := self._by_stream.get(stream_id):
            call.abandon()
            self._connection.cpu.used += CALL  # hundreds of tasks would end in one turn
        else:
            return False
        return True

    def abandon_all(self) -> None:
        """Cancels the tasks of all calls."""
        for call in self._by_stream.values():
            call.abandon()

    def drop_incomplete(self) -> None:
        """Forgets the requests that will not be complete."""
        for stream_id in list(self._incomplete):
            self._drop(stream_id)

    def _drop(self, stream_id: int) -> None:
        self._connection.memory.discard(self._connection, stream_id)
        self._finish(stream_id, self._incomplete.pop(stream_id), Status.CANCELLED)

    def abort_all(self, status: Status, message: str) -> None:
        """Responds to all calls, also incomplete ones."""
        for stream_id, call in list(self._by_stream.items()):
            call.abort(status, message)
            if stream_id in self._incomplete:
                self._start(stream_id)

    # --- memory

    def _bound_unread(self, call: Call) -> None:
        connection, limit = self._connection, self._state.limits.unread_bytes
        if connection.unread > limit:
            call.abort(Status.RESOURCE_EXHAUSTED, f"grpc: more than {limit} bytes unread on one connection")
        elif not connection.reclaim_memory():
            call.abort(*_OUT_OF_MEMORY)

    def reclaim(self, stream_id: int) -> bool:
        """Takes the memory of a call off the budget and rejects an incomplete one; returns True if it did."""
        if call := self._by_stream.get(stream_id):
            self._connection.release(call)
        return self.reject_incomplete(stream_id, *_OUT_OF_MEMORY)

    def reject_largest(self) -> bool:
        """Rejects the call that takes most memory, which is off the budget on return; returns False without a call."""
        call = max(self._by_stream.values(), key=lambda call: call.cost + call.held, default=None)
        if call is None or not call.cost:
            return False
        self._connection.release(call)
        call.abort(*_OUT_OF_MEMORY)
        return True

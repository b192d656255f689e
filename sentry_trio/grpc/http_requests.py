"""HTTP requests of one connection that are not gRPC."""

from typing import TYPE_CHECKING

import trio

from .frames import ErrorCode
from .framing import RefusedError
from .headers import Header
from .limits import CALL_BYTES, TASK_BYTES, Limits

if TYPE_CHECKING:
    from .connection import Connection


class HTTPRequest:
    """HTTP request that is not gRPC: dropped until it ends or reaches a limit, then answered with an HTTP error.

    Until then its stream is open, and its frames must obey the protocol (RFC 9113, 5.1 and 8.1.1).

    Args:
        headers: headers of the answer.
        body: body of the answer.
        bytes_left: bytes that may arrive before the answer is sent.

    Attributes:
        cost: bytes of the memory budget.
        scope: scope of the task that answers; None until it is started.
    """

    __slots__ = ("body", "bytes_left", "cost", "headers", "scope", "started_at")

    def __init__(self, headers: tuple[Header, ...], body: bytes, bytes_left: int) -> None:
        self.headers = headers
        self.body = body
        self.bytes_left = bytes_left
        self.cost = CALL_BYTES + TASK_BYTES
        self.started_at = trio.current_time()
        self.scope: trio.CancelScope | None = None


class HTTPRequests:
    """Open HTTP requests of one connection.

    Args:
        connection: their connection.
        nursery: nursery of the tasks that answer.
        limits: limits on size and time of a request, and on the time of its answer.
    """

    __slots__ = ("_connection", "_limits", "_nursery", "_open")

    def __init__(self, connection: "Connection", nursery: trio.Nursery, limits: Limits) -> None:
        self._connection = connection
        self._nursery = nursery
        self._limits = limits
        self._open: dict[int, HTTPRequest] = {}

    def __bool__(self) -> bool:
        return bool(self._open)

    def refuse(self, stream_id: int, refusal: RefusedError, *, ended: bool) -> None:
        """Answers a request that is not a call: a gRPC client at once, another client when its request has ended."""
        h2 = self._connection.h2
        self._connection.cpu.charge(1 + h2.head_price)
        if refusal.body is None:
            # A gRPC client is answered immediately: it may be waiting for the answer.
            h2.send_headers(stream_id, refusal.headers, end_stream=True)
            h2.reset(stream_id, ErrorCode.NO_ERROR)
            return
        request = HTTPRequest(refusal.headers, refusal.body, self._limits.refused_bytes)
        self._open[stream_id] = request
        self._connection.hold(request.cost)
        if ended:
            self._answer(stream_id)

    def drop_data(self, stream_id: int, size: int, *, ended: bool) -> None:
        """Counts data of a request, if it is open; answers at its end or limit."""
        request = self._open.get(stream_id)
        if request is not None:
            request.bytes_left -= size
            if ended or request.bytes_left < 0:
                self._answer(stream_id)

    def answer_all(self) -> None:
        """Answers all requests, also incomplete ones."""
        for stream_id in self._open:
            self._answer(stream_id)

    def answer_overdue(self, now: float) -> int:
        """Answers the requests that have not ended in time; returns their number."""
        oldest = now - self._limits.refused_timeout
        overdue = [
            stream_id
            for stream_id, request in self._open.items()
            if request.scope is None and request.started_at <= oldest
        ]
        for stream_id in overdue:
            self._answer(stream_id)
        return len(overdue)

    def abandon(self, stream_id: int) -> None:
        """Ends a request that cannot be answered, if it is open."""
        request = self._open.get(stream_id)
        if request is None:
            return
        if request.scope is None:
            self._finish(stream_id)
        else:
            request.scope.cancel()

    def abandon_all(self) -> None:
        """Ends all requests without an answer."""
        for stream_id in list(self._open):
            self.abandon(stream_id)

    def release(self, stream_id: int) -> None:
        """Takes the memory of a request off the budget, if it is open."""
        if request := self._open.get(stream_id):
            self._connection.release(request)

    def _answer(self, stream_id: int) -> None:
        request = self._open[stream_id]
        if request.scope is None:
            request.scope = trio.CancelScope()
            self._nursery.start_soon(self._send, stream_id, request, request.scope)

    async def _send(self, stream_id: int, request: HTTPRequest, scope: trio.CancelScope) -> None:
        h2, out = self._connection.h2, self._connection.out
        answered = False
        try:
            with scope, trio.move_on_after(self._limits.refused_timeout):
                h2.send_headers(stream_id, request.headers, end_stream=not request.body)
                await out.send_data(stream_id, request.body, end_stream=True)
                answered = True
            # RFC 9113, 8.1: the answer is complete before the request; the rest of the request is not needed.
            h2.reset(stream_id, ErrorCode.NO_ERROR if answered else ErrorCode.CANCEL)
            await out.flush()
        finally:
            self._finish(stream_id)

    def _finish(self, stream_id: int) -> None:
        self._connection.release(self._open.pop(stream_id))
        self._connection.out.forget(stream_id)
        self._connection.stream_finished()

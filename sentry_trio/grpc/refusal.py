"""The answer to a request that is no gRPC."""

import trio
from grpclib.const import Status
from h2.errors import ErrorCodes

from .limits import Limits
from .ports import Carrier
from .wire import RefusedError


class Refusal:
    """Tells an HTTP client what is asked for here, once its request has ended.

    Until then its stream is open, and whatever it sends there is held to the protocol (RFC 9113, 5.1 and 8.1.1); the
    request itself is read and dropped. A request that does not end is answered at the bounds of `Limits`.

    A call that is refused is not answered here but at once: its caller may be waiting for just that answer.

    Args:
        carrier: the connection.
        stream_id: of the request.
        answer: what is told.
        limits: how long and how much of the request is waited for.

    Attributes:
        held: none of the request is kept.
    """

    __slots__ = ("_answer", "_carrier", "_due", "_left", "_limits", "_scope", "_stream_id", "held")

    def __init__(self, carrier: Carrier, stream_id: int, answer: RefusedError, limits: Limits) -> None:
        self.held = 0
        self._carrier = carrier
        self._stream_id = stream_id
        self._answer = answer
        self._limits = limits
        self._left = limits.refused_bytes
        self._due = trio.Event()
        self._scope = trio.CancelScope()

    def feed(self, data: bytes) -> None:
        """Drops data; more of it than the bound makes the answer due."""
        self._left -= len(data)
        if self._left < 0:
            self._due.set()

    def end(self) -> None:
        """The request has ended: the answer is due."""
        self._due.set()

    def abandon(self) -> None:
        """The peer has reset the stream: nothing is answered."""
        self._scope.cancel()

    def abort(self, status: Status, message: str) -> None:  # noqa: ARG002  # there is no call to end so
        """The answer is due now."""
        self._due.set()

    async def run(self) -> Status:
        """Composes the answer when it is due; a peer that does not take it in time is reset.

        Returns Unknown, which is what gRPC clients make of the answer, or Cancelled where it was not given.
        """
        given = False
        with self._scope:
            with trio.move_on_after(self._limits.refused_timeout):
                await self._due.wait()
            with trio.move_on_after(self._limits.refused_timeout):
                body = self._answer.body or b""
                self._carrier.send_headers(self._stream_id, self._answer.headers, end_stream=not body)
                await self._carrier.send_data(self._stream_id, body, end_stream=True)
                given = True
        # RFC 9113, 8.1: where the answer is whole before the request is, what is still to come is not wanted.
        self._carrier.reset(self._stream_id, code=ErrorCodes.NO_ERROR if given else ErrorCodes.CANCEL)
        return Status.UNKNOWN if given else Status.CANCELLED

    def finished(self, status: Status) -> None:
        """Nobody is told: there was no call."""

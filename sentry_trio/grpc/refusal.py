"""The answer to a request that is no gRPC."""

import trio
from grpclib.const import Status

from .fields import Header
from .frames import ErrorCode
from .limits import Limits
from .ports import Carrier
from .shared import Limiter, Shared


class Refusal:
    """Tells an HTTP client what is asked for here, once its request has ended.

    Until then its stream is open, and whatever it sends there is held to the protocol (RFC 9113, 5.1 and 8.1.1); the
    request itself is read and dropped. A request that does not end is answered at the bounds of `Limits`.

    A call that is refused is not answered here but at once: its caller may be waiting for just that answer.

    Args:
        carrier: the connection.
        stream_id: of the request.
        headers: of the answer.
        body: of the answer.
        limits: how long and how much of the request is waited for.

    Attributes:
        held: none of the request is kept.
        cost: next to nothing.
        started_at: when its head arrived, on Trio's clock.
        due_at: HTTP clients do not say.
        patience: how long the end of the request is waited for, in seconds.
        ready: the answer is due.
    """

    __slots__ = (
        "_body",
        "_headers",
        "_left",
        "_out",
        "_scope",
        "_stream_id",
        "cost",
        "due_at",
        "held",
        "patience",
        "ready",
        "started_at",
    )

    def __init__(
        self, carrier: Carrier, stream_id: int, headers: tuple[Header, ...], body: bytes, limits: Limits
    ) -> None:
        self.held = self.cost = 0
        self.started_at = trio.current_time()
        self.due_at: float | None = None
        self.patience = limits.refused_timeout
        self.ready = False
        self._out = carrier.out
        self._stream_id = stream_id
        self._headers = headers
        self._body = body
        self._left = limits.refused_bytes
        self._scope = trio.CancelScope()

    def admit(self, shared: Shared) -> Limiter | None:  # noqa: ARG002  # what calls need
        """Returns None: this answer needs no place."""
        return None

    def feed(self, data: bytes) -> None:
        """Drops data; more of it than the bound makes the answer due."""
        self._left -= len(data)
        if self._left < 0:
            self.ready = True

    def end(self) -> None:
        """The request has ended: the answer is due."""
        self.ready = True

    def abandon(self) -> None:
        """The peer has reset the stream: nothing is answered."""
        self._scope.cancel()

    def abort(self, status: Status, message: str) -> None:  # noqa: ARG002  # there is no call to end so
        """The answer is due now."""
        self.ready = True

    async def run(self, limiter: Limiter | None) -> Status:  # noqa: ARG002  # what calls need
        """Composes the answer; a peer that does not take it in time is reset.

        Returns Unknown, which is what gRPC clients make of the answer, or Cancelled where it was not given.
        """
        given = False
        with self._scope, trio.move_on_after(self.patience):
            self._out.send_headers(self._stream_id, self._headers, end_stream=not self._body)
            await self._out.send_data(self._stream_id, self._body, end_stream=True)
            given = True
        # RFC 9113, 8.1: where the answer is whole before the request is, what is still to come is not wanted.
        self._out.reset(self._stream_id, code=ErrorCode.NO_ERROR if given else ErrorCode.CANCEL)
        return Status.UNKNOWN if given else Status.CANCELLED

    def finished(self, status: Status) -> None:
        """Nobody is told: there was no call."""

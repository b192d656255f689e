"""The faces of a call: what a handler may rely on, what its connection does, and what the call relies on itself."""

from collections.abc import Sequence
from typing import Protocol, TypeVar

from grpclib.const import Status
from h2.errors import ErrorCodes

from .observer import Observer
from .wire import Header

Received_co = TypeVar("Received_co", covariant=True)
Sent_contra = TypeVar("Sent_contra", contravariant=True)


class ServerStream(Protocol[Received_co, Sent_contra]):
    """What a handler may rely on, here as under `grpclib.server.Server`."""

    async def recv_message(self) -> Received_co | None:
        """The next message, or None when the caller has sent its last."""

    async def send_message(self, message: Sent_contra) -> None:
        """Sends a message."""


class Exchange(Protocol):
    """What a connection relies on in what it carries on one stream: a call, or the answer to what is none.

    Attributes:
        held: bytes that have arrived for it and that nobody has taken yet.
    """

    held: int

    def feed(self, data: bytes) -> None:
        """Takes data that arrived for it."""

    def end(self) -> None:
        """The peer has sent its last."""

    def abandon(self) -> None:
        """The peer has reset the stream: nothing is to be answered."""

    def abort(self, status: Status, message: str) -> None:
        """It has to end now, with the status given."""

    async def run(self) -> Status:
        """Composes the answer, which the connection flushes. Returns how it ended; Cancelled where nobody is told."""

    def finished(self, status: Status) -> None:
        """The answer has left, or could not; `status` is what `run` returned, or Cancelled."""


class Carrier(Protocol):
    """What a call needs of the connection that carries it; see there.

    Attributes:
        peer: the other end's address as the socket names it.
        observer: who is told what happens.
        unread: bytes that have arrived for all calls of the connection and that no handler has taken yet.
    """

    peer: object
    observer: Observer
    unread: int

    def send_headers(self, stream_id: int, headers: Sequence[Header], *, end_stream: bool = False) -> None:
        """Composes HEADERS."""

    async def send_data(self, stream_id: int, data: bytes, *, end_stream: bool = False) -> None:
        """Composes DATA; waits while the peer's window is full."""

    def reset(self, stream_id: int, *, code: ErrorCodes = ErrorCodes.CANCEL) -> None:
        """Composes RST_STREAM."""

    async def flush(self) -> None:
        """Sends what is composed."""

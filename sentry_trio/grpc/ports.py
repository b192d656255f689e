"""The two faces of a call: what a handler may rely on, and what the call relies on itself."""

from collections.abc import Sequence
from typing import Protocol, TypeVar

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

    async def send_data(self, stream_id: int, data: bytes) -> None:
        """Composes DATA; waits while the peer's window is full."""

    def reset(self, stream_id: int, *, code: ErrorCodes = ErrorCodes.CANCEL) -> None:
        """Composes RST_STREAM."""

    async def flush(self) -> None:
        """Sends what is composed."""

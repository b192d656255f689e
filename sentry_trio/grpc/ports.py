"""The faces of a call: what a handler may rely on, what its connection does, and what the call relies on itself."""

from typing import Protocol, TypeVar

from grpclib.const import Status

from .fields import Header
from .frames import ErrorCode
from .observer import Observer
from .peers import Network
from .shared import Limiter, Shared

Received_co = TypeVar("Received_co", covariant=True)
Sent_contra = TypeVar("Sent_contra", contravariant=True)


class ServerStream(Protocol[Received_co, Sent_contra]):
    """What a handler may rely on, here as under `grpclib.server.Server`."""

    @property
    def peer(self) -> object:
        """The caller's address: here as its socket names it, in grpclib an object that tells it."""

    async def recv_message(self) -> Received_co | None:
        """The next message, or None when the caller has sent its last."""

    async def send_message(self, message: Sent_contra) -> None:
        """Sends a message."""


class Exchange(Protocol):
    """What a connection relies on in what it carries on one stream: a call, or the answer to what is none.

    Attributes:
        held: bytes that have arrived for it and that nobody has taken yet.
        cost: bytes that it takes beside, as long as it lasts.
        started_at: when its head arrived, on Trio's clock.
        due_at: when whoever asked gives up; None where that was not said.
        patience: how long its request may take to be whole, in seconds.
    """

    held: int
    cost: int
    started_at: float
    due_at: float | None
    patience: float

    @property
    def ready(self) -> bool:
        """Whether enough of the request is there for `run`."""

    def admit(self, shared: Shared) -> Limiter | None:
        """Takes a place from the limiter of its work; returns None if it needs none, or was rejected and answers so."""

    def feed(self, data: bytes) -> None:
        """Takes data that arrived for it."""

    def end(self) -> None:
        """The peer has sent its last."""

    def abandon(self) -> None:
        """The peer has reset the stream: nothing is to be answered."""

    def abort(self, status: Status, message: str) -> None:
        """It has to end now, with the status given; one that does not run yet answers so when it is run."""

    async def run(self, limiter: Limiter | None) -> Status:
        """Composes the answer, which the connection flushes. Returns how it ended; Cancelled where nobody is told.

        Args:
            limiter: it has been admitted there, and enters before its work begins.
        """

    def finished(self, status: Status) -> None:
        """The answer has left, or could not; `status` is what `run` returned, or Cancelled."""


class Out(Protocol):
    """What leaves, as far as an exchange needs it; see `Outgoing`."""

    def send_headers(self, stream_id: int, headers: tuple[Header, ...], *, end_stream: bool = False) -> None:
        """Composes HEADERS."""

    async def send_data(self, stream_id: int, data: bytes, *, end_stream: bool = False) -> None:
        """Composes DATA; waits while the peer's window is full."""

    def reset(self, stream_id: int, *, code: ErrorCode = ErrorCode.CANCEL) -> None:
        """Composes RST_STREAM."""

    async def flush(self) -> None:
        """Sends what is composed."""


class Carrier(Protocol):
    """What an exchange needs of the connection that carries it; see there.

    Attributes:
        peer: the other end's address as the socket names it.
        network: of the peer.
    """

    peer: object
    network: Network

    @property
    def out(self) -> Out:
        """What leaves."""

    @property
    def observer(self) -> Observer:
        """Who is told what happens."""

    def weigh(self, more: int) -> None:
        """Counts bytes that a call holds, or not any more."""

"""Interfaces of services and their handlers."""

from collections.abc import Mapping
from typing import Protocol, TypeVar

from grpclib.const import Handler

from .admission import Network

Received_co = TypeVar("Received_co", covariant=True)
Sent_contra = TypeVar("Sent_contra", contravariant=True)


class Service(Protocol):
    """Service as grpclib's protoc plugin generates it."""

    def __mapping__(self) -> Mapping[str, Handler]:
        """Returns the handlers by path."""


class ServerStream(Protocol[Received_co, Sent_contra]):
    """Call as its handler sees it; all but `network` and `wait_for_turn` as under `grpclib.server.Server`."""

    @property
    def peer(self) -> object:
        """The caller's address: here from its socket, in grpclib an object with methods for it."""

    @property
    def network(self) -> Network:
        """Network that identifies the peer, for fair shares."""

    async def recv_message(self) -> Received_co | None:
        """Waits for the next message; returns None if the caller has sent its last."""

    async def send_message(self, message: Sent_contra) -> None:
        """Sends a message."""

    async def wait_for_turn(self, seconds: float) -> None:
        """Waits for a turn of the event loop that has room for work of the handler; no checkpoint if this one has.

        Args:
            seconds: CPU time of work that would delay others if many calls did it in one turn.
        """

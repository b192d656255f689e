"""What all connections of one server share."""

from collections.abc import Iterable, Mapping
from typing import Protocol

from grpclib.const import Handler

from .gate import Gate
from .holdings import Holdings
from .limits import Limits
from .observer import Observer


class Service(Protocol):
    """A service as grpclib's protoc plugin generates them."""

    def __mapping__(self) -> Mapping[str, Handler]:
        """Path to handler."""


class Leaver(Protocol):
    """A connection, as far as it can be asked to make room."""

    def cut(self) -> None:
        """Ends the connection now."""


class Shared:
    """What all connections of one server share.

    Args:
        services: what is served.
        limits: what peers may take.
        observer: who is told what happens.

    Attributes:
        handlers: path to handler.
        gate: for calls that are answered once.
        streaming_gate: for calls that are answered for as long as their caller stays; none of them waits.
        holdings: of all connections.
        idle: connections without calls, the one that has been so for longest first.
    """

    def __init__(self, services: Iterable[Service], limits: Limits, observer: Observer) -> None:
        self.handlers = {
            path.encode("ascii"): handler for service in services for path, handler in service.__mapping__().items()
        }
        self.limits = limits
        self.observer = observer
        self.gate = _gate(limits, observer)
        self.streaming_gate = _gate(limits, observer)
        self.idle: dict[Leaver, None] = {}
        self.holdings = Holdings(limits.unread_bytes_in_all)


def _gate(limits: Limits, observer: Observer) -> Gate:
    return Gate(running=limits.calls, waiting=limits.calls_waiting, patience=limits.waiting_timeout, observer=observer)

"""What all connections of one server share."""

from collections.abc import Iterable, Mapping
from typing import Protocol, TypeAlias

from grpclib.const import Handler

from .fair_share import FairShare
from .gate import Gate
from .holdings import Holdings
from .limits import Limits
from .observer import Observer
from .peers import IdleConnections

Limiter: TypeAlias = Gate | FairShare
"""Limits the handlers that run at once."""


class Service(Protocol):
    """A service as grpclib's protoc plugin generates them."""

    def __mapping__(self) -> Mapping[str, Handler]:
        """Path to handler."""


class Shared:
    """What all connections of one server share.

    Args:
        services: what is served.
        limits: what peers may take.
        observer: who is told what happens.

    Attributes:
        handlers: path to handler.
        gate: for calls that are answered once.
        streaming: limiter of calls whose answers are streamed.
        holdings: of all connections.
        idle: connections without calls.
    """

    def __init__(self, services: Iterable[Service], limits: Limits, observer: Observer) -> None:
        self.handlers = {
            path.encode("ascii"): handler for service in services for path, handler in service.__mapping__().items()
        }
        self.limits = limits
        self.observer = observer
        self.gate = Gate(
            running=limits.calls, waiting=limits.calls_waiting, patience=limits.waiting_timeout, observer=observer
        )
        self.streaming = FairShare(limits.streaming_calls, observer)
        self.idle = IdleConnections()
        self.holdings = Holdings(limits.unread_bytes_in_all)

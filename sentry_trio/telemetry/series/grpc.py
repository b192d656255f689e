"""The gRPC server: its connections, handshakes and calls, and what waits or is refused for want of room."""

from typing import Literal, get_args

from grpclib.const import Status
from prometheus_client import CollectorRegistry, Counter, Gauge

from sentry_trio.telemetry.series.spelling import spelling

Shed = Literal["queue_full", "in_vain", "no_turn"]
"""Why a call was refused for want of room: none left to wait in, none in time, none within the longest wait."""


class GrpcSeries:
    """The series of the gRPC server.

    Args:
        registry: where they are registered.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._connections = Gauge("sentry_grpc_connections", "Open gRPC connections.", registry=registry)
        self._connections_max = Gauge(
            "sentry_grpc_connections_max", "How many gRPC connections there may be.", registry=registry
        )
        self._connections_opened = Counter(
            "sentry_grpc_connections_opened_total",
            "gRPC connections that were let in, before their TLS handshake.",
            registry=registry,
        )
        self._connections_refused = Counter(
            "sentry_grpc_connections_refused_total",
            "gRPC connections closed at once, because as many were open as there may be.",
            registry=registry,
        )
        self._handshakes_failed = Counter(
            "sentry_grpc_handshakes_failed_total", "TLS handshakes that peers did not complete.", registry=registry
        )
        self._waiting = Gauge(
            "sentry_grpc_calls_waiting",
            "gRPC calls that wait because as many are being answered as may be.",
            registry=registry,
        )
        self._waiting_max = Gauge(
            "sentry_grpc_calls_waiting_max", "How many gRPC calls may wait; one more is refused.", registry=registry
        )
        self._shed = Counter(
            "sentry_grpc_calls_shed_total",
            "gRPC calls refused because the server was overloaded, by reason.",
            ["reason"],
            registry=registry,
        )
        calls = Counter("sentry_grpc_calls_total", "Finished gRPC calls, by status.", ["code"], registry=registry)
        for reason in get_args(Shed):
            self._shed.labels(reason)
        # Kept, as looking them up takes longer than counting.
        self._call = {code: calls.labels(spelling(code)) for code in Status}

    def grpc_bounds(self, *, connections: int, calls_waiting: int) -> None:
        """How many connections there may be, and how many calls may wait."""
        self._connections_max.set(connections)
        self._waiting_max.set(calls_waiting)

    def grpc_connection_opened(self) -> None:
        """A gRPC connection was accepted."""
        self._connections.inc()
        self._connections_opened.inc()

    def grpc_connection_closed(self) -> None:
        """A gRPC connection that was counted as opened has gone."""
        self._connections.dec()

    def grpc_connection_refused(self) -> None:
        """A gRPC connection was closed at once: as many were open as there may be."""
        self._connections_refused.inc()

    def grpc_handshake_failed(self) -> None:
        """A peer did not complete its TLS handshake."""
        self._handshakes_failed.inc()

    def grpc_call_queued(self) -> None:
        """A gRPC call waits for its turn."""
        self._waiting.inc()

    def grpc_call_dequeued(self) -> None:
        """A gRPC call that was counted as waiting does no more."""
        self._waiting.dec()

    def grpc_call_shed(self, reason: Shed) -> None:
        """A gRPC call was refused because there is too much to do."""
        self._shed.labels(reason).inc()

    def grpc_call_finished(self, code: Status) -> None:
        """A gRPC call of any method ended with `code`."""
        self._call[code].inc()

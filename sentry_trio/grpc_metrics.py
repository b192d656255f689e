"""Log lines and metrics of the gRPC server."""

from collections.abc import Callable
from typing import Final

from grpclib.const import Status

from sentry_trio.go_text import join_host_port
from sentry_trio.grpc import Observer
from sentry_trio.grpc.observer import Eviction, Shed
from sentry_trio.telemetry.logs import get_logger
from sentry_trio.telemetry.metrics import Metrics, SignFailure
from sentry_trio.telemetry.throttle import ThrottledLog

SIGN_CERTIFICATE: Final = "/dapr.proto.sentry.v1.CA/SignCertificate"
"""Path of the method that issues certificates."""
# A caller that left or was lost, and one that would wait no longer.
_GIVEN_UP: Final = frozenset({Status.CANCELLED, Status.DEADLINE_EXCEEDED})
_EVICTIONS: Final[dict[Eviction, str]] = {
    "too_many": "the limit of open connections was reached",
    "work": "it caused too much work without calls",
    "memory": "it used most of the memory for calls, which was exhausted",
}

_log: Final = get_logger("dapr.sentry.server")


def _address(peer: object) -> str:
    # A match statement takes seven times as long, on each call that ends.
    if isinstance(peer, tuple):
        return join_host_port(*peer[:2])
    return str(peer)


def _host(peer: object) -> str:
    """Returns the address without the port, which is another for each connection."""
    return str(peer[0]) if isinstance(peer, tuple) else str(peer)


class ServerObserver(Observer):
    """Reports the gRPC server's events in metrics and log.

    Args:
        metrics: kept across runs.
        record_shed: called for each call that is rejected unread.
    """

    def __init__(self, metrics: Metrics, record_shed: Callable[[Shed], None] = lambda _reason: None) -> None:
        self._metrics = metrics
        self._record_shed = record_shed
        self._not_accepted = ThrottledLog(_log)
        self._refused = ThrottledLog(_log)
        self._shed = ThrottledLog(_log)
        self._evicted: dict[Eviction, ThrottledLog] = {reason: ThrottledLog(_log) for reason in _EVICTIONS}

    def connection_opened(self) -> None:
        """Counts it."""
        self._metrics.grpc_connections.inc()
        self._metrics.grpc_connections_opened.inc()

    def connection_closed(self) -> None:
        """Counts it."""
        self._metrics.grpc_connections.dec()

    def connection_refused(self, peer: object, reason: str) -> None:
        """Counts it, and logs it, throttled."""
        self._metrics.grpc_connections_refused.inc()
        self._refused.warning(f"gRPC connection refused: {reason}", peer=_host(peer))

    def connection_evicted(self, peer: object, reason: Eviction) -> None:
        """Counts it, and logs it, throttled."""
        self._metrics.grpc_connection_evicted(reason)
        self._evicted[reason].warning(f"gRPC connection closed: {_EVICTIONS[reason]}", peer=_host(peer))

    def handshake_failed(self, peer: object, reason: str) -> None:
        """Counts it; peers fail at this all the time, so the reason is logged at debug only."""
        self._metrics.grpc_handshakes_failed.inc()
        _log.debug(f"TLS handshake failed: {reason}", peer=_address(peer))

    def connection_failed(self, peer: object, error: Exception) -> None:
        """A defect: for the operator."""
        _log.error("connection ended by an unexpected error", peer=_address(peer), exc_info=error)

    def accept_failed(self, error: OSError) -> None:
        """Logs the failure, throttled: the server retries ten times a second. The operator can raise the limit."""
        self._not_accepted.warning(f"cannot accept connections: {error}; raise the limit of open files")

    def call_queued(self) -> None:
        """Counts it."""
        self._metrics.grpc_calls_waiting.inc()

    def call_dequeued(self) -> None:
        """Counts it."""
        self._metrics.grpc_calls_waiting.dec()

    def call_shed(self, reason: Shed, peer: object) -> None:
        """Counts it, for the audit log, too, and logs it, throttled."""
        self._metrics.grpc_call_shed(reason)
        self._record_shed(reason)
        self._shed.warning("call rejected: the server is overloaded", reason=reason, peer=_host(peer))

    def call_finished(self, path: str, status: Status, seconds: float, peer: object) -> None:
        """Counts it by status, and measures the wait of a signing call's caller."""
        self._metrics.grpc_call_finished(status)
        if path == SIGN_CERTIFICATE:
            self._metrics.sign_call_finished(status, seconds)
            if status in _GIVEN_UP:
                self._metrics.sign_failed(SignFailure.CANCELLED, status)
        _log.debug("call finished", path=path, status=status.name, seconds=round(seconds, 6), peer=_address(peer))

    def handler_failed(self, path: str, error: Exception) -> None:
        """A defect: for the operator. A signing request that ends so has failed like any other."""
        if path == SIGN_CERTIFICATE:
            self._metrics.sign_failed(SignFailure.INTERNAL, Status.UNKNOWN)
        _log.error(f"unexpected error in {path}", exc_info=error)

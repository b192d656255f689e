"""Series of the gRPC server and of signing: connections, calls, their outcomes and durations."""

import enum
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Final, Literal, get_args

from grpclib.const import Status
from prometheus_client import Histogram

from sentry_trio.grpc.observer import Eviction, Shed
from sentry_trio.telemetry.registry import Registry, status_label

Stage = Literal["parse", "validate", "sign", "encode"]
"""A step of answering one signing request."""

# From a P-256 signature (about 50 us) to a request that waits for the Kubernetes API server.
_BUCKETS: Final = (
    *(50e-6, 100e-6, 250e-6, 500e-6),
    *(1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 100e-3, 250e-3, 500e-3),
    *(1.0, 2.5, 5.0),
)


class SignFailure(enum.StrEnum):
    """Cause of a signing request that was not answered with a certificate."""

    INVALID_REQUEST = "invalid_request"
    INVALID_CSR = "invalid_csr"
    VALIDATOR_REQUIRED = "validator_required"
    VALIDATOR_NOT_ENABLED = "validator_not_enabled"
    VALIDATOR_UNAVAILABLE = "validator_unavailable"
    NOT_PERMITTED = "not_permitted"
    ISSUER_NOT_VALID = "issuer_not_valid"
    SIGNING = "signing"
    AUDIT_UNAVAILABLE = "audit_unavailable"
    CANCELLED = "cancelled"
    INTERNAL = "internal"


class CallMetrics:
    """Part of `Metrics`.

    Args:
        registry: registry of the series.
        elapsed: the clock for durations, in seconds from any point; monotonic.
    """

    def __init__(self, registry: Registry, elapsed: Callable[[], float]) -> None:
        self._elapsed = elapsed
        self.csrs_received = registry.counter(
            "dapr_sentry_cert_sign_request_received_total", "The number of CSRs received."
        )
        self.certificates_issued = registry.counter(
            "dapr_sentry_cert_sign_success_total", "The number of certificates issuances that have succeeded."
        )
        self._failed = registry.counter(
            "dapr_sentry_cert_sign_failure_total",
            "The number of errors occurred when signing the CSR.",
            "reason",
            values=SignFailure,
        )
        self._failures = registry.counter(
            "sentry_sign_failures_total",
            "Signing requests that were rejected or failed, by cause and gRPC status.",
            "reason",
            "code",
        )
        stages = registry.histogram(
            "sentry_sign_stage_duration_seconds",
            "Duration of each step of a signing request.",
            "stage",
            buckets=_BUCKETS,
        )
        durations = registry.histogram(
            "sentry_sign_call_duration_seconds",
            "Duration from the headers of a signing call to the end of its response, including the queue, by outcome.",
            "outcome",
            buckets=_BUCKETS,
        )
        self.grpc_connections = registry.gauge("sentry_grpc_connections", "Open gRPC connections.")
        self.grpc_connections_max = registry.gauge("sentry_grpc_connections_max", "Limit of open gRPC connections.")
        self.grpc_connections_opened = registry.counter(
            "sentry_grpc_connections_opened_total", "Accepted gRPC connections, before their TLS handshake."
        )
        self.grpc_connections_refused = registry.counter(
            "sentry_grpc_connections_refused_total",
            "gRPC connections that were closed immediately because a limit was reached.",
        )
        self._connections_evicted = registry.counter(
            "sentry_grpc_connections_evicted_total",
            "gRPC connections that were closed for newer ones or for exceeding a budget, by reason.",
            "reason",
            values=get_args(Eviction),
        )
        self.grpc_handshakes_failed = registry.counter(
            "sentry_grpc_handshakes_failed_total", "TLS handshakes that peers did not complete."
        )
        self.grpc_calls_waiting = registry.gauge("sentry_grpc_calls_waiting", "gRPC calls in the queue.")
        self.grpc_calls_waiting_max = registry.gauge(
            "sentry_grpc_calls_waiting_max", "Limit of the queue of gRPC calls."
        )
        self._shed = registry.counter(
            "sentry_grpc_calls_shed_total",
            "gRPC calls that were rejected because the server was overloaded, by reason.",
            "reason",
            values=get_args(Shed),
        )
        calls = registry.counter("sentry_grpc_calls_total", "Finished gRPC calls, by status.", "code")
        # Kept, as looking them up takes longer than counting.
        self._stage = {stage: stages.labels(stage) for stage in get_args(Stage)}
        self._answered, self._not_answered = durations.labels("success"), durations.labels("failure")
        self._call = {code: calls.labels(status_label(code)) for code in Status}

    def sign_failed(self, reason: SignFailure, code: Status) -> None:
        """Counts a signing request that was rejected or failed, and was answered with `code`.

        Dapr Sentry counts all of them under the one reason `sign`.
        """
        self._failed.labels(reason).inc()
        self._failures.labels(reason, status_label(code)).inc()

    def stage(self, stage: Stage) -> AbstractContextManager[None]:
        """Measures one step of answering a signing request, even if it raises."""
        return _Timer(self._stage[stage], self._elapsed)

    def sign_call_finished(self, code: Status, seconds: float) -> None:
        """Records the duration of a signing call; also of one that was rejected before it was received."""
        (self._answered if code is Status.OK else self._not_answered).observe(seconds)

    def grpc_connection_evicted(self, reason: Eviction) -> None:
        """Counts a connection that was closed for a newer one, or because of its work or memory."""
        self._connections_evicted.labels(reason).inc()

    def grpc_call_shed(self, reason: Shed) -> None:
        """Counts a call that was rejected because of overload."""
        self._shed.labels(reason).inc()

    def grpc_call_finished(self, code: Status) -> None:
        """Counts a call of any method that ended with `code`."""
        self._call[code].inc()


class _Timer:
    """Observes the duration of a block. A generator would take twice as long."""

    __slots__ = ("_elapsed", "_histogram", "_start")

    def __init__(self, histogram: Histogram, elapsed: Callable[[], float]) -> None:
        self._histogram = histogram
        self._elapsed = elapsed

    def __enter__(self) -> None:
        self._start = self._elapsed()

    def __exit__(self, *_: object) -> None:
        self._histogram.observe(self._elapsed() - self._start)

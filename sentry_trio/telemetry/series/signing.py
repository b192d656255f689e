"""Signing requests: how many, what became of them, how long each stage took."""

import enum
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Final, Literal, get_args

from grpclib.const import Status
from prometheus_client import CollectorRegistry, Counter, Histogram

from sentry_trio.telemetry.series.spelling import spelling

Stage = Literal["parse", "validate", "sign", "encode"]
"""A step of answering one signing request."""

# From a P-256 signature (about 50 us) to a request that waits for the Kubernetes API server.
_BUCKETS: Final = (
    *(50e-6, 100e-6, 250e-6, 500e-6),
    *(1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 100e-3, 250e-3, 500e-3),
    *(1.0, 2.5, 5.0),
)


class SignFailure(enum.StrEnum):
    """Why a signing request was not answered with a certificate."""

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


class SigningSeries:
    """The series of signing.

    Args:
        registry: where they are registered.
        elapsed: the clock for durations, in seconds from any point; monotonic.
    """

    def __init__(self, registry: CollectorRegistry, elapsed: Callable[[], float]) -> None:
        self._elapsed = elapsed
        self._received = Counter(
            "dapr_sentry_cert_sign_request_received_total", "The number of CSRs received.", registry=registry
        )
        self._signed = Counter(
            "dapr_sentry_cert_sign_success_total",
            "The number of certificates issuances that have succeeded.",
            registry=registry,
        )
        self._failed = Counter(
            "dapr_sentry_cert_sign_failure_total",
            "The number of errors occurred when signing the CSR.",
            ["reason"],
            registry=registry,
        )
        self._failures = Counter(
            "sentry_sign_failures_total",
            "Signing requests that were refused or failed, by cause and gRPC status.",
            ["reason", "code"],
            registry=registry,
        )
        stages = Histogram(
            "sentry_sign_stage_duration_seconds",
            "How long each step of answering a signing request took.",
            ["stage"],
            registry=registry,
            buckets=_BUCKETS,
        )
        calls = Histogram(
            "sentry_sign_call_duration_seconds",
            "From the head of a signing call to the end of its answer, waiting for its turn included, by outcome.",
            ["outcome"],
            registry=registry,
            buckets=_BUCKETS,
        )
        for reason in SignFailure:
            self._failed.labels(reason.value)
        # Kept, as looking them up takes longer than counting.
        self._stage = {stage: stages.labels(stage) for stage in get_args(Stage)}
        self._answered, self._not_answered = calls.labels("success"), calls.labels("failure")

    def csr_received(self) -> None:
        """A signing request arrived, be it refused later or not."""
        self._received.inc()

    def sign_succeeded(self) -> None:
        """A certificate was handed out."""
        self._signed.inc()

    def sign_failed(self, reason: SignFailure, code: Status) -> None:
        """A signing request was refused or failed, and was answered with `code`.

        Dapr Sentry counts all of them under the one reason `sign`; here the reason is told.
        """
        self._failed.labels(reason.value).inc()
        self._failures.labels(reason.value, spelling(code)).inc()

    def stage(self, stage: Stage) -> AbstractContextManager[None]:
        """Measure one step of answering a signing request, whether it succeeds or raises."""
        return _Measured(self._stage[stage], self._elapsed)

    def sign_call_finished(self, code: Status, seconds: float) -> None:
        """A signing call ended with `code` after so many seconds; also one that was refused before it was received."""
        (self._answered if code is Status.OK else self._not_answered).observe(seconds)


class _Measured:
    """Observes how long a block took."""

    __slots__ = ("_elapsed", "_histogram", "_start")

    def __init__(self, histogram: Histogram, elapsed: Callable[[], float]) -> None:
        self._histogram = histogram
        self._elapsed = elapsed

    def __enter__(self) -> None:
        self._start = self._elapsed()

    def __exit__(self, *_: object) -> None:
        self._histogram.observe(self._elapsed() - self._start)

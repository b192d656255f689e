"""Everything that is counted, in the domain's words.

The `dapr_sentry_*` series are those of Dapr Sentry 1.18 by name, type, labels and help, so that its dashboards and
alerts work. The `sentry_*` series are new here. Labels take their values from the enums in this module, so that no peer
can make the number of series grow.
"""

import enum
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from time import perf_counter
from typing import Final, Literal, get_args

from grpclib.const import Status
from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from sentry_trio.telemetry.collectors import CertificateExpiry, CertificateRole, ExpiryCollector, Registry

__all__ = [
    "CertificateExpiry",
    "CertificateRole",
    "Metrics",
    "OidcPath",
    "RestartFailure",
    "ServerCertificateFailure",
    "Shed",
    "SignFailure",
    "Stage",
]

Stage = Literal["parse", "validate", "sign", "encode"]
"""A step of answering one signing request."""

Shed = Literal["queue_full", "in_vain", "no_turn"]
"""Why a call was refused for want of room: none left to wait in, none in time, none within the longest wait."""

# From a P-256 signature (about 50 us) to a request that waits for the Kubernetes API server.
_STAGE_BUCKETS: Final = (
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
    CANCELLED = "cancelled"
    INTERNAL = "internal"


class ServerCertificateFailure(enum.StrEnum):
    """Why this server's own certificate could not be issued."""

    ISSUER_NOT_VALID = "issuer_not_valid"
    SIGNING = "signing"
    INTERNAL = "internal"


class RestartFailure(enum.StrEnum):
    """Why the successor of the present run could not be prepared."""

    STORE = "store"
    BUNDLE = "bundle"
    CONFIGURATION = "configuration"
    VALIDATOR = "validator"
    SERVER_CERTIFICATE = "server_certificate"
    INTERNAL = "internal"


class OidcPath(enum.StrEnum):
    """What was asked of the OIDC server."""

    DISCOVERY = "discovery"
    JWKS = "jwks"
    OTHER = "other"


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


class Metrics:
    """The metrics of one process, in a registry of their own.

    Counters are kept across restarts of the certificate authority. Those whose labels are known start at 0, so that the
    first increase is seen as one. Safe to use from any thread.

    Args:
        now: the clock for expiry; aware.
        elapsed: the clock for durations, in seconds from any point; monotonic.
    """

    def __init__(
        self, *, now: Callable[[], datetime] = lambda: datetime.now(UTC), elapsed: Callable[[], float] = perf_counter
    ) -> None:
        self._elapsed = elapsed
        self._registry = registry = Registry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        self._expiry = ExpiryCollector(now)
        registry.register(self._expiry)

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
        self._server_certificate_failed = Counter(
            "dapr_sentry_servercert_issue_failed_total",
            "The number of server TLS certificate issuance failures.",
            ["reason"],
            registry=registry,
        )
        self._issuer_changed = Counter(
            "dapr_sentry_issuercert_changed_total",
            "The number of issuer cert updates, when issuer cert or key is changed",
            registry=registry,
        )

        self._failures = Counter(
            "sentry_sign_failures_total",
            "Signing requests that were refused or failed, by cause and gRPC status.",
            ["reason", "code"],
            registry=registry,
        )
        self._stages = Histogram(
            "sentry_sign_stage_duration_seconds",
            "How long each step of answering a signing request took.",
            ["stage"],
            registry=registry,
            buckets=_STAGE_BUCKETS,
        )
        self._restarts = Counter(
            "sentry_restarts_total",
            "Restarts of the certificate authority within the process, by outcome.",
            ["outcome"],
            registry=registry,
        )
        self._restart_failures = Counter(
            "sentry_restart_failures_total",
            "Restarts that were given up, the present run going on, by cause.",
            ["cause"],
            registry=registry,
        )
        self._run_number = Gauge(
            "sentry_run_number",
            "Which run of the certificate authority serves; the first is 1.",
            registry=registry,
        )
        self._degraded = Gauge(
            "sentry_degraded",
            "1 while a run goes on only because its successor could not be prepared, else 0.",
            registry=registry,
        )
        self._bundle = Gauge(
            "sentry_trust_bundle_info",
            "1, labelled with the SHA-256 over the certificates of the trust bundle in use.",
            ["digest"],
            registry=registry,
        )
        self._connections = Gauge("sentry_grpc_connections", "Open gRPC connections.", registry=registry)
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
        self._shed = Counter(
            "sentry_grpc_calls_shed_total",
            "gRPC calls refused because the server was overloaded, by reason.",
            ["reason"],
            registry=registry,
        )
        self._calls = Counter("sentry_grpc_calls_total", "Finished gRPC calls, by status.", ["code"], registry=registry)
        self._oidc_answers = Counter(
            "sentry_oidc_requests_total",
            "Requests that the OIDC server answered, by what was asked and HTTP status.",
            ["path", "code"],
            registry=registry,
        )
        self._oidc_tls = Counter(
            "sentry_oidc_tls_reloads_total",
            "Changes of the OIDC server's certificate and key, by whether they are in use.",
            ["outcome"],
            registry=registry,
        )
        self._jwks_refreshes = Counter(
            "sentry_jwks_refreshes_total",
            "Readings of the key set of the jwks validator, by outcome.",
            ["outcome"],
            registry=registry,
        )
        self._jwks_keys = Gauge(
            "sentry_jwks_keys", "Usable keys in the present key set of the jwks validator.", registry=registry
        )
        self._start_at_zero()

    def _start_at_zero(self) -> None:
        for reason in SignFailure:
            self._failed.labels(reason.value)
        for failure in ServerCertificateFailure:
            self._server_certificate_failed.labels(failure.value)
        for cause in RestartFailure:
            self._restart_failures.labels(cause.value)
        for outcome in ("success", "failure"):
            self._restarts.labels(outcome)
            self._oidc_tls.labels(outcome)
            self._jwks_refreshes.labels(outcome)
        for reason_shed in get_args(Shed):
            self._shed.labels(reason_shed)
        # Kept, as looking them up takes longer than counting.
        self._call = {code: self._calls.labels(_spelling(code)) for code in Status}
        self._stage = {stage: self._stages.labels(stage) for stage in get_args(Stage)}

    # --- signing

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
        self._failures.labels(reason.value, _spelling(code)).inc()

    def stage(self, stage: Stage) -> AbstractContextManager[None]:
        """Measure one step of answering a signing request, whether it succeeds or raises."""
        return _Measured(self._stage[stage], self._elapsed)

    # --- the certificate authority

    def watch_certificates(self, certificates: Iterable[CertificateExpiry]) -> None:
        """From now on report when these certificates, the present trust bundle, expire; forget those told before.

        Also sets `dapr_sentry_issuercert_expiry_timestamp`, from the one whose role is issuer.
        """
        self._expiry.watch(certificates)

    def issuer_changed(self) -> None:
        """A trust bundle was generated, or the files of the present one changed."""
        self._issuer_changed.inc()

    def server_certificate_failed(self, reason: ServerCertificateFailure) -> None:
        """This server's own certificate could not be issued."""
        self._server_certificate_failed.labels(reason.value).inc()

    def run_started(self, number: int) -> None:
        """Run `number` serves from now on."""
        self._run_number.set(number)
        self._degraded.set(0)

    def bundle_in_use(self, digest: str) -> None:
        """From now on this trust bundle signs; the one before is told no more.

        Args:
            digest: what names it in health and logs, too; replicas that agree have the same.
        """
        self._bundle.clear()
        self._bundle.labels(digest).set(1)

    def restart_succeeded(self) -> None:
        """The next run has taken over."""
        self._restarts.labels("success").inc()

    def restart_failed(self, cause: RestartFailure) -> None:
        """The next run could not be prepared; the present one goes on."""
        self._degraded.set(1)
        self._restarts.labels("failure").inc()
        self._restart_failures.labels(cause.value).inc()

    # --- gRPC

    def grpc_connection_opened(self) -> None:
        """A gRPC connection was accepted."""
        self._connections.inc()

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

    # --- OIDC

    def oidc_answered(self, path: OidcPath, status: int) -> None:
        """The OIDC server answered with an HTTP status. What is no HTTP is not counted."""
        self._oidc_answers.labels(path.value, str(int(status))).inc()

    def oidc_tls_reloaded(self) -> None:
        """Another certificate and key are what new connections to the OIDC server are served with."""
        self._oidc_tls.labels("success").inc()

    def oidc_tls_failed(self) -> None:
        """The OIDC server's certificate and key changed, and cannot be used; it goes on as before."""
        self._oidc_tls.labels("failure").inc()

    # --- the jwks validator

    def jwks_refreshed(self, keys: int) -> None:
        """A key set was read, with so many usable keys."""
        self._jwks_refreshes.labels("success").inc()
        self._jwks_keys.set(keys)

    def jwks_refresh_failed(self) -> None:
        """A key set could not be read; the last good one, if any, is kept."""
        self._jwks_refreshes.labels("failure").inc()

    # --- being read

    def exposition(self) -> tuple[bytes, str]:
        """Everything as it is now, in the Prometheus text format 0.0.4, and the content type to send it with.

        OpenMetrics is not negotiated: Dapr Sentry does not speak it either, and scrapers get the same series under it.
        """
        return generate_latest(self._registry), CONTENT_TYPE_PLAIN_0_0_4


def _spelling(code: Status) -> str:
    """The status as gRPC libraries for Go and Prometheus dashboards spell it: `PermissionDenied`."""
    return "OK" if code is Status.OK else code.name.title().replace("_", "")

"""The certificate authority: its runs and restarts, and the trust bundle in use."""

import enum
from collections.abc import Callable, Iterable
from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, Gauge

from sentry_trio.telemetry.collectors import CertificateExpiry, ExpiryCollector


class ServerCertificateFailure(enum.StrEnum):
    """Why this server's own certificate could not be issued."""

    ISSUER_NOT_VALID = "issuer_not_valid"
    SIGNING = "signing"


class RestartFailure(enum.StrEnum):
    """Why the successor of the present run could not be prepared."""

    STORE = "store"
    BUNDLE = "bundle"
    CONFIGURATION = "configuration"
    VALIDATOR = "validator"
    SERVER_CERTIFICATE = "server_certificate"
    INTERNAL = "internal"


class AuthoritySeries:
    """The series of the certificate authority.

    Args:
        registry: where they are registered.
        now: the wall clock; aware.
    """

    def __init__(self, registry: CollectorRegistry, now: Callable[[], datetime]) -> None:
        self._now = now
        self._expiry = ExpiryCollector(now)
        registry.register(self._expiry)
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
        self._last_restart = Gauge(
            "sentry_last_restart_timestamp_seconds",
            "When the last restart was served or given up, by outcome; the first run counts as served.",
            ["outcome"],
            registry=registry,
        )
        self._run_number = Gauge(
            "sentry_run_number",
            "Which run of the certificate authority serves; the first is 1.",
            registry=registry,
        )
        self._degraded = Gauge(
            "sentry_degraded",
            "1 while the authority serves with a problem that `/readyz?verbose` names under `degraded`, else 0.",
            registry=registry,
        )
        self._bundle = Gauge(
            "sentry_trust_bundle_info",
            "1, labelled with the SHA-256 over the certificates of the trust bundle in use.",
            ["digest"],
            registry=registry,
        )
        for failure in ServerCertificateFailure:
            self._server_certificate_failed.labels(failure.value)
        for outcome in ("success", "failure"):
            self._restarts.labels(outcome)
        for cause in RestartFailure:
            self._restart_failures.labels(cause.value)

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
        self._last_restart.labels("success").set(self._now().timestamp())

    def degraded(self, degraded: bool) -> None:  # noqa: FBT001  # the value that is set
        """Records whether the authority serves with a problem."""
        self._degraded.set(degraded)

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
        self._last_restart.labels("failure").set(self._now().timestamp())
        self._restarts.labels("failure").inc()
        self._restart_failures.labels(cause.value).inc()

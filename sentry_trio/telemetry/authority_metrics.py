"""Series of the certificate authority: its runs and restarts, and the trust bundle in use."""

import enum
from collections.abc import Callable, Iterable
from datetime import datetime

from prometheus_client.metrics_core import GaugeMetricFamily, Metric

from sentry_trio.renewal_status import LEFT_OVER, CertificateExpiry, CertificateRole
from sentry_trio.telemetry.registry import OUTCOMES, Registry


class ServerCertificateFailure(enum.StrEnum):
    """Reason why the server's own certificate could not be issued."""

    ISSUER_NOT_VALID = "issuer_not_valid"
    SIGNING = "signing"


class RestartFailure(enum.StrEnum):
    """Cause of a failure to prepare the next run."""

    STORE = "store"
    BUNDLE = "bundle"
    CONFIGURATION = "configuration"
    VALIDATOR = "validator"
    SERVER_CERTIFICATE = "server_certificate"
    INTERNAL = "internal"


class AuthorityMetrics:
    """Part of `Metrics`.

    Args:
        registry: registry of the series.
        now: the wall clock; aware.
    """

    def __init__(self, registry: Registry, now: Callable[[], datetime]) -> None:
        self._now = now
        self._watched: tuple[CertificateExpiry, ...] = ()
        registry.computed(self._expiries)
        self._server_certificate_failed = registry.counter(
            "dapr_sentry_servercert_issue_failed_total",
            "The number of server TLS certificate issuance failures.",
            "reason",
            values=ServerCertificateFailure,
        )
        self.issuer_changes = registry.counter(
            "dapr_sentry_issuercert_changed_total",
            "The number of issuer cert updates, when issuer cert or key is changed",
        )
        self._restarts = registry.counter(
            "sentry_restarts_total",
            "Restarts of the certificate authority within the process, by outcome.",
            "outcome",
            values=OUTCOMES,
        )
        self._restart_failures = registry.counter(
            "sentry_restart_failures_total",
            "Failed restarts, by cause; the current run continues.",
            "cause",
            values=RestartFailure,
        )
        self._last_restart = registry.gauge(
            "sentry_last_restart_timestamp_seconds",
            "Time of the last restart, by outcome; the start of the first run counts as a success.",
            "outcome",
        )
        self._run_number = registry.gauge("sentry_run_number", "Number of the current run; 0 before the first.")
        self.degraded = registry.gauge(
            "sentry_degraded",
            "1 while the authority serves with a problem that `/readyz?verbose` names under `degraded`, else 0.",
        )
        self._bundle = registry.gauge(
            "sentry_trust_bundle_info",
            "1, labelled with the SHA-256 over the certificates of the trust bundle in use.",
            "digest",
        )

    def watch_certificates(self, certificates: Iterable[CertificateExpiry]) -> None:
        """Reports from now on when these certificates expire, the current trust bundle, and no others.

        Also sets `dapr_sentry_issuercert_expiry_timestamp`, from the one whose role is issuer.
        """
        # One that is listed twice is reported once: a series is unique.
        self._watched = tuple(dict.fromkeys(certificates))

    def server_certificate_failed(self, reason: ServerCertificateFailure) -> None:
        """Counts a failure to issue the server's own certificate."""
        self._server_certificate_failed.labels(reason).inc()

    def run_started(self, number: int) -> None:
        """Records that run `number` serves from now on."""
        self._run_number.set(number)
        self._last_restart.labels("success").set(self._now().timestamp())

    def bundle_in_use(self, digest: str) -> None:
        """Records that this trust bundle signs from now on, and removes the previous one.

        Args:
            digest: names it in health and logs, too; replicas that agree have the same.
        """
        self._bundle.clear()
        self._bundle.labels(digest).set(1)

    def restart_succeeded(self) -> None:
        """Counts a next run that has taken over."""
        self._restarts.labels("success").inc()

    def restart_failed(self, cause: RestartFailure) -> None:
        """Counts a next run that could not be prepared; the current one continues."""
        self._last_restart.labels("failure").set(self._now().timestamp())
        self._restarts.labels("failure").inc()
        self._restart_failures.labels(cause).inc()

    def _expiries(self) -> Iterable[Metric]:
        """Gauges of the watched certificates; none while no certificate is watched.

        A gauge that starts at 0 would read "expired in 1970" and fire every alert.
        """
        watched, now = self._watched, self._now()
        issuers = [certificate.not_after for certificate in watched if certificate.role == CertificateRole.ISSUER]
        if issuers:
            yield GaugeMetricFamily(
                "dapr_sentry_issuercert_expiry_timestamp",
                "The unix timestamp, in seconds, when issuer/root cert will expire.",
                value=min(issuers).timestamp(),
            )
        if watched:
            left = GaugeMetricFamily(
                "sentry_certificate_expiry_seconds",
                "Seconds until a certificate of the trust bundle expires; negative once it has.",
                labels=("role", "subject", "fingerprint"),
            )
            for certificate in watched:
                labels = (certificate.role, certificate.subject, certificate.fingerprint)
                left.add_metric(labels, (certificate.not_after - now).total_seconds())
            yield left
        needed = [certificate.not_after for certificate in watched if certificate.role not in LEFT_OVER]
        if needed:
            yield GaugeMetricFamily(
                "sentry_soonest_expiry_seconds",
                "Seconds until the first certificate of the trust bundle that is needed expires; negative once it has.",
                value=(min(needed) - now).total_seconds(),
            )

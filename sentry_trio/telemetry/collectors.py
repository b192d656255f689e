"""What is computed at the moment of a scrape: seconds until certificates expire."""

import enum
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector


class CertificateRole(enum.StrEnum):
    """What a certificate does in the trust bundle."""

    ANCHOR = "anchor"
    INTERMEDIATE = "intermediate"
    ISSUER = "issuer"


@dataclass(frozen=True, slots=True)
class CertificateExpiry:
    """When one certificate of the trust bundle ends.

    Attributes:
        role: what it does.
        subject: its distinguished name, for people.
        fingerprint: hex SHA-256 of its DER.
        not_after: the end of its validity; aware.
    """

    role: CertificateRole
    subject: str
    fingerprint: str
    not_after: datetime


class ExpiryCollector(Collector):
    """Gauges about the certificates that are watched; none at all while no certificate is.

    A gauge that starts at 0 would read "expired in 1970" and fire every alert, so these appear only with a certificate.

    Args:
        now: the clock; aware.
    """

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._watched: tuple[CertificateExpiry, ...] = ()

    def watch(self, certificates: Iterable[CertificateExpiry]) -> None:
        """Report these and no others from now on. One that is listed twice is reported once: a series is unique."""
        self._watched = tuple(dict.fromkeys(certificates))

    def describe(self) -> Iterable[Metric]:
        """The families without samples, so that the registry knows the names."""
        return self._families()

    def collect(self) -> Iterable[Metric]:
        """The families with what is true now."""
        watched, now = self._watched, self._now()
        issuer_end, left, soonest = families = self._families()
        for certificate in watched:
            labels = (certificate.role.value, certificate.subject, certificate.fingerprint)
            left.add_metric(labels, (certificate.not_after - now).total_seconds())
        if watched:
            soonest.add_metric((), (min(certificate.not_after for certificate in watched) - now).total_seconds())
        issuers = [certificate for certificate in watched if certificate.role is CertificateRole.ISSUER]
        if issuers:
            issuer_end.add_metric((), min(certificate.not_after for certificate in issuers).timestamp())
        return [family for family in families if family.samples]

    @staticmethod
    def _families() -> tuple[GaugeMetricFamily, GaugeMetricFamily, GaugeMetricFamily]:
        return (
            GaugeMetricFamily(
                "dapr_sentry_issuercert_expiry_timestamp",
                "The unix timestamp, in seconds, when issuer/root cert will expire.",
                labels=(),
            ),
            GaugeMetricFamily(
                "sentry_certificate_expiry_seconds",
                "Seconds until a certificate of the trust bundle expires; negative once it has.",
                labels=("role", "subject", "fingerprint"),
            ),
            GaugeMetricFamily(
                "sentry_soonest_expiry_seconds",
                "Seconds until the first certificate of the trust bundle expires; negative once it has.",
                labels=(),
            ),
        )


class Registry(CollectorRegistry):
    """A registry without `_created` series: Dapr has none, and the library's switch for them is global."""

    def collect(self) -> Iterator[Metric]:
        """Everything registered, without the `_created` samples."""
        for family in super().collect():
            family.samples = [sample for sample in family.samples if sample.name != f"{family.name}_created"]
            yield family

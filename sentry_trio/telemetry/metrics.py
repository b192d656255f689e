"""Everything that is counted, in the domain's words.

The `dapr_sentry_*` series are those of Dapr Sentry 1.18 by name, type, labels and help, so that its dashboards and
alerts work. The `sentry_*` series are new here. Labels take their values from the enums of `series`, so that no peer
can make the number of series grow.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from time import perf_counter

from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from sentry_trio.telemetry.collectors import CertificateExpiry, CertificateRole, Registry
from sentry_trio.telemetry.series.audit import AuditSeries
from sentry_trio.telemetry.series.authority import AuthoritySeries, RestartFailure, ServerCertificateFailure
from sentry_trio.telemetry.series.build import BuildSeries
from sentry_trio.telemetry.series.grpc import GrpcSeries, Shed
from sentry_trio.telemetry.series.jwks import JwksSeries
from sentry_trio.telemetry.series.jwt import JwtKeyState, JwtSeries
from sentry_trio.telemetry.series.logs import LogSeries
from sentry_trio.telemetry.series.oidc import OidcPath, OidcSeries
from sentry_trio.telemetry.series.signing import SignFailure, SigningSeries, Stage

__all__ = [
    "CertificateExpiry",
    "CertificateRole",
    "JwtKeyState",
    "Metrics",
    "OidcPath",
    "RestartFailure",
    "ServerCertificateFailure",
    "Shed",
    "SignFailure",
    "Stage",
]


class Metrics(
    BuildSeries, SigningSeries, AuthoritySeries, GrpcSeries, OidcSeries, JwksSeries, JwtSeries, AuditSeries, LogSeries
):
    """The metrics of one process, in a registry of their own: what can be told of each topic, and the scrape.

    Counters are kept across restarts of the certificate authority. Safe to use from any thread.

    Args:
        now: the wall clock; aware.
        elapsed: the clock for durations, in seconds from any point; monotonic.
    """

    def __init__(
        self, *, now: Callable[[], datetime] = lambda: datetime.now(UTC), elapsed: Callable[[], float] = perf_counter
    ) -> None:
        self._registry = registry = Registry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        BuildSeries.__init__(self, registry)
        SigningSeries.__init__(self, registry, elapsed)
        AuthoritySeries.__init__(self, registry, now)
        GrpcSeries.__init__(self, registry)
        OidcSeries.__init__(self, registry)
        JwksSeries.__init__(self, registry)
        JwtSeries.__init__(self, registry)
        AuditSeries.__init__(self, registry)
        LogSeries.__init__(self, registry)

    def exposition(self) -> tuple[bytes, str]:
        """Everything as it is now, in the Prometheus text format 0.0.4, and the content type to send it with.

        OpenMetrics is not negotiated: Dapr Sentry does not speak it either, and scrapers get the same series under it.
        """
        return generate_latest(self._registry), CONTENT_TYPE_PLAIN_0_0_4

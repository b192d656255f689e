"""Metrics of the process.

The `dapr_sentry_*` series are those of Dapr Sentry 1.18 by name, type, labels and help, so that its dashboards and
alerts work. The `sentry_*` series are new here. Labels take their values from enums, so that no peer can make the
number of series grow.
"""

import enum
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from time import perf_counter
from typing import Literal, get_args

import trio
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.gc_collector import GCCollector
from prometheus_client.metrics_core import CounterMetricFamily, Metric
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from sentry_trio import __version__
from sentry_trio.renewal_status import JwtKeyState
from sentry_trio.telemetry.authority_metrics import (
    AuthorityMetrics,
    RestartFailure,
    ServerCertificateFailure,
)
from sentry_trio.telemetry.call_metrics import CallMetrics, SignFailure, Stage
from sentry_trio.telemetry.logs import dropped_lines
from sentry_trio.telemetry.pauses import EventLoopMonitor, GCPauses
from sentry_trio.telemetry.registry import OUTCOMES, Registry
from sentry_trio.telemetry.renewal_metrics import RenewalMetrics

__all__ = [
    "HttpServer",
    "Metrics",
    "OidcPath",
    "RestartFailure",
    "ServerCertificateFailure",
    "SignFailure",
    "Stage",
]

HttpServer = Literal["health", "metrics", "oidc"]
"""HTTP server of this process."""


class OidcPath(enum.StrEnum):
    """Resource of the OIDC server that was requested."""

    DISCOVERY = "discovery"
    JWKS = "jwks"
    OTHER = "other"


class Metrics(AuthorityMetrics, CallMetrics, RenewalMetrics):
    """The metrics of one process, in a registry of their own.

    Counters are kept across restarts of the certificate authority. Safe to use from any thread. Families without labels
    are attributes; those with labels have methods, whose types bound the values.

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
        registry.gauge("sentry_build_info", "1, labelled with the version of sentry-trio.", "version").labels(
            __version__
        ).set(1)
        CallMetrics.__init__(self, registry, elapsed)
        AuthorityMetrics.__init__(self, registry, now)
        RenewalMetrics.__init__(self, registry)
        self._oidc_answers = registry.counter(
            "sentry_oidc_requests_total",
            "Responses of the OIDC server, by path and HTTP status.",
            "path",
            "code",
        )
        self._http_evicted = registry.counter(
            "sentry_http_connections_evicted_total",
            "Connections that an HTTP server closed because too many were open.",
            "server",
            values=get_args(HttpServer),
        )
        self._oidc_tls = registry.counter(
            "sentry_oidc_tls_reloads_total",
            "Changes of the OIDC server's certificate and key, by outcome.",
            "outcome",
            values=OUTCOMES,
        )
        self._jwks_refreshes = registry.counter(
            "sentry_jwks_refreshes_total",
            "Refreshes of the key set of the jwks validator, by outcome.",
            "outcome",
            values=OUTCOMES,
        )
        self._jwks_keys = registry.gauge(
            "sentry_jwks_keys", "Usable keys in the current key set of the jwks validator."
        )
        self._jwt_key_steps = registry.counter(
            "sentry_jwt_key_rotation_steps_total",
            "Stored steps of the rotation of JWT signing keys, by the new state of the key.",
            "state",
            values=get_args(JwtKeyState),
        )
        self.jwt_rotation_failures = registry.counter(
            "sentry_jwt_key_rotation_failures_total",
            "Steps of the rotation of JWT signing keys that could not be stored.",
        )
        self.audit_lost = registry.counter(
            "sentry_audit_decisions_lost_total",
            "Decisions on signing requests that could not be written to the audit log.",
        )
        registry.computed(_dropped_lines)
        self._event_loop = EventLoopMonitor(elapsed)
        registry.register(self._event_loop)
        self._gc_pauses = GCPauses(elapsed)
        registry.register(self._gc_pauses)

    def exposition(self) -> tuple[bytes, str]:
        """Returns all series in the Prometheus text format 0.0.4, and the content type to send them with.

        OpenMetrics is not negotiated: Dapr Sentry does not offer it either, and it would hold the same series.
        """
        return generate_latest(self._registry), CONTENT_TYPE_PLAIN_0_0_4

    @contextmanager
    def event_loop(self) -> Iterator[None]:
        """Measures turns of the event loop, and pauses of the garbage collector, while the block runs."""
        trio.lowlevel.add_instrument(self._event_loop)
        try:
            with self._gc_pauses.measuring():
                yield
        finally:
            trio.lowlevel.remove_instrument(self._event_loop)

    def http_connection_evicted(self, server: HttpServer) -> None:
        """Counts a connection that was closed for a newer one."""
        self._http_evicted.labels(server).inc()

    def oidc_answered(self, path: OidcPath, status: int) -> None:
        """Counts an answer of the OIDC server with an HTTP status; invalid HTTP is not counted."""
        self._oidc_answers.labels(path, str(int(status))).inc()

    def oidc_tls_reloaded(self) -> None:
        """Counts a new certificate and key that new connections to the OIDC server get."""
        self._oidc_tls.labels("success").inc()

    def oidc_tls_failed(self) -> None:
        """Counts a changed certificate and key of the OIDC server that cannot be used; it keeps the previous ones."""
        self._oidc_tls.labels("failure").inc()

    def jwks_refreshed(self, keys: int) -> None:
        """Counts a key set that was read, and records the number of its usable keys."""
        self._jwks_refreshes.labels("success").inc()
        self._jwks_keys.set(keys)

    def jwks_refresh_failed(self) -> None:
        """Counts a key set that could not be read; the last good one, if any, is kept."""
        self._jwks_refreshes.labels("failure").inc()

    def jwt_rotated(self, state: JwtKeyState) -> None:
        """Counts a JWT signing key whose new state is stored."""
        self._jwt_key_steps.labels(state).inc()


def _dropped_lines() -> Iterable[Metric]:
    """Reads the count at a scrape: a log call must not depend on metrics."""
    yield CounterMetricFamily(
        "sentry_log_lines_dropped",
        "Log lines that were dropped because the log could not be written, or was read too slowly.",
        value=dropped_lines(),
    )

"""The OIDC server: what it answered, and changes of its certificate."""

import enum

from prometheus_client import CollectorRegistry, Counter


class OidcPath(enum.StrEnum):
    """What was asked of the OIDC server."""

    DISCOVERY = "discovery"
    JWKS = "jwks"
    OTHER = "other"


class OidcSeries:
    """The series of the OIDC server.

    Args:
        registry: where they are registered.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
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
        for outcome in ("success", "failure"):
            self._oidc_tls.labels(outcome)

    def oidc_answered(self, path: OidcPath, status: int) -> None:
        """The OIDC server answered with an HTTP status. What is no HTTP is not counted."""
        self._oidc_answers.labels(path.value, str(int(status))).inc()

    def oidc_tls_reloaded(self) -> None:
        """Another certificate and key are what new connections to the OIDC server are served with."""
        self._oidc_tls.labels("success").inc()

    def oidc_tls_failed(self) -> None:
        """The OIDC server's certificate and key changed, and cannot be used; it goes on as before."""
        self._oidc_tls.labels("failure").inc()

"""The jwks validator: readings of its key set."""

from prometheus_client import CollectorRegistry, Counter, Gauge


class JwksSeries:
    """The series of the jwks validator.

    Args:
        registry: where they are registered.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._jwks_refreshes = Counter(
            "sentry_jwks_refreshes_total",
            "Readings of the key set of the jwks validator, by outcome.",
            ["outcome"],
            registry=registry,
        )
        self._jwks_keys = Gauge(
            "sentry_jwks_keys", "Usable keys in the present key set of the jwks validator.", registry=registry
        )
        for outcome in ("success", "failure"):
            self._jwks_refreshes.labels(outcome)

    def jwks_refreshed(self, keys: int) -> None:
        """A key set was read, with so many usable keys."""
        self._jwks_refreshes.labels("success").inc()
        self._jwks_keys.set(keys)

    def jwks_refresh_failed(self) -> None:
        """A key set could not be read; the last good one, if any, is kept."""
        self._jwks_refreshes.labels("failure").inc()

"""The audit log: what is not in it."""

from prometheus_client import CollectorRegistry, Counter


class AuditSeries:
    """The series of the audit log.

    Args:
        registry: where they are registered.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._audit_lost = Counter(
            "sentry_audit_decisions_lost_total",
            "Decisions on signing requests that could not be written to the audit log.",
            registry=registry,
        )

    def audit_lost(self, decisions: int) -> None:
        """So many decisions on signing requests are not in the audit log."""
        self._audit_lost.inc(decisions)

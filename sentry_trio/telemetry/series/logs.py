"""Series of the log: dropped lines."""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from sentry_trio.telemetry.logs import dropped_lines


class LogSeries:
    """The series of the log.

    Args:
        registry: where they are registered.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        registry.register(_DroppedLines())


class _DroppedLines(Collector):
    """Reads the count at the moment of a scrape: a log call must not depend on metrics."""

    def collect(self) -> Iterable[Metric]:
        yield CounterMetricFamily(
            "sentry_log_lines_dropped",
            "Log lines that were dropped because they could not be written, or not in time.",
            value=dropped_lines(),
        )

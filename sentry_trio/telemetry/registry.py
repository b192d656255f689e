"""Metric families in Dapr Sentry's form, and the label of a gRPC status."""

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from grpclib.const import Status
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

OUTCOMES: Final = ("success", "failure")
"""Values of the label `outcome`."""


class Registry(CollectorRegistry):
    """A registry without `_created` series: Dapr has none, and the library's switch for them is global."""

    def collect(self) -> Iterator[Metric]:
        """Yields all registered families, without the `_created` samples."""
        for family in super().collect():
            family.samples = [sample for sample in family.samples if sample.name != f"{family.name}_created"]
            yield family

    def counter(self, name: str, text: str, *labels: str, values: Iterable[str] = ()) -> Counter:
        """Registers a counter.

        Args:
            name: name, with `_total`.
            text: its help.
            labels: names of its labels.
            values: values of its only label whose series exist from the beginning, at 0, so that the first
                increase is seen as one.
        """
        family = Counter(name, text, labels, registry=self)
        for value in values:
            family.labels(value)
        return family

    def gauge(self, name: str, text: str, *labels: str) -> Gauge:
        """Registers a gauge."""
        return Gauge(name, text, labels, registry=self)

    def histogram(self, name: str, text: str, *labels: str, buckets: Iterable[float]) -> Histogram:
        """Registers a histogram."""
        return Histogram(name, text, labels, registry=self, buckets=tuple(buckets))

    def computed(self, families: Callable[[], Iterable[Metric]]) -> None:
        """Registers families that are computed at each scrape."""
        self.register(_Computed(families))


class _Computed(Collector):
    def __init__(self, families: Callable[[], Iterable[Metric]]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families()


def status_label(code: Status) -> str:
    """Returns a gRPC status as gRPC libraries for Go and Prometheus dashboards write it: `PermissionDenied`."""
    return "OK" if code is Status.OK else code.name.title().replace("_", "")

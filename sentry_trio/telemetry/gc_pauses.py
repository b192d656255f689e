"""Pauses of the garbage collector, in which no other code of the process runs."""

import gc
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import accumulate
from typing import Final

from prometheus_client.metrics_core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

_BUCKETS: Final = (1e-3, 2.5e-3, 5e-3, 10e-3, 20e-3, 50e-3, 100e-3, 250e-3, 1.0)


class GCPauses(Collector):
    """Measures how long collections take.

    Args:
        elapsed: the clock, in seconds from any point; monotonic.
    """

    def __init__(self, elapsed: Callable[[], float]) -> None:
        self._elapsed = elapsed
        self._begin: float | None = None
        self._counts = [0] * (len(_BUCKETS) + 1)
        self._sum = 0.0

    @contextmanager
    def measuring(self) -> Iterator[None]:
        """Measures the collections of the process while the block runs."""
        gc.callbacks.append(self._observe)
        try:
            yield
        finally:
            gc.callbacks.remove(self._observe)

    def _observe(self, phase: str, _info: dict[str, int]) -> None:
        now = self._elapsed()
        if phase == "start":
            self._begin = now
        elif self._begin is not None:
            self._counts[bisect_left(_BUCKETS, now - self._begin)] += 1
            self._sum += now - self._begin

    def collect(self) -> Iterable[Metric]:
        """The histogram as it is now."""
        bounds = [*map(str, _BUCKETS), "+Inf"]
        family = HistogramMetricFamily(
            "sentry_gc_pause_duration_seconds",
            "How long runs of the garbage collector took; meanwhile nothing else is answered.",
        )
        family.add_metric((), list(zip(bounds, accumulate(self._counts), strict=True)), self._sum)
        yield family

"""Durations of the event loop's turns: while one lasts, no other task runs and no health check is answered."""

from bisect import bisect_left
from collections.abc import Callable, Iterable
from itertools import accumulate
from typing import Final

import trio
from prometheus_client.metrics_core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

_BUCKETS: Final = (
    *(100e-6, 250e-6, 500e-6),
    *(1e-3, 2.5e-3, 5e-3, 10e-3, 20e-3, 50e-3, 100e-3, 250e-3, 500e-3),
    *(1.0, 2.5),
)


class EventLoopMonitor(trio.abc.Instrument, Collector):
    """Measures turns, each from the end of a wait for IO to the beginning of the next; see `trio.lowlevel`.

    A hook is called twice a turn, however many tasks run in it. Counting takes a third of what a Prometheus histogram
    takes, so the histogram is made at a scrape.

    Args:
        elapsed: the clock, in seconds from any point; monotonic. Not Trio's, which may be virtual.
    """

    def __init__(self, elapsed: Callable[[], float]) -> None:
        self._elapsed = elapsed
        self._begin: float | None = None
        self._counts = [0] * (len(_BUCKETS) + 1)
        self._sum = 0.0

    def after_io_wait(self, timeout: float) -> None:  # noqa: ARG002  # Trio's signature
        """Begins a turn."""
        self._begin = self._elapsed()

    def before_io_wait(self, timeout: float) -> None:  # noqa: ARG002  # Trio's signature
        """Ends the turn, unless the monitor was added in the midst of it."""
        if self._begin is None:
            return
        duration = self._elapsed() - self._begin
        self._counts[bisect_left(_BUCKETS, duration)] += 1
        self._sum += duration

    def collect(self) -> Iterable[Metric]:
        """The histogram as it is now."""
        bounds = [*map(str, _BUCKETS), "+Inf"]
        family = HistogramMetricFamily(
            "sentry_event_loop_turn_duration_seconds",
            "How long turns of the event loop took; meanwhile nothing else is answered.",
        )
        family.add_metric((), list(zip(bounds, accumulate(self._counts), strict=True)), self._sum)
        yield family

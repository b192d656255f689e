"""Durations in which no other task of the process runs: turns of the event loop, and runs of the garbage collector."""

import gc
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from typing import Final

import trio
from prometheus_client.metrics_core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

_TURN_BUCKETS: Final = (
    *(100e-6, 250e-6, 500e-6),
    *(1e-3, 2.5e-3, 5e-3, 10e-3, 20e-3, 50e-3, 100e-3, 250e-3, 500e-3),
    *(1.0, 2.5),
)
_GC_BUCKETS: Final = (1e-3, 2.5e-3, 5e-3, 10e-3, 20e-3, 50e-3, 100e-3, 250e-3, 1.0)


class _Pauses(Collector):
    """Histogram of durations from `begin` to `end`.

    Counting takes a third of what a Prometheus histogram takes, so the histogram is made at a scrape.

    Args:
        name: name of the series.
        text: its help.
        buckets: upper bounds in seconds.
        elapsed: the clock, in seconds from any point; monotonic.
    """

    def __init__(self, name: str, text: str, buckets: Sequence[float], elapsed: Callable[[], float]) -> None:
        self._name = name
        self._text = text
        self._buckets = buckets
        self._elapsed = elapsed
        self._begin: float | None = None
        self._counts = [0] * (len(buckets) + 1)
        self._sum = 0.0

    def begin(self, timeout: float = 0.0) -> None:  # noqa: ARG002  # Trio's signature
        """Begins a pause. It has the signature of Trio's hooks, so that no function between is called each turn."""
        self._begin = self._elapsed()

    def end(self, timeout: float = 0.0) -> None:  # noqa: ARG002  # Trio's signature
        """Ends the pause."""
        if self._begin is None:
            return  # measuring began in the midst of it
        duration = self._elapsed() - self._begin
        self._counts[bisect_left(self._buckets, duration)] += 1
        self._sum += duration

    def collect(self) -> Iterable[Metric]:
        """Yields the current histogram."""
        bounds = [*map(str, self._buckets), "+Inf"]
        family = HistogramMetricFamily(self._name, self._text)
        family.add_metric((), list(zip(bounds, accumulate(self._counts), strict=True)), self._sum)
        yield family


class EventLoopMonitor(trio.abc.Instrument, _Pauses):
    """Measures turns, each from the end of a wait for IO to the beginning of the next; see `trio.lowlevel`.

    A hook is called twice a turn, however many tasks run in it.

    Args:
        elapsed: the clock, in seconds from any point; monotonic. Not Trio's, which may be virtual.
    """

    def __init__(self, elapsed: Callable[[], float]) -> None:
        super().__init__(
            "sentry_event_loop_turn_duration_seconds",
            "Duration of turns of the event loop, during which nothing else is answered.",
            _TURN_BUCKETS,
            elapsed,
        )

    after_io_wait = _Pauses.begin
    before_io_wait = _Pauses.end


class GCPauses(_Pauses):
    """Measures the durations of garbage collections.

    Args:
        elapsed: the clock, in seconds from any point; monotonic.
    """

    def __init__(self, elapsed: Callable[[], float]) -> None:
        super().__init__(
            "sentry_gc_pause_duration_seconds",
            "Duration of runs of the garbage collector, during which nothing else is answered.",
            _GC_BUCKETS,
            elapsed,
        )

    @contextmanager
    def measuring(self) -> Iterator[None]:
        """Measures the collections of the process while the block runs."""
        gc.callbacks.append(self._observe)
        try:
            yield
        finally:
            gc.callbacks.remove(self._observe)

    def _observe(self, phase: str, _info: dict[str, int]) -> None:
        if phase == "start":
            self.begin()
        else:
            self.end()

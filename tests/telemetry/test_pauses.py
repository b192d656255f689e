"""Turns of the event loop, by a clock that tasks move: a turn lasts as long as all tasks that run in it."""

import gc

import trio

from sentry_trio.telemetry.metrics import Metrics
from testkit.scraping import value

NAME = "sentry_event_loop_turn_duration_seconds"


class Clock:
    """A clock that does not advance until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def measured(*turns: float, tasks: int = 1) -> Metrics:
    """Runs tasks that each take so long in each of their turns, which they share."""
    clock = Clock()
    metrics = Metrics(elapsed=clock)

    async def work() -> None:
        for duration in turns:
            clock.now += duration / tasks
            await trio.lowlevel.checkpoint()

    async def main() -> None:
        clock.now += 7  # in the turn in which the monitor is added
        with metrics.event_loop():
            await trio.lowlevel.checkpoint()
            async with trio.open_nursery() as nursery:
                for _ in range(tasks):
                    nursery.start_soon(work)
            await trio.lowlevel.checkpoint()
        clock.now += 7
        await trio.lowlevel.checkpoint()

    trio.run(main)
    return metrics


def longer_than(metrics: Metrics, bound: str) -> float:
    return value(metrics, f"{NAME}_count") - value(metrics, f"{NAME}_bucket", le=bound)


def test_long_turns_are_counted_apart() -> None:
    metrics = measured(0.3, 0.02, 0.3, 0.0)
    assert longer_than(metrics, "0.25") == 2
    assert longer_than(metrics, "0.5") == 0
    assert longer_than(metrics, "0.01") == 3
    assert round(value(metrics, f"{NAME}_sum"), 6) == 0.62


def test_a_turn_lasts_as_long_as_all_tasks_that_run_in_it() -> None:
    metrics = measured(0.3, tasks=10)
    assert longer_than(metrics, "0.25") == 1
    assert round(value(metrics, f"{NAME}_sum"), 6) == 0.3


def test_a_turn_of_exactly_a_bound_is_within_it() -> None:
    metrics = measured(0.25)
    assert longer_than(metrics, "0.25") == 0
    assert longer_than(metrics, "0.1") == 1


def test_a_wait_for_io_is_no_turn() -> None:
    clock = Clock()
    metrics = Metrics(elapsed=clock)

    class Waiting(trio.abc.Instrument):
        """Time passes while the event loop waits."""

        def after_io_wait(self, timeout: float) -> None:
            clock.now += timeout

    async def main() -> None:
        trio.lowlevel.add_instrument(Waiting())
        with metrics.event_loop():
            await trio.sleep(0.001)
            await trio.lowlevel.checkpoint()

    trio.run(main)
    assert value(metrics, f"{NAME}_sum") == 0


def test_nothing_is_measured_outside_an_event_loop() -> None:
    metrics = Metrics()
    assert value(metrics, f"{NAME}_count") == 0
    assert value(metrics, f"{NAME}_bucket", le="+Inf") == 0


def test_pauses_of_the_garbage_collector_are_measured_beside_the_loop() -> None:
    metrics = Metrics()

    async def main() -> None:
        gc.collect()
        with metrics.event_loop():
            gc.collect()
            gc.collect()
        gc.collect()

    callbacks = list(gc.callbacks)
    gc.disable()
    trio.run(main)
    gc.enable()
    assert gc.callbacks == callbacks
    assert value(metrics, "sentry_gc_pause_duration_seconds_count") == 2
    assert value(metrics, "sentry_gc_pause_duration_seconds_sum") > 0

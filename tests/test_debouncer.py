"""Merging of signals, in virtual time."""

import trio
from trio.testing import MockClock

from sentry_trio.debouncer import Debouncer


async def test_signals_before_a_wait_are_one(autojump_clock: MockClock) -> None:
    debouncer = Debouncer(quiet=1, longest=5)
    debouncer.signal()
    debouncer.signal()
    await debouncer.wait_signal()
    with trio.move_on_after(100) as scope:
        await debouncer.wait_signal()
    assert scope.cancelled_caught


async def test_a_burst_ends_when_it_is_quiet(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    debouncer = Debouncer(quiet=1, longest=5)

    async def burst() -> None:
        for _ in range(4):
            debouncer.signal()
            await trio.sleep(0.5)

    nursery.start_soon(burst)
    await debouncer.wait_signal()
    await debouncer.wait_quiet()
    assert trio.current_time() == 2.5


async def test_a_long_burst_is_cut_short(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    debouncer = Debouncer(quiet=1, longest=5)

    async def burst() -> None:
        while True:
            debouncer.signal()
            await trio.sleep(0.7)

    nursery.start_soon(burst)
    await debouncer.wait_quiet()
    assert trio.current_time() == 5
    nursery.cancel_scope.cancel()


async def test_a_wait_that_is_cancelled_loses_no_signal(autojump_clock: MockClock) -> None:
    debouncer = Debouncer(quiet=1, longest=5)
    debouncer.signal()
    with trio.CancelScope() as scope:
        scope.cancel()
        await debouncer.wait_signal()
    assert scope.cancelled_caught
    with trio.fail_after(1):
        await debouncer.wait_signal()

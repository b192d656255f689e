"""Clocks that hold a renewal: one that was set or disagrees does, a corrected or suspended one does not."""

from datetime import UTC, datetime, timedelta

import pytest

from sentry_trio.environments.clocks import HOLD, ClockGuard

START = datetime(2026, 3, 1, tzinfo=UTC)
SKEW = timedelta(minutes=15)


class Clocks:
    """A machine's clocks.

    Attributes:
        wall: the wall clock.
        elapsed: seconds since the machine was started.
        ahead: how far the API server's clock is ahead; None if unknown.
    """

    def __init__(self) -> None:
        self.wall = START
        self.elapsed = 1000.0
        self.ahead: timedelta | None = None
        self.guard = ClockGuard(lambda: self.wall, elapsed=lambda: self.elapsed, server_offset=lambda: self.ahead)

    def advance(self, time: timedelta, *, wall: timedelta | None = None) -> None:
        self.elapsed += time.total_seconds()
        self.wall += time if wall is None else wall


@pytest.mark.parametrize("set_to", [timedelta(hours=-1), timedelta(days=365)])
def test_a_clock_that_was_set_holds_for_ten_minutes(set_to: timedelta) -> None:
    clocks = Clocks()
    assert clocks.guard.reason_to_hold(SKEW) is None
    clocks.advance(timedelta(seconds=1), wall=set_to)
    assert "the clock was set" in str(clocks.guard.reason_to_hold(SKEW))
    clocks.advance(HOLD - timedelta(seconds=1))
    assert clocks.guard.reason_to_hold(SKEW) is not None
    clocks.advance(timedelta(seconds=1))
    assert clocks.guard.reason_to_hold(SKEW) is None


def test_a_suspended_machine_holds_nothing() -> None:
    clocks = Clocks()
    clocks.advance(timedelta(days=3))
    assert clocks.guard.reason_to_hold(SKEW) is None


@pytest.mark.parametrize("skew", [timedelta(), SKEW])
def test_small_corrections_hold_nothing_whatever_the_skew(skew: timedelta) -> None:
    clocks = Clocks()
    clocks.advance(timedelta(minutes=1), wall=timedelta(seconds=59))
    assert clocks.guard.reason_to_hold(skew) is None


def test_an_api_server_with_another_time_holds_until_both_agree() -> None:
    clocks = Clocks()
    clocks.ahead = timedelta(hours=1)
    assert clocks.guard.reason_to_hold(SKEW) == "this machine's clock is 3600 s behind the API server's: set it"
    clocks.ahead = -timedelta(seconds=30)
    assert clocks.guard.reason_to_hold(SKEW) is None

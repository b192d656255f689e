"""Clocks that a renewal depends on."""

from datetime import UTC, datetime, timedelta

from sentry_trio.environments.clocks import ClockGuard, boot_time
from sentry_trio.kube.transport import _offset_of

START = datetime(2030, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def test_a_suspended_machine_is_no_clock_that_was_set() -> None:
    passed = 0.0
    guard = ClockGuard(lambda: START + timedelta(seconds=passed), elapsed=lambda: passed, server_offset=lambda: None)
    passed = 1e7
    assert guard.reason_to_hold(MINUTE) is None


def test_time_since_the_start_of_the_machine_never_goes_back() -> None:
    assert 0 < boot_time() <= boot_time()


def test_the_date_of_an_answer_gives_the_server_s_clock() -> None:
    assert _offset_of(None) is None
    assert _offset_of("yesterday") is None
    assert _offset_of("Fri, 01 Jan 99999999999999999999 00:00:00 GMT") is None
    ahead = _offset_of("Fri, 01 Jan 2100 00:00:00 GMT")
    assert ahead is not None
    assert ahead > timedelta(days=1000)

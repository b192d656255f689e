"""Moments are told in UTC, to the microsecond."""

from datetime import datetime, timedelta, timezone

from sentry_trio.audit.moments import timestamp


def test_times_are_in_utc() -> None:
    moment = datetime(2026, 3, 1, 1, 30, tzinfo=timezone(timedelta(hours=2)))
    assert timestamp(moment) == "2026-02-28T23:30:00.000000Z"

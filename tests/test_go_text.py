"""Go's forms of text, durations and times, against what Go prints."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentry_trio.go_text import format_duration, quote, timestamp
from tests.telemetry.unquote import unquote

CEST = timezone(timedelta(hours=2))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("abc", '"abc"'),
        ('a"b\\', r'"a\"b\\"'),
        ("\a\b\f\n\r\t\v", r'"\a\b\f\n\r\t\v"'),
        ("\x00\x7f", r'"\x00\x7f"'),
        ("é 世", '"é 世"'),
        ("\u00a0\ufeff", r'"\u00a0\ufeff"'),
        ("\U000e0001", r'"\U000e0001"'),
        ("\udcff", r'"\xff"'),
        ("\ud800", r'"\ufffd"'),
    ],
)
def test_quoting(text: str, expected: str) -> None:
    assert quote(text) == expected


@settings(max_examples=100, deadline=None)
@given(st.text())
def test_go_reads_quoted_text_back(text: str) -> None:
    line = quote(text)
    assert len(line.splitlines()) == 1
    assert line.isprintable()
    assert unquote(line) == text.encode()


@settings(max_examples=100, deadline=None)
@given(st.binary())
def test_go_reads_back_bytes_that_are_no_text(data: bytes) -> None:
    assert unquote(quote(data.decode("utf-8", "surrogateescape"))) == data


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        (timedelta(), "0s"),
        (timedelta(hours=24), "24h0m0s"),
        (timedelta(minutes=15), "15m0s"),
        (timedelta(seconds=10), "10s"),
        (timedelta(seconds=1.5), "1.5s"),
        (timedelta(milliseconds=100), "100ms"),
        (timedelta(microseconds=1500), "1.5ms"),
        (timedelta(microseconds=1), "1\u00b5s"),
        (timedelta(hours=1, microseconds=10), "1h0m0.00001s"),
        (timedelta(hours=-1.5), "-1h30m0s"),
        (timedelta(days=365), "8760h0m0s"),
    ],
)
def test_durations(duration: timedelta, text: str) -> None:
    assert format_duration(duration) == text


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        (datetime(2026, 3, 1, 12, 0, 5, 123456, tzinfo=UTC), "2026-03-01T12:00:05.123456Z"),
        (datetime(2026, 3, 1, 12, 0, 5, 120000, tzinfo=UTC), "2026-03-01T12:00:05.12Z"),
        (datetime(2026, 3, 1, 12, 0, 5, 7, tzinfo=UTC), "2026-03-01T12:00:05.000007Z"),
        (datetime(2026, 3, 1, 12, 0, 5, tzinfo=UTC), "2026-03-01T12:00:05Z"),
        (datetime(2026, 3, 1, 12, 0, 10, tzinfo=CEST), "2026-03-01T12:00:10+02:00"),
        (datetime(2026, 3, 1, 12, 0, 0, 500000, tzinfo=timezone(-timedelta(hours=3, minutes=30))),
         "2026-03-01T12:00:00.5-03:30"),
    ],
)  # fmt: skip
def test_timestamps(moment: datetime, expected: str) -> None:
    assert timestamp(moment) == expected


def test_a_naive_timestamp_is_local_time() -> None:
    naive = datetime(2026, 3, 1, 12, 0, 5)  # noqa: DTZ001 - that is the case
    assert timestamp(naive) == timestamp(naive.astimezone())

"""Go's forms of text and values, against what Go prints."""

import enum
from datetime import UTC, datetime, timedelta, timezone
from pathlib import PurePosixPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentry_trio.telemetry.log_format import plain, quoted, timestamp, value_text
from tests.telemetry.unquote import unquote

CEST = timezone(timedelta(hours=2))


class Colour(enum.StrEnum):
    RED = "red"


class OldColour(str, enum.Enum):  # noqa: UP042 - the kind whose __format__ differs between Python versions
    RED = "red"


class Hostile:
    def __str__(self) -> str:
        raise RuntimeError("no")


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


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("plain-._/@^+09", "plain-._/@^+09"),
        ("two words", '"two words"'),
        ("a=b", '"a=b"'),
        ("a\nlevel=error", r'"a\nlevel=error"'),
        ("trailing\n", r'"trailing\n"'),
        ('say "hi" \\', r'"say \"hi\" \\"'),
        ("\a\b\f\n\r\t\v", r'"\a\b\f\n\r\t\v"'),
        ("\x00\x1b\x7f", r'"\x00\x1b\x7f"'),
        ("\x85\xa0", r'"\u0085\u00a0"'),
        ("\u2028\u202e\ufeff", r'"\u2028\u202e\ufeff"'),
        ("\U000e0001", r'"\U000e0001"'),
        ("grün 証明書 🔑", '"grün 証明書 🔑"'),
        ("\udcff\udc80", r'"\xff\x80"'),
        ("\ud800", r'"\ufffd"'),
        ("ä", '"ä"'),
    ],
)
def test_values(text: str, expected: str) -> None:
    assert value_text(text) == expected


@settings(max_examples=100, deadline=None)
@given(st.text())
def test_go_reads_back_what_is_quoted(text: str) -> None:
    line = quoted(text)
    assert len(line.splitlines()) == 1
    assert line.isprintable()
    assert unquote(line) == text.encode()


@settings(max_examples=100, deadline=None)
@given(st.binary())
def test_go_reads_back_bytes_that_are_no_text(data: bytes) -> None:
    assert unquote(quoted(data.decode("utf-8", "surrogateescape"))) == data


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("text", "text"),
        (None, "<nil>"),
        (True, "true"),
        (False, "false"),
        (7, "7"),
        (1.5, "1.5"),
        (b"ab\xff", "ab\udcff"),
        (["a", "b c"], "[a b c]"),
        (("a", None), "[a <nil>]"),
        ({"b", "a"}, "[a b]"),
        ({"b": 1, "a": [True]}, "map[a:[true] b:1]"),
        (PurePosixPath("/x"), "/x"),
        (datetime(2026, 1, 2, tzinfo=UTC), "2026-01-02T00:00:00Z"),
        (Colour.RED, "red"),
        (OldColour.RED, "red"),
        (Hostile(), "<unprintable Hostile>"),
    ],
)
def test_plain(value: object, expected: str) -> None:
    shown = plain(value)
    assert f"{shown}" == expected


def test_a_list_that_holds_itself_ends() -> None:
    loop: list[object] = []
    loop.append(loop)
    assert plain(loop) == "[[[[[[...]]]]]]"

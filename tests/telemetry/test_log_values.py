"""Go's forms of values, against what Go prints."""

import enum
from datetime import UTC, datetime
from pathlib import PurePosixPath

import pytest

from sentry_trio.telemetry.log_format import plain, value_text


class Colour(enum.StrEnum):
    RED = "red"


class OldColour(str, enum.Enum):  # noqa: UP042 - the kind whose __format__ differs between Python versions
    RED = "red"


class Hostile:
    def __str__(self) -> str:
        raise RuntimeError("no")


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

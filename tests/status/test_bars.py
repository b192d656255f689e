"""Time in words and as a bar."""

from datetime import timedelta

import pytest

from sentry_trio.status.bars import bar, duration, part_left, words
from testkit.ca.making import DAY, HOUR, NOW

from .making import ANCHOR, link


@pytest.mark.parametrize(
    ("length", "said"),
    [
        (timedelta(0), "0 s"),
        (timedelta(seconds=59, milliseconds=999), "59 s"),
        (timedelta(seconds=60), "1 min"),
        (timedelta(minutes=59, seconds=8), "59 min 8 s"),
        (timedelta(hours=23, minutes=59, seconds=59), "23 h 59 min"),
        (timedelta(days=1, minutes=59), "1 d"),
        (timedelta(days=364, hours=23), "364 d 23 h"),
        (-timedelta(hours=3), "3 h"),
        (timedelta.max, "999999999 d 23 h"),
    ],
)
def test_two_units_are_enough(length: timedelta, said: str) -> None:
    assert duration(length) == said


@pytest.mark.parametrize(
    ("begin", "end", "said", "left"),
    [
        (-3 * DAY, DAY, "1 d left", 0.25),
        (-DAY, timedelta(0), "0 s left", 0.0),
        (-DAY, -HOUR, "expired 1 h ago", 0.0),
        (HOUR, DAY, "not valid for another 1 h", 1.0),
        (timedelta(0), DAY, "1 d left", 1.0),
        (DAY, HOUR, "not valid for another 1 d", 0.0),
        (timedelta(0), timedelta(0), "0 s left", 0.0),
    ],
)
def test_where_a_certificate_stands(begin: timedelta, end: timedelta, said: str, left: float) -> None:
    certificate = link("anchor", ANCHOR, not_before=NOW + begin, not_after=NOW + end)
    assert words(certificate, NOW) == said
    assert part_left(certificate, NOW) == left


@pytest.mark.parametrize(
    ("part", "drawn"),
    [(0, "----"), (0.001, "#---"), (0.5, "##--"), (0.999, "###-"), (1, "####")],
)
def test_full_and_empty_mean_all_and_nothing(part: float, drawn: str) -> None:
    assert bar(part, 4, unicode=False) == drawn
    assert bar(part, 4, unicode=True) == drawn.replace("#", "█").replace("-", "░")


def test_a_bar_of_one_cell() -> None:
    assert [bar(part, 1, unicode=False) for part in (0, 0.4, 0.6, 1)] == ["-", "-", "#", "#"]

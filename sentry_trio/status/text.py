"""Texts of a report for people; pure."""

from datetime import timedelta
from typing import Final

_MAX_TEXT: Final = 1000  # characters of a text from elsewhere
_UNITS: Final = ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def plain(text: str) -> str:
    """A text of others on one line, of bounded length and without control characters."""
    shown = "".join(each if each.isprintable() else "?" for each in " ".join(text[: 2 * _MAX_TEXT].split()))
    return shown if len(shown) <= _MAX_TEXT else f"{shown[:_MAX_TEXT]}..."


def duration(length: timedelta) -> str:
    """The two largest units, e.g. `3 d 4 h`, `59 min 8 s`, `0 s`; without a sign."""
    left = abs(length) // timedelta(seconds=1)
    sizes = iter(_UNITS)
    size, unit = next((size, unit) for size, unit in sizes if left >= size or size == 1)
    smaller, smaller_unit = next(sizes, (1, ""))
    count, rest = left // size, left % size // smaller
    return f"{count} {unit} {rest} {smaller_unit}" if rest else f"{count} {unit}"

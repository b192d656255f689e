"""Time as people read it: what is left, in words and as a bar; pure."""

from datetime import datetime, timedelta

from sentry_trio.ca.lineage import Link

_SECOND = timedelta(seconds=1)
_UNITS = ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def duration(length: timedelta) -> str:
    """The two largest units, e.g. `3 d 4 h`, `59 min 8 s`, `0 s`; without a sign."""
    left = abs(length) // _SECOND
    for index, (size, unit) in enumerate(_UNITS):
        if left < size and size > 1:
            continue
        count, rest = divmod(left, size)
        if index + 1 == len(_UNITS):
            return f"{count} {unit}"
        smaller, name = _UNITS[index + 1]
        return f"{count} {unit} {rest // smaller} {name}" if rest // smaller else f"{count} {unit}"
    raise AssertionError("seconds are always a unit")


def words(link: Link, now: datetime) -> str:
    """Where a certificate stands, e.g. `3 d 4 h left`, `expired 2 h ago`."""
    if now > link.not_after:
        return f"expired {duration(now - link.not_after)} ago"
    if now < link.not_before:
        return f"not valid for another {duration(link.not_before - now)}"
    return f"{duration(link.not_after - now)} left"


def part_left(link: Link, now: datetime) -> float:
    """How much of a certificate's lifetime is left, from 0 to 1; all of it before it has begun."""
    lifetime = link.not_after - link.not_before
    if lifetime <= timedelta(0):
        return 0.0
    return min(1.0, max(0.0, (link.not_after - now) / lifetime))


def bar(part: float, width: int, *, unicode: bool) -> str:
    """A bar of `width` cells. Full only when all is left, and empty only when nothing is."""
    full, empty = ("█", "░") if unicode else ("#", "-")
    filled = round(part * width)
    if 0 < part < 1 and width > 1:
        filled = min(max(filled, 1), width - 1)
    return full * filled + empty * (width - filled)

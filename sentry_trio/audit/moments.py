"""Moments as lines tell them."""

from datetime import UTC, datetime


def timestamp(moment: datetime) -> str:
    """A moment in RFC 3339, in UTC, to the microsecond."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")

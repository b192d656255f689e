"""How long an answer of HTTP is fresh (RFC 9111, section 4.2)."""

import re
from collections.abc import Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Final

_MAX_AGE: Final = re.compile(r'max-age="?([0-9]{1,12})"?')


def fresh_for(headers: Mapping[str, str], now: datetime) -> float:
    """Seconds, 0 where the answer does not say or says that it is not to be kept.

    Args:
        headers: of the answer, names in lower case.
        now: the wall clock, aware; for answers without `Date`.
    """
    directives = [directive.strip().lower() for directive in headers.get("cache-control", "").split(",")]
    if {"no-store", "no-cache"} & set(directives):
        return 0
    for directive in directives:
        if match := _MAX_AGE.fullmatch(directive):
            age = headers.get("age", "")
            return max(0.0, int(match[1]) - (int(age) if age.isdecimal() and len(age) <= 12 else 0))
    expires = _date(headers.get("expires"))
    if expires is None:
        return 0
    return max(0.0, (expires - (_date(headers.get("date")) or now)).total_seconds())


def _date(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        found = parsedate_to_datetime(text)
    except (ValueError, OverflowError, IndexError, TypeError):
        return None
    return found if found.tzinfo else None

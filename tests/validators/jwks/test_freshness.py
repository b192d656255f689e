"""Freshness of an answer."""

from datetime import UTC, datetime

import pytest

from sentry_trio.validators.jwks.fetching import fresh_for

DATE = "Thu, 01 Jan 2026 00:00:00 GMT"
LATER = "Thu, 01 Jan 2026 00:01:40 GMT"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, 0),
        ({"cache-control": "public, Max-Age=60"}, 60),
        ({"cache-control": 'max-age="60"', "age": "15"}, 45),
        ({"cache-control": "max-age=60", "age": "x"}, 60),
        ({"cache-control": "max-age=60", "age": "90"}, 0),
        ({"cache-control": "max-age=60, no-store"}, 0),
        ({"cache-control": "no-cache", "expires": LATER}, 0),
        ({"cache-control": "max-age=-1"}, 0),
        ({"cache-control": "max-age=" + "9" * 5000}, 0),
        ({"expires": LATER}, 90),
        ({"expires": LATER, "date": DATE}, 100),
        ({"expires": LATER, "cache-control": "max-age=5"}, 5),
        ({"expires": DATE, "date": LATER}, 0),
        ({"expires": "0"}, 0),
        ({"expires": "-1"}, 0),
        ({"expires": "Thu, 01 Jan 99999 00:00:00 GMT"}, 0),
        ({"expires": "Thu, 01 Jan 2026 00:01:40 -0000"}, 0),
    ],
)
def test_headers(headers: dict[str, str], seconds: float) -> None:
    assert fresh_for(headers, datetime(2026, 1, 1, 0, 0, 10, tzinfo=UTC)) == seconds

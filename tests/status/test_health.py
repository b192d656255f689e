"""What a replica says of itself, read with care: anything may answer on a port."""

import json
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentry_trio.ca.lineage import Link
from sentry_trio.status.health import NotOursError, read_health

SAID: dict[str, Any] = {
    "version": "0.1.0",
    "mode": "standalone",
    "started_at": "2026-11-25T20:00:00.5+00:00",
    "run": 2,
    "bundle": "ab",
    "loaded_at": "2026-11-25T22:00:00+02:00",
    "last_restart": "succeeded",
    "last_restart_at": "2026-11-25T20:00:00Z",
    "degraded": None,
    "certificates": [
        {
            "role": "anchor",
            "subject": "CN=root",
            "fingerprint": "cd",
            "not_before": "2026-01-01T00:00:00Z",
            "not_after": "2027-01-01T00:00:00Z",
            "signed_by": None,
        }
    ],
    "ready": True,
    "targets": {"a": True, "b": False},
    "to come": [1],
}


def read(**changes: object) -> Any:
    return read_health(json.dumps({**SAID, **changes}).encode())


def test_all_of_it() -> None:
    health = read()
    assert (health.ready, health.run, health.bundle, health.degraded) == (True, 2, "ab", None)
    assert health.started_at == datetime(2026, 11, 25, 20, 0, 0, 500_000, UTC)
    assert health.loaded_at == health.last_restart_at == datetime(2026, 11, 25, 20, tzinfo=UTC)
    assert health.loaded_at.utcoffset().total_seconds() == 0
    assert health.certificates == (
        Link("anchor", "CN=root", "cd", datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)),
    )
    assert health.anchors == ("cd",)
    assert health.unready == ("b",)


def test_of_a_release_that_told_less() -> None:
    least = {name: SAID[name] for name in ("run", "bundle", "degraded", "ready", "targets")}
    health = read_health(json.dumps(least).encode())
    assert (health.version, health.started_at, health.certificates, health.anchors) == (None, None, (), ())


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"<html>",
        b"\xff\xfe",
        b"{}",
        b"[" * 100_000,
        json.dumps({**SAID, "run": -1}).encode(),
        json.dumps({**SAID, "ready": "yes"}).encode(),
        json.dumps({**SAID, "loaded_at": "2026-11-25T20:00:00"}).encode(),
        json.dumps({**SAID, "loaded_at": "0001-01-01T00:00:00+10:00"}).encode(),
        json.dumps({**SAID, "certificates": SAID["certificates"] * 1001}).encode(),
        json.dumps({**SAID, "targets": {str(number): True for number in range(1001)}}).encode(),
    ],
    ids=lambda body: repr(body[:20]),
)
def test_what_is_none(body: bytes) -> None:
    with pytest.raises(NotOursError, match="no health report of sentry-trio: "):
        read_health(body)


ANYTHING: st.SearchStrategy[object] = (
    st.none() | st.booleans() | st.integers() | st.text() | st.just([{}]) | st.just({"a": 1})
)
BROKEN = st.dictionaries(st.sampled_from(sorted(SAID)), ANYTHING)


@settings(deadline=None)
@given(st.binary() | BROKEN.map(lambda changes: json.dumps({**SAID, **changes}).encode()))
def test_any_bytes_are_a_report_or_are_refused(body: bytes) -> None:
    with suppress(NotOursError):
        read_health(body)

"""The expiry watcher in virtual time, with a wall clock that can be set."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
import trio
from trio.testing import MockClock

from sentry_trio.ca.bundle import TrustBundle, verify
from sentry_trio.ca.expiry import ExpiryState, ValidityState
from sentry_trio.ca.generate import generate
from sentry_trio.ca.keys import KeyType
from sentry_trio.watchers.expiry import watch_expiry
from testkit.ca.making import parsed
from testkit.log_capture import capture_logs

BORN = datetime(2026, 1, 1, tzinfo=UTC)
SKEW = timedelta(minutes=15)
LIFETIME = timedelta(days=365)


class Wall:
    """A wall clock that goes with virtual time until it is set."""

    def __init__(self, at: datetime) -> None:
        self.start = at

    def __call__(self) -> datetime:
        return self.start + timedelta(seconds=trio.current_time())

    def set_by(self, step: timedelta) -> None:
        self.start += step


@pytest.fixture(scope="module")
def bundle() -> TrustBundle:
    stored = generate("cluster.local", "dapr", KeyType.ED25519, now=BORN, allowed_clock_skew=SKEW, lifetime=LIFETIME)
    return verify(stored, BORN)


class Watched:
    """A watch on a bundle at a certain moment: what it reported, and when."""

    def __init__(self, bundle: TrustBundle, at: datetime) -> None:
        self.wall = Wall(at)
        self.reports: list[tuple[float, list[ValidityState]]] = []
        self._bundle = bundle

    def _report(self, states: Sequence[ExpiryState]) -> None:
        self.reports.append((trio.current_time(), [each.state for each in states]))

    async def start(self, nursery: trio.Nursery) -> None:
        async def run(task_status: trio.TaskStatus[None]) -> None:
            await watch_expiry(self._bundle, now=self.wall, report=self._report, task_status=task_status)

        await nursery.start(run)


@pytest.mark.parametrize(
    ("left", "level", "root", "issuer"),
    [
        (timedelta(days=90, seconds=1), "debug", "is still valid for 2160h0m1s", "is still valid for 2160h0m1s"),
        (
            timedelta(days=2, hours=5, minutes=59),
            "warning",
            "expiration warning: certificate expires in 2 days and 5 hours",
            "expiration warning: certificate expires in 2 days and 5 hours",
        ),
        (
            timedelta(seconds=-1),
            "warning",
            "expiration warning: certificate has expired.",
            "expiration warning: certificate has expired.",
        ),
    ],
    ids=["valid", "expiring", "expired"],
)
async def test_the_first_check_is_made_at_once(
    autojump_clock: MockClock, bundle: TrustBundle, left: timedelta, level: str, root: str, issuer: str
) -> None:
    watched = Watched(bundle, bundle.not_after - left)
    with capture_logs() as lines:
        async with trio.open_nursery() as nursery:
            await watched.start(nursery)
            assert [moment for moment, _ in watched.reports] == [0]
            nursery.cancel_scope.cancel()
    assert [(line["log_level"], line["event"]) for line in lines] == [
        ("debug", "starting certificate expiration watcher"),
        (level, f"Dapr root certificate {root}"),
        (level, f"Dapr issuer certificate {issuer}"),
        ("debug", "terminating certificate expiration watcher"),
    ]
    assert [line["role"] for line in lines[1:-1]] == ["anchor", "issuer"]
    assert [line["subject"] for line in lines[1:-1]] == [
        parsed(bundle.anchors[0]).subject.rfc4514_string(),
        parsed(bundle.issuer).subject.rfc4514_string(),
    ]
    assert all(len(line["fingerprint"]) == 64 for line in lines[1:-1])


async def test_then_hourly(autojump_clock: MockClock, bundle: TrustBundle) -> None:
    watched = Watched(bundle, bundle.not_after - timedelta(days=30, minutes=90))
    async with trio.open_nursery() as nursery:
        await watched.start(nursery)
        await trio.sleep(3 * 3600 + 1)
        nursery.cancel_scope.cancel()
    valid, expiring = [ValidityState.VALID] * 2, [ValidityState.EXPIRING] * 2
    assert watched.reports == [(0, valid), (3600, valid), (7200, expiring), (10800, expiring)]


@pytest.mark.parametrize(
    ("step", "reported"),
    [
        (timedelta(days=400), "The wall clock went forward by 34560000 s against elapsed time"),
        (timedelta(seconds=61), "The wall clock went forward by 61 s against elapsed time"),
        (timedelta(seconds=-61), "The wall clock went back by 61 s against elapsed time"),
    ],
)
async def test_a_wall_clock_that_is_set_is_noticed_within_a_minute(
    autojump_clock: MockClock, bundle: TrustBundle, step: timedelta, reported: str
) -> None:
    watched = Watched(bundle, BORN)
    with capture_logs() as lines:
        async with trio.open_nursery() as nursery:
            await watched.start(nursery)
            await trio.sleep(90)
            watched.wall.set_by(step)
            await trio.sleep(3600)
            nursery.cancel_scope.cancel()
    state = ValidityState.EXPIRED if step > LIFETIME else ValidityState.VALID
    assert watched.reports == [(0, [ValidityState.VALID] * 2), (120, [state] * 2)]
    warnings = [line["event"] for line in lines if line["log_level"] == "warning" and "role" not in line]
    assert warnings == [f"{reported}; checking the certificates again"]


async def test_the_hour_begins_anew_after_a_jump(autojump_clock: MockClock, bundle: TrustBundle) -> None:
    watched = Watched(bundle, BORN)
    async with trio.open_nursery() as nursery:
        await watched.start(nursery)
        watched.wall.set_by(timedelta(hours=2))
        await trio.sleep(2 * 3600)
        nursery.cancel_scope.cancel()
    assert [moment for moment, _ in watched.reports] == [0, 60, 3660]


async def test_small_corrections_do_not_add_up(autojump_clock: MockClock, bundle: TrustBundle) -> None:
    watched = Watched(bundle, BORN)
    async with trio.open_nursery() as nursery:
        await watched.start(nursery)
        await trio.sleep(30)
        for _ in range(30):
            watched.wall.set_by(timedelta(seconds=59))
            await trio.sleep(60)
        nursery.cancel_scope.cancel()
    assert [moment for moment, _ in watched.reports] == [0]

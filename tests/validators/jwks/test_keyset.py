"""A key set kept up to date, in virtual time."""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
import trio
from trio.testing import MockClock

from sentry_trio.errors import ValidatorNotReadyError
from sentry_trio.key_cache import PATIENCE, PAUSE
from sentry_trio.telemetry.metrics import Metrics
from sentry_trio.tokens.keys import ECDSA, read_keys
from sentry_trio.validators.jwks.keyset import LONGEST, KeySet, Loaded, Source, SourceError
from testkit.log_capture import capture_logs
from tests.validators.jwks.test_validator import jwk


@dataclass
class Remote:
    """A source in memory: its content, and when it was read."""

    kids: list[str] = field(default_factory=lambda: ["one"])
    fresh_for: float = 0
    delay: float = 0
    away: bool = False
    read_at: list[float] = field(default_factory=list)
    name: str = "remote"

    async def load(self) -> Loaded:
        self.read_at.append(trio.current_time())
        await trio.sleep(self.delay)
        if self.away:
            raise SourceError("failed to fetch JWKS: status 500")
        return Loaded(read_keys([jwk("ES256", kid=kid) for kid in self.kids], ECDSA).usable, self.fresh_for)


def key_set(remote: Remote, *, interval: float = 600, chance: Callable[[], float] = lambda: 0) -> KeySet:
    return KeySet(Source(remote.name, remote.load), interval=interval, metrics=Metrics(), chance=chance)


async def readable_again(remote: Remote, nursery: trio.Nursery) -> KeySet:
    """A key set that has been read, and is read again as soon as a key is unknown."""
    keys = key_set(remote)
    nursery.start_soon(keys.keep)
    await keys.wait_tried()
    await trio.sleep(PAUSE)
    return keys


async def kept(remote: Remote, seconds: float, *, interval: float = 600) -> list[float]:
    """Times at which a source is read within so many seconds."""
    with trio.move_on_after(seconds):
        await key_set(remote, interval=interval).keep()
    return [time - remote.read_at[0] for time in remote.read_at]


async def test_it_is_read_when_it_is_due(autojump_clock: MockClock) -> None:
    assert await kept(Remote(), 1250) == [0, 600, 1200]
    assert await kept(Remote(fresh_for=1000), 2500) == [0, 1000, 2000]
    assert await kept(Remote(fresh_for=5), 1250) == [0, 600, 1200]
    assert await kept(Remote(), 7, interval=2) == [0, 2, 4, 6]
    assert await kept(Remote(fresh_for=1e9), LONGEST + 1) == [0, LONGEST]


async def test_chance_adds_up_to_a_tenth(autojump_clock: MockClock) -> None:
    assert await key_set(Remote(), chance=lambda: 0.5).refresh() == pytest.approx(630)


async def test_failures_are_retried_with_growing_pauses_and_logged_once(autojump_clock: MockClock) -> None:
    remote = Remote(away=True)
    with capture_logs() as lines:
        assert await kept(remote, 200) == [0, 1, 3, 7, 15, 31, 63, 123, 183]
    assert [line["event"] for line in lines if line["log_level"] == "warning"] == [
        "failed to fetch JWKS: status 500; no key set has been read yet"
    ]


async def test_the_last_good_set_is_kept(autojump_clock: MockClock) -> None:
    remote = Remote()
    keys = key_set(remote)
    await keys.refresh()
    for _ in range(2):  # an outage after another one begins anew
        remote.away = True
        assert [await keys.refresh() for _ in range(3)] == [1, 2, 4]
        assert await keys.find("one")
        with pytest.raises(ValidatorNotReadyError):
            await keys.find("two")
        remote.away = False
        assert await keys.refresh() == 600
        assert await keys.find("two") is None


async def test_an_unknown_key_has_the_set_read_once_for_all(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    remote = Remote(delay=1)
    keys = await readable_again(remote, nursery)
    remote.kids = ["two"]
    found = []

    async def ask(kid: str) -> None:
        found.append((kid, await keys.find(kid) is not None))

    async with trio.open_nursery() as asking:
        for kid in ["two"] * 5 + ["garbage"] * 5:
            asking.start_soon(ask, kid)
    assert sorted(found) == [("garbage", False)] * 5 + [("two", True)] * 5
    assert len(remote.read_at) == 2


async def test_garbage_is_bounded(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    remote = Remote()
    keys = key_set(remote)
    nursery.start_soon(keys.keep)
    await keys.wait_tried()
    for number in range(1000):
        assert await keys.find(str(number)) is None
        await trio.sleep(0.1)
    assert len(remote.read_at) <= 1 + 100 / PAUSE


async def test_garbage_that_comes_while_the_set_is_read_is_bounded_too(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    remote = Remote(delay=1)
    keys = key_set(remote)
    nursery.start_soon(keys.keep)
    await keys.wait_tried()

    async def ask(number: int) -> None:
        assert await keys.find(str(number)) is None

    async with trio.open_nursery() as asking:
        for number in range(1000):
            asking.start_soon(ask, number)
            await trio.sleep(0.1)
    gaps = [later - earlier for earlier, later in itertools.pairwise(remote.read_at)]
    assert min(gaps) >= PAUSE
    assert len(remote.read_at) >= 5, "each of them is one that somebody asked for"


async def test_an_unknown_key_causes_a_read_after_a_read_outside_the_schedule(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    remote = Remote()
    keys = key_set(remote, interval=math.inf)
    nursery.start_soon(keys.keep)
    await keys.wait_tried()
    await keys.refresh()
    await trio.sleep(PAUSE)
    assert await keys.find("two") is None
    assert len(remote.read_at) == 3


async def test_a_set_that_changes_during_a_read_is_read_again(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    remote = Remote(delay=1)
    keys = key_set(remote, interval=math.inf)
    nursery.start_soon(keys.keep)
    await trio.sleep(0.5)
    keys.read_soon()
    await trio.sleep(100)
    assert [time - remote.read_at[0] for time in remote.read_at] == [0, 1]
    keys.read_soon()
    await trio.sleep(100)
    assert len(remote.read_at) == 3


async def test_without_a_known_key_set_callers_get_unavailable(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    remote = Remote()
    keys = await readable_again(remote, nursery)
    remote.away = True
    with pytest.raises(ValidatorNotReadyError, match="could not be read, try again"):
        await keys.find("two")
    remote.delay = 60
    await trio.sleep(PAUSE)
    began = trio.current_time()
    with pytest.raises(ValidatorNotReadyError, match="is being read, try again"):
        await keys.find("two")
    assert trio.current_time() - began == pytest.approx(PATIENCE)


async def test_a_known_key_is_found_at_once_while_a_source_hangs(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    remote = Remote()
    keys = await readable_again(remote, nursery)
    remote.delay = 30
    began = trio.current_time()

    async def ask(kid: str) -> None:
        with pytest.raises(ValidatorNotReadyError, match="is being read, try again"):
            await keys.find(kid)

    async with trio.open_nursery() as asking:
        for number in range(444):
            asking.start_soon(ask, f"bogus-{number}")
        await trio.testing.wait_all_tasks_blocked()
        assert await keys.find("one")
        assert trio.current_time() == began
    assert trio.current_time() - began == pytest.approx(PATIENCE)
    assert len(remote.read_at) == 2


async def test_an_empty_set_is_a_set(autojump_clock: MockClock) -> None:
    remote = Remote()
    keys = key_set(remote)
    await keys.refresh()
    remote.kids = []
    with capture_logs() as lines:
        await keys.refresh()
    assert keys.ready
    assert [line["log_level"] for line in lines] == ["warning"]


async def test_readings_are_counted(autojump_clock: MockClock) -> None:
    metrics, remote = Metrics(), Remote(kids=["one", "two"])
    keys = KeySet(Source(remote.name, remote.load), interval=600, metrics=metrics)
    for remote.away in (False, True, False, True, True):
        await keys.refresh()
    reported = metrics.exposition()[0].decode().splitlines()
    for line in (
        'sentry_jwks_refreshes_total{outcome="success"} 2.0',
        'sentry_jwks_refreshes_total{outcome="failure"} 3.0',
        "sentry_jwks_keys 2.0",
    ):
        assert line in reported


async def test_keys_that_are_not_used_are_logged_once_for_each_content(autojump_clock: MockClock) -> None:
    members = [jwk("ES256", kid="a"), jwk("ES256", kid="b", use="enc"), jwk("ES256", kid=None)]
    source = Dropping(members)
    keys = KeySet(Source(source.name, source.load), interval=60, metrics=Metrics(), chance=lambda: 0.0)
    with capture_logs() as lines:
        for _ in range(3):
            await keys.refresh()
        assert keys.why_dropped("b") == 'its "use" is \'enc\', not "sig"'
        assert keys.why_dropped("a") is None
        source.members = [*members, *(jwk("ES256", kid=str(number), use="enc") for number in range(20))]
        await keys.refresh()
    dropped = [str(line["event"]) for line in lines if line["log_level"] == "warning"]
    first = [
        'JWKS: key "b" is not used: its "use" is \'enc\', not "sig"',
        'JWKS: a key without ID is not used: it has no ID ("kid")',
    ]
    assert dropped[:4] == [*first, *first]
    assert len(dropped) == 2 + 10 + 1
    assert dropped[-1] == "JWKS: 12 more keys are not used"


class Dropping:
    """A source with keys that cannot be used."""

    name = "here"

    def __init__(self, members: list[dict[str, object]]) -> None:
        self.members = members

    async def load(self) -> Loaded:
        await trio.lowlevel.checkpoint()
        found = read_keys(self.members, ECDSA)
        return Loaded(found.usable, dropped=found.dropped)

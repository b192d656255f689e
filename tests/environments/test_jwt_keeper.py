"""The rotation of JWT signing keys while a run serves, in virtual time, on a store in memory."""

import json
from collections.abc import Callable, Collection
from datetime import UTC, datetime, timedelta

import jwt
import pytest
import trio
from trio.testing import MockClock

from sentry_trio.ca.jwt_key import generate_jwt_key
from sentry_trio.ca.jwt_rotation import LEAD
from sentry_trio.ca.parts import Changes, Parts
from sentry_trio.ca.spiffe import SpiffeId
from sentry_trio.component_settings import environment_settings
from sentry_trio.environments.jwt import LOOK, JwtKeeper
from sentry_trio.errors import InvalidBundleError, Part, StoreError
from sentry_trio.reload import ReloadCause, Trigger
from sentry_trio.settings.command_line import parse_options
from sentry_trio.settings.configuration import Configuration
from sentry_trio.telemetry.metrics import Metrics
from testkit.log_capture import Line

START = datetime(2030, 1, 1, tzinfo=UTC)
DAY = 86400.0
FLAGS = ("--jwt-enabled", "--jwt-signing-algorithm=ES256")
SUBJECT = SpiffeId.make("acme", "shop", "checkout")


class Shelf:
    """A store; `trouble` is raised instead of writing."""

    place = "the shelf"

    def __init__(self) -> None:
        self.stored: dict[Part, bytes] = {}
        self.trouble: StoreError | None = None
        self.writes: list[float] = []
        self.before_write: Callable[[], None] = lambda: None

    async def read(self, parts: Collection[Part]) -> Parts:
        return {part: content for part, content in self.stored.items() if part in parts}

    async def read_bundle(self) -> Parts:
        raise NotImplementedError

    async def replace(self, changes: Changes, *, expected: Changes) -> bool:
        self.before_write()
        if self.stored:
            self.writes.append(trio.current_time())
            if self.trouble is not None:
                raise self.trouble
        if any(self.stored.get(part) != content for part, content in expected.items()):
            return False
        self.stored |= {part: content for part, content in changes.items() if content is not None}
        return True

    def locate(self, *parts: Part) -> str:
        return f"{' and '.join(part.value for part in parts)} on the shelf"

    def sources(self, parts: Collection[Part]) -> tuple[str, ...]:
        return (self.place,)

    async def read_only_reason(self) -> str | None:
        raise NotImplementedError


class Bench:
    """Runs that follow one another, as an authority has them."""

    def __init__(self, *flags: str) -> None:
        self.metrics = Metrics()
        self.shelf = Shelf()
        settings = environment_settings(parse_options([*FLAGS, *flags], {})).jwt
        assert settings is not None
        self.began = trio.current_time()
        self.is_held = False
        self.keeper = JwtKeeper(settings, metrics=self.metrics, now=self.now, is_held=lambda: self.is_held)
        self.runs = 0

    def now(self) -> datetime:
        return START + timedelta(seconds=trio.current_time() - self.began)

    @property
    def since(self) -> float:
        return trio.current_time() - self.began

    @property
    def names(self) -> list[str]:
        return [member["kid"] for member in json.loads(self.shelf.stored[Part.JWKS])["keys"]]

    def counted(self, name: str, **labels: str) -> float:
        reported = ",".join(f'{key}="{value}"' for key, value in labels.items())
        line = f"{name}{{{reported}}} " if labels else f"{name} "
        text = self.metrics.exposition()[0].decode()
        return next(float(each.removeprefix(line)) for each in text.splitlines() if each.startswith(line))

    async def serve(self) -> None:
        """Until cancelled."""
        while True:
            self.runs += 1
            opened = await self.keeper.open(self.shelf, Configuration(), may_generate=self.runs == 1)
            self.issuer = opened.issuer
            with trio.CancelScope() as run:

                async def changed(*causes: ReloadCause, run: trio.CancelScope = run) -> None:
                    assert [cause.trigger for cause in causes] == [Trigger.JWT_ROTATION]
                    run.cancel()

                await opened.rotate(changed)

    def kid(self) -> str:
        token = self.issuer.issue(SUBJECT, ["a"], now=self.now(), not_after=self.now() + timedelta(days=1))
        return str(jwt.get_unverified_header(token)["kid"])


async def test_keys_follow_one_another(autojump_clock: MockClock, lines: list[Line]) -> None:
    bench = Bench("--jwt-key-rotation=48h")
    lead = LEAD.total_seconds()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.serve)
        await trio.sleep(1)
        [first] = bench.names
        assert bench.runs == 2  # that the key is rotated was noted
        await trio.sleep(2 * DAY - lead - 3)
        assert bench.names == [first]
        await trio.sleep(3)
        assert bench.names[0] == first == bench.kid()
        await trio.sleep(lead)
        _, second = bench.names
        assert bench.kid() == second
        assert bench.runs == 4
        await trio.sleep(DAY + lead + 2)
        assert bench.names == [second]
        assert bench.runs == 5
        nursery.cancel_scope.cancel()
    steps = {step: bench.counted("sentry_jwt_key_rotation_steps_total", state=step) for step in ("published", "gone")}
    assert steps == {"published": 1, "gone": 1}
    assert bench.counted("sentry_jwt_key_rotation_failures_total") == 0
    said = [line["event"] for line in lines if "JWT signing key '" in line["event"]]
    assert len(said) == 4
    assert not [line for line in lines if line["log_level"] in {"warning", "error"}]


async def test_a_step_that_cannot_be_stored_is_reported_and_retried(
    autojump_clock: MockClock, lines: list[Line]
) -> None:
    bench = Bench("--jwt-key-rotation=48h")
    bench.shelf.trouble = StoreError("failed to write file x: no space left on device")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.serve)
        await trio.sleep(3600)
        assert 10 < len(bench.shelf.writes) < 40
        assert bench.runs == 1
        bench.kid()
        bench.shelf.trouble = None
        await trio.sleep(400)
        assert bench.runs == 2
        nursery.cancel_scope.cancel()
    errors = [line["event"] for line in lines if line["log_level"] == "error"]
    assert errors[0].endswith("still using the current one: failed to write file x: no space left on device")
    assert bench.counted("sentry_jwt_key_rotation_failures_total") == len(errors)


async def test_changes_of_other_writers_are_left_to_the_callback(autojump_clock: MockClock) -> None:
    bench = Bench("--jwt-key-rotation=48h")
    await bench.keeper.open(bench.shelf, Configuration(), may_generate=True)
    opened = await bench.keeper.open(bench.shelf, Configuration(), may_generate=False)
    theirs = bench.shelf.stored = {Part.JWT_KEY: b"theirs", Part.JWKS: b"theirs"}

    async def changed(*causes: ReloadCause) -> None:
        pytest.fail("nothing was written")

    with trio.move_on_after(DAY):
        await opened.rotate(changed)
    assert bench.shelf.stored == theirs
    assert len(bench.shelf.writes) <= DAY / LOOK + 1


@pytest.mark.parametrize("flags", [(), ("--jwt-key-id=mine",)])
async def test_without_rotation_nothing_is_written(autojump_clock: MockClock, flags: tuple[str, ...]) -> None:
    bench = Bench(*flags)
    with trio.move_on_after(5 * DAY):
        await bench.serve()
    assert bench.shelf.writes == []


async def test_a_clock_that_is_set_is_noticed(autojump_clock: MockClock) -> None:
    bench = Bench("--jwt-key-rotation=48h")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.serve)
        await trio.sleep(1)
        bench.began -= 2 * DAY
        await trio.sleep(LOOK + 1)
        assert len(bench.names) == 2
        nursery.cancel_scope.cancel()


async def test_a_key_that_is_gone_or_wrong_names_the_place() -> None:
    bench = Bench()
    with pytest.raises(StoreError, match=r"key is missing \(key and JWKS on the shelf\): no new one is generated"):
        await bench.keeper.open(bench.shelf, Configuration(), may_generate=False)
    bench.shelf.stored = {Part.JWT_KEY: b"no key", Part.JWKS: b"no set"}
    with pytest.raises(InvalidBundleError, match=r"key is not PEM encoded: .* \(key and JWKS on the shelf\)"):
        await bench.keeper.open(bench.shelf, Configuration(), may_generate=True)


async def test_a_key_without_a_set_keeps_its_key() -> None:
    bench = Bench()
    mine = generate_jwt_key("ES256", None)
    bench.shelf.stored = {Part.JWT_KEY: mine.key}
    for _ in range(2):
        opened = await bench.keeper.open(bench.shelf, Configuration(), may_generate=False)
        assert opened.stored == bench.shelf.stored == {Part.JWT_KEY: mine.key, Part.JWKS: mine.jwks}


async def test_a_set_without_a_key_is_an_error() -> None:
    bench = Bench()
    bench.shelf.stored = {Part.JWKS: b"theirs"}
    with pytest.raises(StoreError, match="restore the key, or remove the JWKS"):
        await bench.keeper.open(bench.shelf, Configuration(), may_generate=True)
    assert bench.shelf.stored == {Part.JWKS: b"theirs"}


async def test_the_key_of_a_replica_that_was_first_is_used(lines: list[Line]) -> None:
    bench = Bench()
    theirs = generate_jwt_key("ES256", None)

    def another() -> None:
        bench.shelf.stored = {Part.JWT_KEY: theirs.key, Part.JWKS: theirs.jwks}

    bench.shelf.before_write = another
    opened = await bench.keeper.open(bench.shelf, Configuration(), may_generate=True)
    assert opened.stored == {Part.JWT_KEY: theirs.key, Part.JWKS: theirs.jwks}
    assert any("Another replica was first" in line["event"] for line in lines)


async def test_cache_control_limits_the_time_in_caches() -> None:
    for flags, seconds in (((), 3600), (("--jwt-key-rotation=4h",), 3600), (("--jwt-key-rotation=2h",), 1800)):
        bench = Bench(*flags)
        opened = await bench.keeper.open(bench.shelf, Configuration(), may_generate=True)
        assert opened.issuer.published.max_age == timedelta(seconds=seconds)


async def test_keys_stay_while_trust_anchors_propagate(autojump_clock: MockClock) -> None:
    bench = Bench("--jwt-key-rotation=48h")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.serve)
        await trio.sleep(1)
        bench.is_held = True
        await trio.sleep(3 * DAY)
        assert len(bench.names) == 1
        bench.is_held = False
        await trio.sleep(2 * LOOK)
        assert len(bench.names) == 2
        nursery.cancel_scope.cancel()

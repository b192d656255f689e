"""Key sets over hot restarts, in virtual time: who shares one, and when one is given up."""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime

import pytest
import trio
from trio.testing import MockClock

from sentry_trio.environments import jwks
from sentry_trio.environments.token_validators import PATIENCE, TARGET, Made, TokenValidators
from sentry_trio.errors import InvalidConfigurationError, NotPermittedError, ValidatorNotReadyError
from sentry_trio.key_cache import PAUSE
from sentry_trio.proto.sentry_pb2 import SignCertificateRequest
from sentry_trio.settings.configuration import JwksOptions
from sentry_trio.telemetry.metrics import Metrics
from sentry_trio.validators import AuthenticatedCaller
from sentry_trio.validators.jwks.keyset import KeySet, Source
from testkit.authorities import NETWORK
from testkit.log_capture import capture_logs
from tests.validators.jwks.test_keyset import Remote
from tests.validators.jwks.test_validator import NOW, request, token

AUDIENCE = "spiffe://td/ns/own/dapr-sentry"
OLD, NEW = JwksOptions("https://old"), JwksOptions("https://new")
INTERVAL = 60.0


class World:
    """Remote sources by their URLs, and validators that know of nothing else."""

    def __init__(self) -> None:
        self.remotes = {options.source: Remote(kids=["ES256"]) for options in (OLD, NEW)}
        self.validators = TokenValidators(
            AUDIENCE, "c.yaml", metrics=Metrics(), now=lambda: datetime.fromtimestamp(NOW, UTC)
        )

    def open_key_set(
        self, options: JwksOptions, *, metrics: Metrics, now: Callable[[], datetime]
    ) -> tuple[KeySet, Callable[[], Awaitable[None]]]:
        """Replaces the one that fetches."""
        remote = self.remotes.get(options.source)
        if remote is None:
            raise InvalidConfigurationError("failed to init cache: no such source")
        keys = KeySet(Source(remote.name, remote.load), interval=INTERVAL, metrics=metrics, chance=lambda: 0)
        return keys, keys.keep

    def readings(self, options: JwksOptions) -> int:
        return len(self.remotes[options.source].read_at)

    async def is_kept(self, options: JwksOptions) -> bool:
        """Returns True if the timer of a set is running."""
        before = self.readings(options)
        await trio.sleep(1.7 * INTERVAL)
        return self.readings(options) > before


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    world = World()
    monkeypatch.setattr(jwks, "open_key_set", world.open_key_set)
    async with trio.open_nursery() as nursery:
        await nursery.start(world.validators.keep)
        yield world
        nursery.cancel_scope.cancel()


async def authenticated(made: Made, kid: str = "ES256") -> AuthenticatedCaller:
    text = token(aud=AUDIENCE, headers={"kid": kid})
    return await made.validators[SignCertificateRequest.JWKS].validate(request(text), NETWORK)


async def test_without_options_there_is_nothing(autojump_clock: MockClock, world: World) -> None:
    made = await world.validators.make(None)
    assert (dict(made.validators), dict(made.targets)) == ({}, {})
    with world.validators.in_use(None):
        pass


async def test_the_first_run_does_not_wait_for_a_source_and_later_ones_do(
    autojump_clock: MockClock, world: World
) -> None:
    for remote in world.remotes.values():
        remote.delay = 7
    began = trio.current_time()
    first = await world.validators.make(OLD)
    assert trio.current_time() == began
    assert not first.targets[TARGET]()
    later = await world.validators.make(NEW)
    assert trio.current_time() == pytest.approx(began + 7)
    assert later.targets[TARGET]()


async def test_runs_with_the_same_options_share_one_set(autojump_clock: MockClock, world: World) -> None:
    made = await world.validators.make(OLD)
    with world.validators.in_use(OLD):
        await trio.testing.wait_all_tasks_blocked()
        again = await world.validators.make(JwksOptions("https://old"))
        with world.validators.in_use(OLD):
            assert (await authenticated(made)).trust_domain == (await authenticated(again)).trust_domain == "public"
            assert world.readings(OLD) == 1
    assert await world.is_kept(OLD), "a restart does not begin anew"


async def test_a_changed_source_retires_the_old_one_when_the_last_run_that_uses_it_ends(
    autojump_clock: MockClock, world: World
) -> None:
    await world.validators.make(OLD)
    first, second = world.validators.in_use(OLD), world.validators.in_use(OLD)
    first.__enter__()
    second.__enter__()
    made = await world.validators.make(NEW)
    with world.validators.in_use(NEW):
        assert (await authenticated(made)).trust_domain == "public"
        assert await world.is_kept(OLD)
        first.__exit__(None, None, None)
        assert await world.is_kept(OLD)
        second.__exit__(None, None, None)
        assert not await world.is_kept(OLD)
        assert await world.is_kept(NEW)


@pytest.mark.parametrize("options", [JwksOptions("https://old", request_timeout=NEW.min_refresh_interval), NEW])
async def test_options_that_differ_at_all_make_another_set(
    autojump_clock: MockClock, world: World, options: JwksOptions
) -> None:
    await world.validators.make(OLD)
    with world.validators.in_use(OLD):
        await trio.testing.wait_all_tasks_blocked()
        await world.validators.make(options)
        assert world.readings(OLD) + world.readings(NEW) == 2


async def test_the_validator_taken_out(autojump_clock: MockClock, world: World) -> None:
    await world.validators.make(OLD)
    with world.validators.in_use(OLD):
        await world.validators.make(None)
        assert await world.is_kept(OLD)
    assert not await world.is_kept(OLD)


async def test_a_source_that_can_never_work_leaves_the_present_run(autojump_clock: MockClock, world: World) -> None:
    made = await world.validators.make(OLD)
    with world.validators.in_use(OLD):
        with pytest.raises(InvalidConfigurationError) as caught:
            await world.validators.make(JwksOptions("nonsense"))
        assert str(caught.value) == "failed to init cache: no such source (token validator 'jwks' in c.yaml)"
        assert await world.is_kept(OLD)
        assert (await authenticated(made)).trust_domain == "public"
    assert await world.is_kept(OLD), "it is the newest that works"


async def test_a_source_that_is_away_is_tried_once_and_the_last_good_set_counts_until_it_is_there(
    autojump_clock: MockClock, world: World
) -> None:
    world.remotes[NEW.source].away = True
    world.remotes[NEW.source].kids = ["new"]
    await world.validators.make(OLD)
    with world.validators.in_use(OLD):
        await trio.testing.wait_all_tasks_blocked()
        with capture_logs() as lines:
            made = await world.validators.make(NEW)
        assert world.readings(NEW) == 1
        assert "the previous one stays in use until it is" in lines[-1]["event"]
    with world.validators.in_use(NEW):
        assert await world.is_kept(OLD), "though no run is left that was made with it"
        assert made.targets[TARGET]()
        assert (await authenticated(made)).trust_domain == "public"
        world.remotes[NEW.source].away = False
        await trio.sleep(INTERVAL)
        assert not await world.is_kept(OLD)
        assert made.targets[TARGET]()
        assert (await authenticated(made, kid="new")).trust_domain == "public"
        with pytest.raises(NotPermittedError, match="failed to find key"):
            await authenticated(made)


async def test_a_restart_waits_at_most_for_the_drain_timeout(autojump_clock: MockClock, world: World) -> None:
    world.remotes[NEW.source].delay = 1000
    await world.validators.make(OLD)
    await trio.testing.wait_all_tasks_blocked()
    began = trio.current_time()
    made = await world.validators.make(NEW)
    assert trio.current_time() - began == pytest.approx(PATIENCE)
    assert (await authenticated(made)).trust_domain == "public"


async def test_no_source_that_is_away_hides_the_last_good_set(autojump_clock: MockClock, world: World) -> None:
    newer = JwksOptions("https://newer")
    world.remotes[newer.source] = Remote(kids=["ES256"], away=True)
    world.remotes[NEW.source].away = True
    await world.validators.make(OLD)
    await trio.testing.wait_all_tasks_blocked()
    await world.validators.make(NEW)
    with world.validators.in_use(NEW):
        made = await world.validators.make(newer)
    with world.validators.in_use(newer):
        assert (await authenticated(made)).trust_domain == "public"
        assert not await world.is_kept(NEW)
        assert await world.is_kept(OLD)
        await world.validators.make(None)
    assert not await world.is_kept(OLD)


async def test_without_a_valid_set_a_new_source_has_none_to_fall_back_on(
    autojump_clock: MockClock, world: World
) -> None:
    for remote in world.remotes.values():
        remote.away = True
    await world.validators.make(OLD)
    made = await world.validators.make(NEW)
    assert not made.targets[TARGET]()
    with pytest.raises(ValidatorNotReadyError):
        await authenticated(made)
    assert not await world.is_kept(OLD)


async def test_a_run_that_never_came_to_be_leaves_nothing_behind(autojump_clock: MockClock, world: World) -> None:
    await world.validators.make(OLD)
    with world.validators.in_use(OLD):
        await world.validators.make(NEW)
        await world.validators.make(OLD)
        assert world.readings(OLD) == 1
        assert not await world.is_kept(NEW)
        assert await world.is_kept(OLD)


async def test_a_waiting_restart_may_be_cancelled(autojump_clock: MockClock, world: World) -> None:
    world.remotes[NEW.source].delay = 1000
    await world.validators.make(OLD)
    with world.validators.in_use(OLD):
        with trio.move_on_after(1):
            await world.validators.make(NEW)
        await world.validators.make(OLD)
        assert await world.is_kept(OLD)
        assert world.readings(NEW) == 1


async def test_a_caller_that_waits_for_a_key_is_answered_after_its_run_has_ended(
    autojump_clock: MockClock, world: World
) -> None:
    made = await world.validators.make(OLD)
    old, answers = world.remotes[OLD.source], []
    async with trio.open_nursery() as asking:
        with world.validators.in_use(OLD):
            await trio.sleep(PAUSE)
            old.delay, old.kids = 2, ["ES256", "rotated"]

            @asking.start_soon
            async def ask() -> None:
                answers.append(await authenticated(made, kid="rotated"))

            await trio.testing.wait_all_tasks_blocked()
            await world.validators.make(NEW)
        # The run is cancelled and drains.
        assert not answers
    assert [answer.trust_domain for answer in answers] == ["public"]
    assert not await world.is_kept(OLD)


async def test_the_audience_is_this_authority_and_expiry_is_required_by_default(
    autojump_clock: MockClock, world: World
) -> None:
    made = await world.validators.make(OLD)
    lax = JwksOptions("https://old", allow_tokens_without_expiry=True)
    endless = request(token(aud=AUDIENCE, exp=None))
    await trio.testing.wait_all_tasks_blocked()
    with pytest.raises(NotPermittedError, match='"exp" not satisfied: required claim not found'):
        await made.validators[SignCertificateRequest.JWKS].validate(endless, NETWORK)
    with pytest.raises(NotPermittedError, match='"aud" not satisfied'):
        await made.validators[SignCertificateRequest.JWKS].validate(request(token()), NETWORK)
    allowing = await world.validators.make(lax)
    assert (await allowing.validators[SignCertificateRequest.JWKS].validate(endless, NETWORK)).trust_domain == "public"

"""Renewal of the certificate authority in a Secret, on an API server in memory, in virtual time."""

import itertools
import json
from base64 import b64decode
from datetime import timedelta

import pytest
import trio
from trio.testing import MockClock

from sentry_trio.ca.parts import BUNDLE
from sentry_trio.environments.jwt import LOOK
from sentry_trio.errors import IncompleteBundleError, Part
from sentry_trio.renewal_status import HoldReason
from testkit.kube.fakes import CONFIG_MAP, SECRET, FakeApi, Fault, installed, refused
from testkit.renewal import (
    BEGINNINGS,
    DAY,
    LIMIT,
    START,
    in_phase,
    later,
    phase,
    serving,
    until,
)
from testkit.secret_renewal import SecretEnvironment, SecretShelf
from testkit.stores import NAMES


async def test_a_renewal_writes_the_config_map_once(autojump_clock: MockClock) -> None:
    api = installed()
    shelf = SecretShelf(api)
    replicas = [SecretEnvironment(api, shelf, chance=chance) for chance in (0.2, 0.8)]
    async with serving(*replicas):
        await in_phase(replicas[0], "steady")
        before = api.count("replace", "configmaps")
        await in_phase(replicas[0], "retiring")
    assert api.count("replace", "configmaps") == before + 1
    assert api.objects[CONFIG_MAP]["data"]["ca.crt"].encode() == (await shelf.read_bundle())[Part.ANCHORS]
    assert len({replica.runs[-1].fingerprint for replica in replicas}) == 1
    assert not any(replica.failures for replica in replicas)


ROTATION = ("--jwt-enabled", "--jwt-signing-algorithm=ES256", "--jwt-key-rotation=24h", "--ca-ttl=480h")
SERVED = ("--oidc-enabled", "--oidc-server-tls-enabled=false")


def key_names(api: FakeApi) -> frozenset[str]:
    """Names of the keys in the stored key set."""
    return frozenset(key["kid"] for key in json.loads(b64decode(api.objects[SECRET]["data"]["jwks.json"]))["keys"])


async def rotating(replica: SecretEnvironment, *, days: int) -> int:
    """Lets days pass, and returns how many JWT keys there were."""
    names: set[str] = set()
    for _ in range(days):
        await later(replica, DAY)
        await trio.sleep(LOOK)
        names |= key_names(replica.api)
    return len(names)


async def test_keys_that_the_oidc_server_serves_change_no_config_map(autojump_clock: MockClock) -> None:
    """The one change that a control plane of Dapr 1.16 to 1.18 notices is that of the trust anchors."""
    api = installed()
    replica = SecretEnvironment(api, SecretShelf(api, withdrawn=(Part.JWKS,)), *ROTATION, *SERVED)
    async with serving(replica):
        await trio.sleep(10)
        before = api.count("replace", "configmaps")
        assert await rotating(replica, days=9) >= 5
        assert (phase(replica), api.count("replace", "configmaps")) == ("steady", before)
        assert await rotating(replica, days=6) >= 3
        assert (phase(replica), api.count("replace", "configmaps")) == ("retiring", before + 1)
    assert set(api.objects[CONFIG_MAP]["data"]) == {"ca.crt"}
    assert replica.failures == []


async def test_keys_without_an_oidc_server_wait_until_new_anchors_have_propagated(autojump_clock: MockClock) -> None:
    """Also in a process that starts meanwhile, when a key is due."""
    api = installed()
    flags = (*ROTATION, "--trust-anchor-propagation-grace=96h")
    replica = SecretEnvironment(api, SecretShelf(api), *flags)
    async with serving(replica):
        await trio.sleep(10)
        before = api.count("replace", "configmaps")
        keys = await rotating(replica, days=9)
        assert keys >= 5
        assert keys - 1 <= api.count("replace", "configmaps") - before <= 3 * keys
        await until(replica, 10 * DAY)
        assert phase(replica) == "distributing"
        published = api.objects[CONFIG_MAP]
    replica = SecretEnvironment(api, SecretShelf(api), *flags, skip=replica.now() + timedelta(days=1) - START)
    async with serving(replica):
        assert await rotating(replica, days=2) == len(key_names(api))
        assert phase(replica) == "distributing"
        assert api.objects[CONFIG_MAP] == published
        assert await rotating(replica, days=5) >= 3
        assert api.objects[CONFIG_MAP]["data"]["ca.crt"] == published["data"]["ca.crt"]
        assert replica.failures == []


async def test_keys_do_not_wait_for_anchors_of_another_program(autojump_clock: MockClock) -> None:
    """A next issuer that is left alone never signs."""
    api = installed()
    shelf = SecretShelf(api)
    replica = SecretEnvironment(api, shelf)
    async with serving(replica):
        await in_phase(replica, "distributing")
    replica = SecretEnvironment(api, shelf, *ROTATION, skip=replica.now() - START)
    replica.manager = "cert-manager"
    async with serving(replica):
        assert await rotating(replica, days=4) >= 3
        assert phase(replica) == "distributing"


@pytest.mark.parametrize("wanted", BEGINNINGS)
async def test_a_config_map_that_is_edited_in_any_phase_is_repaired(autojump_clock: MockClock, wanted: str) -> None:
    api = installed()
    replica = SecretEnvironment(api, SecretShelf(api))
    async with serving(replica):
        await in_phase(replica, wanted)
        anchors = api.objects[CONFIG_MAP]["data"]["ca.crt"]
        api.edit(CONFIG_MAP, data={"ca.crt": "edited"})
        await trio.sleep(10)
        assert api.objects[CONFIG_MAP]["data"]["ca.crt"] == anchors
        assert phase(replica) == wanted
        assert replica.failures == []


@pytest.mark.parametrize("wanted", ["distributing", "signing", "retiring"])
async def test_a_bundle_that_is_lost_beside_its_renewal_is_not_replaced_at_start(
    autojump_clock: MockClock, wanted: str
) -> None:
    api = installed()
    shelf = SecretShelf(api)
    replica = SecretEnvironment(api, shelf)
    async with serving(replica):
        await in_phase(replica, wanted)
    lost = {NAMES[part] for part in BUNDLE}
    left = {name: value for name, value in api.objects[SECRET]["data"].items() if name not in lost}
    api.edit(SECRET, data=left)
    replica = SecretEnvironment(api, shelf, skip=replica.now() - START)
    with pytest.raises(IncompleteBundleError, match=r"lacks ca\.crt and issuer\.crt and issuer\.key while "):
        await replica.run_inputs(may_generate=True)
    assert api.objects[SECRET]["data"] == left


@pytest.mark.parametrize(("wanted", "following"), list(itertools.pairwise(BEGINNINGS)))
async def test_a_storm_of_conflicts_delays_a_step_and_no_more(
    autojump_clock: MockClock, wanted: str, following: str
) -> None:
    api = installed()
    replica = SecretEnvironment(api, SecretShelf(api))
    async with serving(replica):
        await in_phase(replica, wanted)
        await until(replica, BEGINNINGS[following] - 10)
        api.faults.append(Fault("replace", SECRET, refused(409, "Conflict"), left=30))
        await until(replica, BEGINNINGS[following] + 900)
        assert api.faults[0].left == 0
        assert phase(replica) == following


@pytest.mark.parametrize("wanted", ["steady", "distributing"])
async def test_an_api_server_that_is_away_across_the_limit_delays_both_steps(
    autojump_clock: MockClock, wanted: str
) -> None:
    api = installed()
    shelf = SecretShelf(api)
    replica = SecretEnvironment(api, shelf, "--trust-anchor-propagation-grace=2400h")
    async with serving(replica):
        await in_phase(replica, wanted)
        first = replica.runs[-1]
        api.down = True
        api.cut()
        await until(replica, LIMIT - 600)
        await until(replica, LIMIT + 900)
        assert replica.runs[-1] is first
        assert replica.renewal is not None
        assert replica.renewal.held_reason is HoldReason.STORE
        api.down = False
        await until(replica, LIMIT + 1800)
        assert phase(replica) == "signing"
        assert replica.runs[-1].chain[2:] == first.chain
    assert api.objects[CONFIG_MAP]["data"]["ca.crt"].encode() == (await shelf.read_bundle())[Part.ANCHORS]

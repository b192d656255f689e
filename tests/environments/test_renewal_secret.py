"""Renewal of the certificate authority in a Secret, on an API server in memory, in virtual time."""

from collections.abc import Collection
from datetime import timedelta

import pytest
import trio
from trio.testing import MockClock

from sentry_trio.ca.parts import Changes, Parts
from sentry_trio.environments.run_inputs import causes_of
from sentry_trio.errors import Part
from sentry_trio.reload import Changed
from sentry_trio.settings.configuration import Configuration
from sentry_trio.stores.part_store import RENEWAL_NAMES
from sentry_trio.stores.secret import SecretStore
from testkit.kube.fakes import CONFIG_MAP, NAMESPACE, SECRET, FakeApi, Fault, installed, refused
from testkit.renewal import MemoryEnvironment, MemoryStore
from testkit.stores import NAMES
from tests.environments.test_renewal import BEGINNINGS, in_phase, phase, serving, until


class SecretShelf(MemoryStore):
    """The Secret as a store."""

    def __init__(self, api: FakeApi) -> None:
        super().__init__()
        self.secret = SecretStore(api, NAMESPACE, {**NAMES, **RENEWAL_NAMES})

    async def read(self, parts: Collection[Part]) -> Parts:
        return await self.secret.read(parts)

    async def read_bundle(self) -> Parts:
        return await self.secret.read_bundle()

    async def replace(self, changes: Changes, *, expected: Changes) -> bool:
        return await self.secret.replace(changes, expected=expected)


class SecretEnvironment(MemoryEnvironment):
    """One replica on an API server."""

    def __init__(
        self, api: FakeApi, shelf: SecretShelf, *flags: str, chance: float = 0.5, skip: timedelta = timedelta()
    ) -> None:
        super().__init__(shelf, *flags, chance=chance, skip=skip)
        self.api = api
        self.secret = shelf.secret

    async def is_published(self, stored: Parts) -> bool:
        await self.secret.publish(Part.ANCHORS, stored)
        return True

    async def _accepted(self, stored: Parts, *, generated: bool) -> None:
        await self.secret.publish(Part.ANCHORS, stored)

    async def _watch_store(
        self, stored: Parts, configuration: Configuration, changed: Changed, *, in_use: bool
    ) -> None:
        async def parts_changed(parts: frozenset[Part]) -> None:
            await changed(*causes_of(parts, self.store))

        await self.secret.watch(stored, parts_changed, publish=in_use)


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


async def test_a_storm_of_conflicts_delays_a_step_and_no_more(autojump_clock: MockClock) -> None:
    api = installed()
    replica = SecretEnvironment(api, SecretShelf(api))
    async with serving(replica):
        await until(replica, BEGINNINGS["distributing"] - 10)
        api.faults.append(Fault("replace", SECRET, refused(409, "Conflict"), left=30))
        await until(replica, BEGINNINGS["distributing"] + 900)
        assert phase(replica) == "distributing"
        assert replica.reasons == ["RenewalBegun"]

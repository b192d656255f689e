"""An authority whose trust bundle is in a Secret of an API server in memory, in virtual time."""

from collections.abc import Collection
from datetime import timedelta

from sentry_trio.ca.parts import Changes, Parts
from sentry_trio.environments.run_inputs import causes_of
from sentry_trio.errors import Part
from sentry_trio.reload import Changed
from sentry_trio.settings.configuration import Configuration
from sentry_trio.stores.part_store import RENEWAL_NAMES
from sentry_trio.stores.secret import SecretStore
from sentry_trio.stores.secret_content import PUBLISHED
from testkit.kube.fakes import NAMESPACE, FakeApi
from testkit.renewal import MemoryEnvironment, MemoryStore
from testkit.stores import NAMES


class SecretShelf(MemoryStore):
    """The Secret as a store."""

    def __init__(self, api: FakeApi, withdrawn: Collection[Part] = ()) -> None:
        super().__init__()
        self.secret = SecretStore(api, NAMESPACE, {**NAMES, **RENEWAL_NAMES}, withdrawn=withdrawn)

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
        self._publishes_jwks = self._settings.jwt is None or self._settings.jwt.publishes_jwks

    async def is_published(self, stored: Parts) -> bool:
        await self.secret.publish(Part.ANCHORS, stored)
        return True

    async def _accepted(self, stored: Parts, *, generated: bool) -> None:
        for part in PUBLISHED:
            if part in stored:
                await self.secret.publish(part, stored)

    async def _watch_store(
        self, stored: Parts, configuration: Configuration, changed: Changed, *, in_use: bool
    ) -> None:
        async def parts_changed(parts: frozenset[Part]) -> None:
            await changed(*causes_of(parts, self.store))

        await self.secret.watch(stored, parts_changed, publish=in_use)

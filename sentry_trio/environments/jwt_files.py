"""The files of JWTs as a run in standalone mode knows them; imported only where JWTs are asked for."""

from collections.abc import Callable
from datetime import datetime

from sentry_trio.ca.jwt_key import StoredJwtKey
from sentry_trio.environments.jwt import JwtKeeper, Opened
from sentry_trio.settings.configuration import Configuration
from sentry_trio.settings.options import Options
from sentry_trio.stores.jwt_files import JwtFileStore
from sentry_trio.telemetry.metrics import Metrics
from sentry_trio.watchers.content import ContentTracker


class _Tracked:
    """Signing key and key set in files, of whose changes a run is told but for those that it makes itself.

    Args:
        store: the files.
        tracker: what is known of them.
    """

    def __init__(self, store: JwtFileStore, tracker: ContentTracker) -> None:
        self._store = store
        self._tracker = tracker

    @property
    def place(self) -> str:
        """Names them for people."""
        return f"key {self._store.key}, JWKS {self._store.jwks}"

    async def load(self, compose: Callable[[bytes], bytes]) -> StoredJwtKey | None:
        """See `JwtFileStore.load`."""
        stored = await self._store.load(compose)
        if stored is not None:
            self._tracker.accept(self._store.contents(stored))
        return stored

    async def create(self, stored: StoredJwtKey) -> StoredJwtKey:
        """See `JwtFileStore.save`."""
        async with self._tracker.own_write(self._store.contents(stored)):
            await self._store.save(stored)
        return stored

    async def replace(self, stored: StoredJwtKey, *, expected: StoredJwtKey) -> bool:
        """See `JwtFileStore.replace`. Whoever wrote has to restart the run: it is not told."""
        async with self._tracker.own_write({}):
            done = await self._store.replace(stored, expected=expected)
            if done:
                self._tracker.accept(self._store.contents(stored))
        return done


class JwtFiles:
    """Opens signing key and key set for each run; see `JwtKeeper`.

    Args:
        options: name the files.
        metrics: told of rotations.
        now: the wall clock, aware.
    """

    def __init__(self, options: Options, *, metrics: Metrics, now: Callable[[], datetime]) -> None:
        self._keeper = JwtKeeper(options, metrics=metrics, now=now)
        self._store = JwtFileStore(options.jwt_key_path, options.jwks_path)

    async def open(self, configuration: Configuration, tracker: ContentTracker, *, may_generate: bool) -> Opened:
        """See `JwtKeeper.open`; the tracker is told of what is read and written."""
        return await self._keeper.open(_Tracked(self._store, tracker), configuration, may_generate=may_generate)

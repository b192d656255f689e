"""Signing key of JWTs: opened for each run and rotated; imported only if JWTs are enabled."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import partial
from typing import Final, NoReturn

import msgspec
import trio
from msgspec.structs import replace

from sentry_trio.backoff import Backoff
from sentry_trio.ca.jwt import JwtIssuer
from sentry_trio.ca.jwt_key import JwtKeys, StoredJwtKey, compose_jwks, generate_jwt_key, verify_jwt_key
from sentry_trio.ca.jwt_rotation import Rotation, RotationPlan, plan
from sentry_trio.ca.parts import JWT_KEYS, Parts
from sentry_trio.discreet import Discreet
from sentry_trio.environments.clocks import seconds_until
from sentry_trio.errors import InvalidBundleError, JwtError, Part, SentryError, StoreError
from sentry_trio.reload import Changed, ReloadCause, Trigger
from sentry_trio.settings.configuration import Configuration
from sentry_trio.stores.part_store import PartStore
from sentry_trio.telemetry.logs import get_logger
from sentry_trio.telemetry.metrics import Metrics

LOOK: Final = 600.0
"""Seconds between two checks of the wall clock, at most: it may be set, or the machine suspended."""

_HELD: Final = 60.0  # s between two checks of a held rotation
_RETRY: Final = 5.0  # s, grows
_LONGEST_RETRY: Final = 300.0  # s

_log: Final = get_logger("dapr.sentry.ca.jwt")
_ca_log: Final = get_logger("dapr.sentry.ca")


class JwtSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of JWTs.

    Attributes:
        rotation: algorithm and lifetimes.
        issuer: named in JWTs; None for none.
        key_id: name of the signing key; derived from the key if None.
        publishes_jwks: in Kubernetes mode, the ConfigMap publishes the public keys.
    """

    rotation: Rotation
    issuer: str | None
    key_id: str | None
    publishes_jwks: bool


class OpenedJwtKeys(Discreet, frozen=True):
    """Keys that a run issues JWTs with.

    Attributes:
        issuer: issues them.
        stored: the parts that it was made of.
        rotate: rotates the signing key until cancelled; see `JwtKeeper`.
    """

    UNSHOWN = frozenset({"stored", "rotate"})

    issuer: JwtIssuer
    stored: Parts
    rotate: Callable[[Changed], Awaitable[NoReturn]]


class JwtKeeper:
    """Opens the signing key for each run, and rotates it while the run serves.

    Rotation carries out the plan when it is due: see `sentry_trio.ca.jwt_rotation`. A failure to store is logged,
    counted, and retried after 5 s, later 300 s at most; tokens are signed with the current key meanwhile. Of several
    replicas one stores, and the others notice the change like any other. Cancellation: at once, but for a write of
    files.

    Args:
        settings: algorithm, lifetimes and names in JWTs.
        metrics: counts rotations.
        now: the wall clock, aware.
        is_held: returns true while no change may be begun, because it would be published beside new trust anchors.
    """

    def __init__(
        self,
        settings: JwtSettings,
        *,
        metrics: Metrics,
        now: Callable[[], datetime],
        is_held: Callable[[], bool],
    ) -> None:
        self._rotation = settings.rotation
        self._issuer = settings.issuer
        self._key_id = settings.key_id
        self._metrics = metrics
        self._now = now
        self._is_held = is_held

    async def open(self, store: PartStore, configuration: Configuration, *, may_generate: bool) -> OpenedJwtKeys:
        """Reads signing key and key set, or makes them if there are none.

        Dapr Sentry 1.18 generates both if either is missing, and writes the trust bundle again with them. Here a key
        without a key set keeps its key, and the set is composed of it.

        Args:
            store: the store of both.
            configuration: has the clock skew.
            may_generate: see `Environment.run_inputs`.

        Raises:
            SentryError: they cannot be read or written; the key is missing, and may not be generated or is named by a
                stored key set; or key, key set and algorithm do not match.

        Cancellation: at once, but for a write of files.
        """
        stored = await self._load(store, may_generate=may_generate)
        keys = self._verified(stored, store)
        published = replace(keys.published, max_age=self._rotation.max_age)
        try:
            issuer = JwtIssuer(
                replace(keys, published=published),
                issuer=self._issuer,
                lifetime=self._rotation.lifetime,
                allowed_clock_skew=configuration.allowed_clock_skew,
            )
        except JwtError as error:
            raise InvalidBundleError(f"{error} ({_place(store)})") from error
        _ca_log.info("JWT issuing enabled")
        return OpenedJwtKeys(issuer, _parts_of(stored), partial(self._rotate, store, stored))

    async def _load(self, store: PartStore, *, may_generate: bool) -> StoredJwtKey:
        while True:
            found = await store.read(JWT_KEYS)
            key, jwks = found.get(Part.JWT_KEY), found.get(Part.JWKS)
            if key is not None:
                _log.info("JWT signing key found: using it from store")
                if jwks is not None:
                    return StoredJwtKey(key, jwks)
            new = self._completed(store, key, jwks, may_generate=may_generate)
            if await store.replace(_parts_of(new), expected={Part.JWT_KEY: key, Part.JWKS: jwks}):
                return new
            _ca_log.info(f"Another replica was first to generate a JWT signing key in {store.place}: using it")

    def _completed(
        self, store: PartStore, key: bytes | None, jwks: bytes | None, *, may_generate: bool
    ) -> StoredJwtKey:
        algorithm, key_id = self._rotation.algorithm, self._key_id
        if key is not None:
            return StoredJwtKey(key, compose_jwks(key, algorithm, key_id))
        if jwks is not None:
            raise StoreError(
                f"there is a {store.locate(Part.JWKS)} and no JWT signing {store.locate(Part.JWT_KEY)}: restore "
                "the key, or remove the JWKS so that both are generated"
            )
        if not may_generate:
            raise StoreError(
                f"the JWT signing key is missing ({_place(store)}): no new one is generated while one is in use; "
                "restore it, or start a new process to generate a new key"
            )
        _ca_log.info("Generating JWT signing key and persisting to store")
        return generate_jwt_key(algorithm, key_id)

    def _verified(self, stored: StoredJwtKey, store: PartStore) -> JwtKeys:
        try:
            return verify_jwt_key(stored, self._rotation.algorithm, self._key_id)
        except InvalidBundleError as error:
            raise InvalidBundleError(f"{error} ({_place(store)})") from error

    async def _rotate(self, store: PartStore, stored: StoredJwtKey, changed: Changed) -> NoReturn:
        if self._key_id is not None:
            # The key that has this name signs, no matter which others the set has.
            await trio.sleep_forever()
        backoff = Backoff(first=_RETRY, longest=_LONGEST_RETRY)
        while True:
            if self._is_held():
                await trio.sleep(_HELD)
                continue
            pause = LOOK
            try:
                planned = await self._planned(stored)
                if planned.stored is None:
                    pause = seconds_until(planned.due, self._now(), most=LOOK)
                elif await store.replace(_parts_of(planned.stored), expected=_parts_of(stored)):
                    self._report(planned)
                    await changed(ReloadCause(Trigger.JWT_ROTATION, (_place(store),)))
                else:
                    _log.debug("another writer changed the JWT signing key")
            except SentryError as error:
                self._metrics.jwt_rotation_failures.inc()
                _log.error(f"failed to rotate the JWT signing key, still using the current one: {error}")
                pause = backoff.next()
            else:
                backoff.reset()
            await trio.sleep(pause)

    async def _planned(self, stored: StoredJwtKey) -> RotationPlan:
        if self._rotation.is_slow:
            return await trio.to_thread.run_sync(plan, stored, self._rotation, self._now())
        return plan(stored, self._rotation, self._now())

    def _report(self, planned: RotationPlan) -> None:
        for change in planned.changes:
            _log.info(change.text)
            self._metrics.jwt_rotated(change.step)


def _parts_of(stored: StoredJwtKey) -> dict[Part, bytes]:
    return {Part.JWT_KEY: stored.key, Part.JWKS: stored.jwks}


def _place(store: PartStore) -> str:
    return store.locate(Part.JWT_KEY, Part.JWKS)

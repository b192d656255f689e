"""The part of a run that issues JWTs, wherever its keys are kept; imported only where they are asked for."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Final, NoReturn, Protocol

import trio

from sentry_trio.backoff import Backoff
from sentry_trio.ca.jwt import JwtIssuer
from sentry_trio.ca.jwt_key import JwtKeys, StoredJwtKey, compose_jwks, generate_jwt_key, verify_jwt_key
from sentry_trio.ca.jwt_rotation import Plan, Rotation, plan
from sentry_trio.errors import InvalidBundleError, JwtError, SentryError, StoreError
from sentry_trio.reload import Changed, ReloadCause, Trigger
from sentry_trio.settings.configuration import Configuration
from sentry_trio.settings.options import Options
from sentry_trio.telemetry.logs import get_logger
from sentry_trio.telemetry.metrics import Metrics

LOOK: Final = 600.0
"""Seconds between two looks at the wall clock, at most: it may be set, or the machine suspended."""

_RETRY: Final = 5.0  # s, grows
_LONGEST_RETRY: Final = 300.0  # s

_log: Final = get_logger("dapr.sentry.ca.jwt")
_ca_log: Final = get_logger("dapr.sentry.ca")


class JwtStore(Protocol):
    """Where signing key and key set are kept; what its methods raise is a SentryError."""

    @property
    def place(self) -> str:
        """Names them for people."""

    async def load(self, compose: Callable[[bytes], bytes]) -> StoredJwtKey | None:
        """Both as they stand; None where neither is there. `compose` makes the key set of a key that has none."""

    async def create(self, stored: StoredJwtKey) -> StoredJwtKey:
        """Stores both where neither is there; returns what is there now, which somebody else may have made."""

    async def replace(self, stored: StoredJwtKey, *, expected: StoredJwtKey) -> bool:
        """Puts both in the place of those that are expected; returns whether these were there."""


@dataclass(frozen=True, slots=True)
class Opened:
    """What a run issues JWTs with.

    Attributes:
        issuer: issues them.
        stored: what it was made of.
        rotate: rotates the key until cancelled; see `JwtKeeper`.
    """

    issuer: JwtIssuer
    stored: StoredJwtKey
    rotate: Callable[[Changed], Awaitable[NoReturn]]


class JwtKeeper:
    """Opens the signing key for each run, and rotates it while the run serves.

    To rotate is to do what the plan says when it is due: see `sentry_trio.ca.jwt_rotation`. What cannot be stored is
    logged, counted, and tried again after 5 s, later 300 s at most; tokens are signed with the present key meanwhile.
    Of several replicas one stores, and the others are told as of any change. Cancellation: at once, but for a write.

    Args:
        options: name the algorithm, the key ID and the time that a key signs for.
        metrics: told of rotations.
        now: the wall clock, aware.
    """

    def __init__(self, options: Options, *, metrics: Metrics, now: Callable[[], datetime]) -> None:
        self._options = options
        self._metrics = metrics
        self._now = now
        self._rotation = Rotation(
            interval=options.jwt_key_rotation,
            lifetime=options.jwt_ttl,
            algorithm=options.jwt_signing_algorithm,
        )

    async def open(self, store: JwtStore, configuration: Configuration, *, may_generate: bool) -> Opened:
        """Reads key and key set, or makes them where there are none.

        Args:
            store: where they are kept.
            configuration: tells the clock skew.
            may_generate: see `Environment.ingredients`.

        Raises:
            SentryError: they cannot be read or written, one is missing, both are and may not be made, or they do not
                fit each other or the algorithm.

        Cancellation: at once, but for a write.
        """
        options = self._options
        compose = partial(compose_jwks, algorithm=options.jwt_signing_algorithm, key_id=options.jwt_key_id)
        stored = await store.load(compose)
        if stored is not None:
            _log.info("JWT signing key found: using it from store")
        elif may_generate:
            _ca_log.info("Generating JWT signing key and persisting to store")
            stored = await store.create(generate_jwt_key(options.jwt_signing_algorithm, options.jwt_key_id))
        else:
            raise StoreError(
                f"the JWT signing key is gone ({store.place}): none is generated in its place while one is in use; "
                "restore it, or restart the process to begin with a new one"
            )
        keys = self._verified(stored, store)
        published = replace(keys.published, max_age=self._rotation.max_age)
        try:
            issuer = JwtIssuer(
                replace(keys, published=published),
                issuer=options.jwt_issuer,
                lifetime=options.jwt_ttl,
                allowed_clock_skew=configuration.allowed_clock_skew,
            )
        except JwtError as error:
            raise InvalidBundleError(f"{error} ({store.place})") from error
        _ca_log.info("JWT issuing enabled")
        return Opened(issuer, stored, partial(self._rotate, store, stored))

    def _verified(self, stored: StoredJwtKey, store: JwtStore) -> JwtKeys:
        try:
            return verify_jwt_key(stored, self._options.jwt_signing_algorithm, self._options.jwt_key_id)
        except InvalidBundleError as error:
            raise InvalidBundleError(f"{error} ({store.place})") from error

    async def _rotate(self, store: JwtStore, stored: StoredJwtKey, changed: Changed) -> NoReturn:
        if self._options.jwt_key_id is not None:
            # The key that has this name signs, whatever the set says of others.
            await trio.sleep_forever()
        backoff = Backoff(first=_RETRY, longest=_LONGEST_RETRY)
        while True:
            pause = LOOK
            try:
                planned = await self._planned(stored)
                if planned.stored is None:
                    pause = self._seconds_until(planned.due)
                elif await store.replace(planned.stored, expected=stored):
                    self._tell(planned)
                    await changed(ReloadCause(Trigger.JWT_ROTATION, (store.place,)))
                else:
                    _log.debug("the JWT signing key was changed by somebody else")
            except SentryError as error:
                self._metrics.jwt_rotation_failed()
                _log.error(f"failed to rotate the JWT signing key, going on with the present one: {error}")
                pause = backoff.next()
            else:
                backoff.reset()
            await trio.sleep(pause)

    async def _planned(self, stored: StoredJwtKey) -> Plan:
        if self._rotation.is_slow:
            return await trio.to_thread.run_sync(plan, stored, self._rotation, self._now())
        return plan(stored, self._rotation, self._now())

    def _seconds_until(self, due: datetime | None) -> float:
        if due is None:
            return LOOK
        return min(max((due - self._now()).total_seconds(), 0.0), LOOK)

    def _tell(self, planned: Plan) -> None:
        for change in planned.changes:
            _log.info(change.text)
            self._metrics.jwt_rotated(change.step)

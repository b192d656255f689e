"""Key sets of the jwks validator."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import msgspec
import trio

from sentry_trio.backoff import CHANCE, Backoff
from sentry_trio.errors import SentryError, ValidatorNotReadyError
from sentry_trio.go_text import quote
from sentry_trio.key_cache import KeyCache
from sentry_trio.telemetry.logs import get_logger
from sentry_trio.telemetry.metrics import Metrics
from sentry_trio.tokens.keys import DroppedKey, VerificationKey

LONGEST: Final = 24 * 3600.0
"""Seconds after which a set is read again even if its source says that it is fresh for longer."""

# Log lines about the keys of one set that are not used.
_REPORTED: Final = 10

_log: Final = get_logger("dapr.sentry.identity.jwks")


class SourceError(SentryError):
    """A source cannot be read now, or its content is not a key set."""


class Loaded(msgspec.Struct, frozen=True):
    """Content of a source.

    Attributes:
        keys: keys by key ID.
        fresh_for: seconds for which the source declares it fresh.
        dropped: keys of the set that cannot be used, with the reason.
    """

    keys: Mapping[str, VerificationKey]
    fresh_for: float = 0
    dropped: tuple[DroppedKey, ...] = ()


class Source(msgspec.Struct, frozen=True):
    """Source of a key set.

    Attributes:
        name: in logs.
        load: reads it within its own timeout; raises SourceError.
    """

    name: str
    load: Callable[[], Awaitable[Loaded]]


class KeySet(KeyCache[VerificationKey]):
    """Keys of a source, by which tokens are verified.

    A failed read is retried after pauses that grow to a minute; the last valid key set stays in use.

    Args:
        source: source of the set.
        interval: least seconds between two readings; more if the source says that its set is fresh for longer. Up to a
            tenth is added by chance, so that replicas do not ask all at once.
        metrics: counts the readings.
        chance: a number from 0 to below 1.
    """

    def __init__(
        self, source: Source, *, interval: float, metrics: Metrics, chance: Callable[[], float] = CHANCE
    ) -> None:
        super().__init__()
        self._source = source
        self._interval = interval
        self._metrics = metrics
        self._chance = chance
        self._dropped: tuple[DroppedKey, ...] = ()
        self._backoff = Backoff(first=1, longest=60, chance=chance)
        self._fault: str | None = None

    async def find(self, kid: str) -> VerificationKey | None:
        """Returns the key with this ID; None if there is none.

        Raises:
            ValidatorNotReadyError: the key is unknown, and the source could not be read.

        Cancellation: at once; the read continues.
        """
        try:
            key = await self.lookup(kid)
        except trio.TooSlowError:
            raise ValidatorNotReadyError("jwks validator not ready: the key set is being read, try again") from None
        if key is None and self._fault is not None:
            raise ValidatorNotReadyError("jwks validator not ready: the key set could not be read, try again")
        return key

    def why_dropped(self, kid: str) -> str | None:
        """Returns why the key with this ID, which the set has, is not used; None if the set has none."""
        return next((each.reason for each in self._dropped if each.kid == kid), None)

    async def _load(self) -> float:
        try:
            loaded = await self._source.load()
        except SourceError as error:
            return self._failed(str(error))
        return self._succeeded(loaded)

    def _failed(self, fault: str) -> float:
        self._metrics.jwks_refresh_failed()
        # An outage is logged once, and again if its reason changes.
        report = _log.debug if fault == self._fault else _log.warning
        meanwhile = "no key set has been read yet" if self.keys is None else "the last valid key set stays in use"
        report(f"{fault}; {meanwhile}", source=self._source.name)
        self._fault = fault
        return self._backoff.next()

    def _succeeded(self, loaded: Loaded) -> float:
        self._metrics.jwks_refreshed(len(loaded.keys))
        if self.keys is None or self._fault is not None or loaded.keys.keys() != self.keys.keys():
            report = _log.info if loaded.keys else _log.warning
            report(
                "JWKS loaded" if loaded.keys else "the JWKS was loaded, but has no usable key: every token is rejected",
                source=self._source.name,
                keys=sorted(loaded.keys),
            )
        if loaded.dropped != self._dropped:
            self._report_dropped(loaded.dropped)
        self.keys, self._dropped, self._fault = loaded.keys, loaded.dropped, None
        self._backoff.reset()
        due = max(self._interval, min(loaded.fresh_for, LONGEST))
        return due * (1 + self._chance() / 10)

    def _report_dropped(self, dropped: tuple[DroppedKey, ...]) -> None:
        """Logs keys that cannot be used, once for each content of the set."""
        for each in dropped[:_REPORTED]:
            key = "a key without ID" if each.kid is None else f"key {quote(each.kid[:128])}"
            _log.warning(f"JWKS: {key} is not used: {each.reason}", source=self._source.name)
        if len(dropped) > _REPORTED:
            _log.warning(f"JWKS: {len(dropped) - _REPORTED} more keys are not used", source=self._source.name)

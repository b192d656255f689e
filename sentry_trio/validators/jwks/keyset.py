"""A key set, kept up to date."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, NoReturn, Protocol

import trio

from sentry_trio.backoff import CHANCE, Backoff
from sentry_trio.errors import SentryError, ValidatorNotReadyError
from sentry_trio.settings.values import quote
from sentry_trio.telemetry.logs import get_logger
from sentry_trio.telemetry.metrics import Metrics
from sentry_trio.tokens.keys import DroppedKey, VerificationKey

PAUSE: Final = 10.0
"""Seconds between two readings at the least that tokens with unknown keys can bring about, however many there are."""

PATIENCE: Final = 5.0
"""Seconds that a caller whose key is not known is kept waiting for a reading."""

LONGEST: Final = 24 * 3600.0
"""Seconds after which a set is read again even if its source says that it is good for longer."""

# Log lines about the keys of one set that are not used.
_REPORTED: Final = 10

_log: Final = get_logger("dapr.sentry.identity.jwks")


class SourceError(SentryError):
    """A source cannot be read now, or what it says is no key set."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a source says.

    Attributes:
        keys: by key ID.
        fresh_for: seconds that it says to be good for.
        dropped: keys of the set that cannot be used, with the reason.
    """

    keys: Mapping[str, VerificationKey]
    fresh_for: float = 0
    dropped: tuple[DroppedKey, ...] = ()


class Source(Protocol):
    """Where a key set is from."""

    @property
    def name(self) -> str:
        """For people."""

    async def load(self) -> Loaded:
        """What it says now; bounds its own time. Raises SourceError."""


class KeySet:
    """The keys of a source: read on a timer, and once more where a token names a key that is not among them.

    A reading that fails is followed by others, after pauses that grow to a minute, and the last good set is kept.

    Args:
        source: where it is from.
        interval: seconds between two readings at the least; more where the source says that its set is good for
            longer. Up to a tenth is added by chance, so that replicas do not ask all at once.
        metrics: told of each reading.
        chance: a number from 0 to below 1.
    """

    def __init__(
        self, source: Source, *, interval: float, metrics: Metrics, chance: Callable[[], float] = CHANCE
    ) -> None:
        self._source = source
        self._interval = interval
        self._metrics = metrics
        self._chance = chance
        self._keys: Mapping[str, VerificationKey] | None = None
        self._dropped: tuple[DroppedKey, ...] = ()
        self._backoff = Backoff(first=1, longest=60, chance=chance)
        self._read_at = float("-inf")
        self._reading = trio.Lock()
        self._wanted = trio.Event()
        self._read = trio.Event()
        self._fault: str | None = None

    @property
    def ready(self) -> bool:
        """Whether a set was read once."""
        return self._keys is not None

    async def wait_tried(self) -> None:
        """Returns when the source was read once, be it with success or not."""
        if self._read_at == float("-inf"):
            await self._read.wait()

    async def wait_ready(self) -> None:
        """Returns when a set was read once."""
        while self._keys is None:
            await self._read.wait()

    async def find(self, kid: str) -> VerificationKey | None:
        """The key with this ID; None where there is none.

        A key that is not known may be new: the set is read again, one reading for all who ask, at most every 10 s.

        Raises:
            ValidatorNotReadyError: it is not known, and what the source says now is not known either.

        Cancellation: at once; the reading goes on for the others.
        """
        key = (self._keys or {}).get(kid)
        if key is not None:
            return key
        under_way = self._reading.locked()
        if under_way or trio.current_time() >= self._read_at + PAUSE:
            # Not while one is under way: whoever asks at the right times would have the set read without a pause.
            if not under_way:
                self._wanted.set()
            with trio.move_on_after(PATIENCE) as waiting:
                await self._read.wait()
            if waiting.cancelled_caught:
                raise ValidatorNotReadyError("jwks validator not ready: the key set is being read, try again")
        key = (self._keys or {}).get(kid)
        if key is None and self._fault is not None:
            raise ValidatorNotReadyError("jwks validator not ready: the key set could not be read, try again")
        return key

    def why_dropped(self, kid: str) -> str | None:
        """Returns why the key with this ID, which the set has, is not used; None if the set has none."""
        return next((each.reason for each in self._dropped if each.kid == kid), None)

    def read_soon(self) -> None:
        """Has `keep` read the set, and once more if it is being read now: what it says may have changed since."""
        self._wanted.set()

    async def keep(self) -> NoReturn:
        """Reads the set now and whenever it is due; runs until cancelled.

        Cancellation: at once.
        """
        while True:
            self._wanted = trio.Event()
            pause = await self.refresh()
            with trio.move_on_after(pause):
                await self._wanted.wait()

    async def refresh(self) -> float:
        """Reads the set once; returns the seconds after which it is due again.

        Cancellation: at once, and nothing has changed.
        """
        async with self._reading:
            try:
                loaded = await self._source.load()
            except SourceError as error:
                pause = self._failed(str(error))
            else:
                pause = self._succeeded(loaded)
            self._read_at = trio.current_time()
            read, self._read = self._read, trio.Event()
            read.set()
            return pause

    def _failed(self, fault: str) -> float:
        self._metrics.jwks_refresh_failed()
        # An outage is told once, and again where its reason changes.
        tell = _log.debug if fault == self._fault else _log.warning
        meanwhile = "no key set was read from it yet" if self._keys is None else "the last good set is kept"
        tell(f"{fault}; {meanwhile}", source=self._source.name)
        self._fault = fault
        return self._backoff.next()

    def _succeeded(self, loaded: Loaded) -> float:
        self._metrics.jwks_refreshed(len(loaded.keys))
        if self._keys is None or self._fault is not None or loaded.keys.keys() != self._keys.keys():
            tell = _log.info if loaded.keys else _log.warning
            tell(
                "JWKS loaded" if loaded.keys else "JWKS loaded, and no key in it is of use: no token will be good",
                source=self._source.name,
                keys=sorted(loaded.keys),
            )
        if loaded.dropped != self._dropped:
            self._report_dropped(loaded.dropped)
        self._keys, self._dropped, self._fault = loaded.keys, loaded.dropped, None
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

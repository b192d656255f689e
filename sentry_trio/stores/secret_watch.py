"""Watch of the Secret and its ConfigMap: changes of the one are reported, and the other is repaired."""

import math
from collections.abc import Awaitable, Callable, Sequence
from hashlib import sha256
from typing import Final

import trio

from sentry_trio.backoff import Backoff
from sentry_trio.ca.parts import Parts
from sentry_trio.conditions import Condition, Conditions
from sentry_trio.errors import ApiUnavailableError, Part, StoreError
from sentry_trio.stores.secret_content import Names, data_of, encoded
from sentry_trio.stores.secret_object import ForbiddenError, SecretObject
from sentry_trio.telemetry.logs import get_logger

REPAIR_WINDOW: Final = 60.0
"""Seconds within which another repair of the ConfigMap belongs to the same series. It is counted instead of logged, and
the pauses between repairs grow from 0.25 s to 2 s."""

REFUSALS: Final = 3
"""Consecutive forbidden reads of the Secret before that is reported: a new API server forbids for a moment."""

_log: Final = get_logger("dapr.sentry.ca")


class ConfigMapSync:
    """Repairs one part, and reports if it cannot.

    Args:
        place: namespace and name of both objects.
        what: names the part, e.g. `the trust anchors`.
        publish: repairs the ConfigMap, if it differs, in one attempt; returns true if it did.
        failing: set while the ConfigMap cannot be repaired.
    """

    def __init__(self, place: str, what: str, publish: Callable[[], Awaitable[bool]], failing: Condition) -> None:
        self._place = place
        self._what = what
        self._publish = publish
        self._failing = failing
        self._repairs = 0
        self._last_repair = self._logged_at = -math.inf
        self._backoff = Backoff(first=0.25, longest=2)

    async def repair(self) -> None:
        """Repairs the ConfigMap if it differs. If that fails, it is logged once and reported as a condition.

        Raises:
            ApiUnavailableError: the API server is unavailable.
        """
        try:
            repaired = await self._publish()
        except StoreError as error:
            _report(self._failing, f"cannot update ConfigMap {self._place} from the Secret: {error}")
            return
        if self._failing.clear():
            _log.info(f"ConfigMap {self._place} has {self._what} of the Secret again")
        if repaired:
            await self._log_repair()

    async def _log_repair(self) -> None:
        now = trio.current_time()
        if now - self._last_repair > REPAIR_WINDOW:
            self._backoff.reset()
        self._last_repair = now
        self._repairs += 1
        if now - self._logged_at >= REPAIR_WINDOW:
            text = f"ConfigMap {self._place} no longer had {self._what} of the Secret: restored"
            if self._repairs > 1:
                seconds = now - self._logged_at
                text += f", {self._repairs} times in {seconds:.0f} s; find out what else writes the ConfigMap"
            _log.warning(text)
            self._logged_at, self._repairs = now, 0
        # Another writer may undo each repair at once; without a pause both would write in a loop.
        await trio.sleep(self._backoff.next())


class SecretWatch:
    """Compares the parts in the Secret with those that are known, and has the ConfigMap repaired.

    Args:
        secret: the object.
        names: key of each part that is watched.
        accepted: the parts that are known; one that is watched and not among them is known to be absent.
        syncs: repair the ConfigMap.
        conditions: `secret` is set while the permission to read it is missing.

    Attributes:
        present: texts by key that change with the values of the parts, and do not disclose them; as last read.
    """

    def __init__(
        self,
        secret: SecretObject,
        names: Names,
        accepted: Parts,
        *,
        syncs: Sequence[ConfigMapSync],
        conditions: Conditions,
    ) -> None:
        self._secret = secret
        self._parts = {name: part for part, name in names.items()}
        self._syncs = syncs
        self._forbidden = conditions.condition("secret")
        self._refusals = 0
        self.present = {name: _fingerprint_of(accepted.get(part)) for name, part in self._parts.items()}
        self._reported = self.present

    async def look(self) -> dict[str, str]:
        """Repairs the ConfigMap, and returns its content.

        Raises:
            ApiUnavailableError: the API server is unavailable.
        """
        for sync in self._syncs:
            await sync.repair()
        self.present = await self._fingerprints()
        return self.present

    async def report(self, changed: Callable[[frozenset[Part]], Awaitable[None]]) -> None:
        """Calls `changed` with the parts that differ from those that were known or reported."""
        seen = self.present
        await changed(frozenset(part for name, part in self._parts.items() if seen[name] != self._reported[name]))
        self._reported = seen

    async def _fingerprints(self) -> dict[str, str]:
        try:
            data = data_of(await self._secret.get())
        except ForbiddenError as error:
            self._refusals += 1
            if self._refusals >= REFUSALS:
                _report(self._forbidden, f"cannot check Secret {self._secret.place} for changes: {error}")
            # The rejection says nothing about the object's content, so it counts as unchanged.
            raise ApiUnavailableError(str(error)) from error
        except StoreError as error:
            found = dict.fromkeys(self._parts, str(error))
        else:
            found = {name: _fingerprint(data.get(name)) for name in self._parts}
        self._refusals = 0
        if self._forbidden.clear():
            _log.info(f"checking Secret {self._secret.place} for changes succeeds again")
        return found


def _report(condition: Condition, text: str) -> None:
    """Sets a condition, and logs its text if that is new."""
    if text != condition.message:
        _log.warning(text)
    condition.set(text)


def _fingerprint_of(content: bytes | None) -> str:
    return _fingerprint(None if content is None else encoded(content))


def _fingerprint(value: object) -> str:
    return "absent" if value is None else sha256(str(value).encode()).hexdigest()

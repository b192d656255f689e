"""Keeps the ConfigMap in step with the Secret while both are watched."""

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import trio

from sentry_trio.backoff import Backoff
from sentry_trio.conditions import Condition
from sentry_trio.errors import ApiUnavailableError, StoreError
from sentry_trio.reload import Trigger
from sentry_trio.stores.secret_object import ForbiddenError
from sentry_trio.telemetry.logs import get_logger

REPAIR_WINDOW: Final = 60.0
"""Seconds within which another repair of the ConfigMap belongs to the same series. It is counted instead of logged, and
the pauses between repairs grow from 0.25 s to 2 s."""

REFUSALS: Final = 3
"""Consecutive forbidden reads of the Secret before that is reported: a new API server forbids for a moment."""

_log: Final = get_logger("dapr.sentry.ca")


@dataclass(frozen=True, slots=True)
class Guarded:
    """A part of what both objects hold, as a watch compares it.

    Attributes:
        look: what there is now, told apart by a text. May raise ApiUnavailableError.
        known: what a look would have found when the part was read.
        trigger: kind of reload that its change starts.
    """

    look: Callable[[], Awaitable[str]]
    known: str
    trigger: Trigger


class Guard:
    """Looks at both objects for a watch, and has the ConfigMap put right on the way.

    Args:
        place: namespace and name of both objects.
        part: what of the Secret the ConfigMap publishes, e.g. `the trust anchors`.
        publish: puts the ConfigMap right, if that is wrong, in one attempt; returns whether it was.
        seen: what the Secret holds, told apart by a text; what it raises as StoreError is what is seen instead.
        config_map: set while the ConfigMap cannot be repaired.
        secret: set while the permission to read the Secret is missing.
    """

    def __init__(
        self,
        place: str,
        part: str,
        *,
        publish: Callable[[], Awaitable[bool]],
        seen: Callable[[], Awaitable[str]],
        config_map: Condition,
        secret: Condition,
    ) -> None:
        self._place = place
        self._part = part
        self._publish = publish
        self._seen = seen
        self._config_map = config_map
        self._secret = secret
        self._refusals = 0
        self._repairs = 0
        self._last_repair = self._logged_at = -math.inf
        self._backoff = Backoff(first=0.25, longest=2)

    async def look(self) -> str:
        """Returns the Secret's content. If the ConfigMap cannot be repaired, that is logged once and reported.

        Raises:
            ApiUnavailableError: the API server could not be asked.
        """
        try:
            repaired = await self._publish()
        except StoreError as error:
            self._report(self._config_map, f"cannot keep ConfigMap {self._place} in step with the Secret: {error}")
        else:
            if self._config_map.clear():
                _log.info(f"ConfigMap {self._place} has {self._part} of the Secret again")
            if repaired:
                await self._repaired()
        try:
            seen = await self._seen()
        except ForbiddenError as error:
            self._refusals += 1
            if self._refusals >= REFUSALS:
                self._report(self._secret, f"cannot check Secret {self._place} for changes: {error}")
            # The refusal says nothing about the object's content, so it counts as unchanged.
            raise ApiUnavailableError(str(error)) from error
        except StoreError as error:
            seen = str(error)
        self._refusals = 0
        if self._secret.clear():
            _log.info(f"checking Secret {self._place} for changes again")
        return seen

    async def _repaired(self) -> None:
        now = trio.current_time()
        if now - self._last_repair > REPAIR_WINDOW:
            self._backoff.reset()
        self._last_repair = now
        self._repairs += 1
        if now - self._logged_at >= REPAIR_WINDOW:
            self._log_repairs(now - self._logged_at)
            self._logged_at, self._repairs = now, 0
        # Another writer may undo each repair at once; without a pause both would write in a loop.
        await trio.sleep(self._backoff.next())

    def _log_repairs(self, seconds: float) -> None:
        text = f"ConfigMap {self._place} no longer had {self._part} of the Secret: restored"
        if self._repairs > 1:
            text += f", {self._repairs} times in {seconds:.0f} s; find out what else writes the ConfigMap"
        _log.warning(text)

    @staticmethod
    def _report(condition: Condition, text: str) -> None:
        if text != condition.message:
            _log.warning(text)
        condition.set(text)

"""Repairs a part of the ConfigMap that no longer equals the Secret's, while both are watched."""

import math
from collections.abc import Awaitable, Callable
from typing import Final

import trio

from sentry_trio.backoff import Backoff
from sentry_trio.conditions import Condition
from sentry_trio.errors import StoreError
from sentry_trio.telemetry.logs import get_logger

REPAIR_WINDOW: Final = 60.0
"""Seconds within which another repair of the ConfigMap belongs to the same series. It is counted instead of logged, and
the pauses between repairs grow from 0.25 s to 2 s."""

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
            ApiUnavailableError: the API server could not be asked.
        """
        try:
            repaired = await self._publish()
        except StoreError as error:
            report(self._failing, f"cannot update ConfigMap {self._place} from the Secret: {error}")
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


def report(condition: Condition, text: str) -> None:
    """Sets a condition, and logs its text if that is new."""
    if text != condition.message:
        _log.warning(text)
    condition.set(text)

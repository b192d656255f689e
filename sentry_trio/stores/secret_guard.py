"""Keeps the ConfigMap in step with the Secret while both are watched."""

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import trio

from sentry_trio.backoff import Backoff
from sentry_trio.errors import ApiUnavailableError, StoreError
from sentry_trio.reload import Trigger
from sentry_trio.stores.secret_object import ForbiddenError
from sentry_trio.telemetry.logs import get_logger

QUARREL: Final = 60.0
"""Seconds within which another repair of the ConfigMap is the next of a series, and waits for longer: 2 s at most."""

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
    """

    def __init__(
        self, place: str, part: str, *, publish: Callable[[], Awaitable[bool]], seen: Callable[[], Awaitable[str]]
    ) -> None:
        self._place = place
        self._part = part
        self._publish = publish
        self._seen = seen
        self._told: str | None = None
        self._last_repair = -math.inf
        self._backoff = Backoff(first=0.25, longest=2)

    async def look(self) -> str:
        """What the Secret holds. That the ConfigMap cannot be put right is logged, once until that changes.

        Raises:
            ApiUnavailableError: the API server could not be asked.
        """
        try:
            repaired = await self._publish()
        except StoreError as error:
            self._tell(str(error))
        else:
            self._told = None
            if repaired:
                await self._repaired()
        try:
            return await self._seen()
        except ForbiddenError as error:
            # It says nothing of what the object holds, so that nothing has changed.
            raise ApiUnavailableError(str(error)) from error
        except StoreError as error:
            return str(error)

    async def _repaired(self) -> None:
        _log.warning(f"ConfigMap {self._place} did not have {self._part} of the Secret any more: they were put back")
        now = trio.current_time()
        if now - self._last_repair > QUARREL:
            self._backoff.reset()
        self._last_repair = now
        # Somebody may undo each repair at once, and would be answered as fast.
        await trio.sleep(self._backoff.next())

    def _tell(self, text: str) -> None:
        if text != self._told:
            _log.warning(f"cannot compare ConfigMap and Secret: {text}")
        self._told = text

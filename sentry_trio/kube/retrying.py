"""Attempts that fail for a while: pauses that grow, with chance in them, and an end to patience."""

from collections.abc import Awaitable, Callable
from random import SystemRandom
from typing import Final, TypeVar

import trio

from sentry_trio.errors import ApiUnavailableError

T = TypeVar("T")

PATIENCE: Final = 30.0
"""Seconds after which the next failure is final: longer than an API server takes to be restarted."""

_CHANCE: Final = SystemRandom().random


class Backoff:
    """Pauses between attempts: each may be twice as long as the one before, and chance takes up to half of it off.

    Replicas that fail at the same moment so do not come back at the same moment.

    Args:
        first: seconds of the first pause at most.
        longest: seconds of any pause at most.
        chance: a number from 0 to below 1.
    """

    def __init__(self, *, first: float = 0.1, longest: float = 5.0, chance: Callable[[], float] = _CHANCE) -> None:
        self._first = self._most = first
        self._longest = longest
        self._chance = chance

    def next(self) -> float:
        """Seconds to wait before the next attempt."""
        most, self._most = self._most, min(2 * self._most, self._longest)
        return most * (1 - self._chance() / 2)

    def reset(self) -> None:
        """Begins anew with the first pause: an attempt has succeeded."""
        self._most = self._first


async def persist(attempt: Callable[[], Awaitable[T]], *, patience: float = PATIENCE) -> T:
    """The answer of the first attempt that does not fail with ApiUnavailableError.

    What failed may have been done all the same, e.g. when its answer was lost: an attempt that changes something has
    to begin by reading what there is.

    Args:
        attempt: what is tried, and bounds its own time.
        patience: seconds during which attempts are begun.

    Raises:
        ApiUnavailableError: the last attempt's, when patience has come to its end, or would have by the time that the
            server asks to wait for.

    Cancellation: as that of an attempt; between two attempts at once.
    """
    deadline = trio.current_time() + patience
    backoff = Backoff()
    while True:
        try:
            return await attempt()
        except ApiUnavailableError as error:
            pause = max(backoff.next(), error.retry_after or 0)
            if trio.current_time() + pause > deadline:
                raise
        await trio.sleep(pause)

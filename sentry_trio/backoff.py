"""Pauses that grow, with chance in them."""

from collections.abc import Callable
from random import SystemRandom
from typing import Final

CHANCE: Final = SystemRandom().random
"""Unpredictable number from 0 to below 1."""


class Backoff:
    """Pauses between attempts: each may be twice as long as the one before, and chance takes up to half of it off.

    Replicas that fail at the same moment so do not come back at the same moment.

    Args:
        first: seconds of the first pause at most.
        longest: seconds of any pause at most.
        chance: a number from 0 to below 1.

    Attributes:
        longest: see above.
    """

    def __init__(self, *, first: float = 0.1, longest: float = 5.0, chance: Callable[[], float] = CHANCE) -> None:
        self._first = self._most = first
        self.longest = longest
        self._chance = chance

    def next(self) -> float:
        """Seconds to wait before the next attempt."""
        most, self._most = self._most, min(2 * self._most, self.longest)
        return most * (1 - self._chance() / 2)

    def reset(self) -> None:
        """Starts again with the first pause, after a successful attempt."""
        self._most = self._first

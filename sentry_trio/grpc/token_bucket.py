"""Token bucket, on Trio's clock."""

import trio

from .limits import CONTROL_FRAMES_REFILL


class TokenBucket:
    """Token bucket: limits a rate and allows bursts.

    Args:
        size: tokens of a full bucket, and at first: the largest burst.
        refill: seconds in which an empty bucket fills up.

    Attributes:
        size: as given.
        left: tokens at the last use.
    """

    __slots__ = ("_refill", "_spent_at", "left", "size")

    def __init__(self, size: int, *, refill: float = CONTROL_FRAMES_REFILL) -> None:
        self.size = size
        self._refill = refill
        self.left = float(size)
        self._spent_at = trio.current_time()

    def spend(self, tokens: float = 1) -> bool:
        """Takes tokens; returns False if there are not as many."""
        now = trio.current_time()
        self.left = min(self.left + (now - self._spent_at) * self.size / self._refill, self.size)
        self._spent_at = now
        # Sums of fractions come out a little short of a whole token.
        if self.left < tokens - 1e-6:
            return False
        self.left = max(0.0, self.left - tokens)
        return True

    def borrow(self, tokens: float) -> float:
        """Takes tokens, even future ones; returns the seconds until they are refilled."""
        self.spend(0)
        self.left -= tokens
        return max(0.0, -self.left) * self._refill / self.size

    @property
    def ready_at(self) -> float:
        """Time of the next token, on Trio's clock; in the past if there is one."""
        return self._spent_at + max(0.0, 1 - self.left) * self._refill / self.size

    def earn(self, tokens: float) -> None:
        """Puts tokens back; the bucket never holds more than its size."""
        self.left = min(self.left + tokens, self.size)

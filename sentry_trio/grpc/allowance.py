"""A budget that refills with time."""

import trio

from .limits import CONTROL_FRAMES_REFILL


class Allowance:
    """So many units at once; all of them come back within a minute, some earlier if earned. Runs on Trio's clock."""

    __slots__ = ("_left", "_size", "_spent_at")

    def __init__(self, size: int) -> None:
        self._size = size
        self._left = float(size)
        self._spent_at = trio.current_time()

    def spend(self) -> bool:
        """Spends one unit; returns whether there was one."""
        now = trio.current_time()
        refill = (now - self._spent_at) * self._size / CONTROL_FRAMES_REFILL
        self._left = min(self._left + refill, self._size)
        self._spent_at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True

    def earn(self, units: int) -> None:
        """Gives back units; never more than the size can be saved up."""
        self._left = min(self._left + units, self._size)

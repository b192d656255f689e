"""Clocks that a renewal depends on: holds it while the wall clock cannot be trusted."""

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

HOLD: Final = timedelta(minutes=10)
"""Time for which a renewal is held after the wall clock was set."""

_RESOLUTION: Final = timedelta(seconds=2)  # of the Date header and the time that an answer takes; small corrections
_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # Linux has the former


def boot_time() -> float:
    """Returns seconds since the machine was started, including suspension if that is known; they cannot be set."""
    return time.clock_gettime(_CLOCK)


class ClockGuard:
    """Compares the wall clock with elapsed time and with the API server's clock.

    Args:
        now: the wall clock, aware.
        elapsed: seconds that passed, suspension included.
        server_offset: lead of the API server's clock over this machine's; None if unknown.
    """

    def __init__(
        self,
        now: Callable[[], datetime],
        *,
        elapsed: Callable[[], float] = boot_time,
        server_offset: Callable[[], timedelta | None] = lambda: None,
    ) -> None:
        self._now = now
        self._elapsed = elapsed
        self._server_offset = server_offset
        self._offset = self._measured()
        self._jump = timedelta()
        self._jumped_at: timedelta | None = None

    def reason_to_hold(self, tolerance: timedelta) -> str | None:
        """Returns the reason why no step of a renewal may be taken now; None if the clocks agree.

        Args:
            tolerance: largest accepted difference; two seconds are added.
        """
        jump = self._recent_jump(tolerance)
        if lead := self._lead_over_server(tolerance):
            return f"this machine's clock is {_shown(lead)} the API server's: set it"
        return f"the clock was set, and is {_shown(jump)} where it was: waiting for 10 min" if jump else None

    def lead(self, tolerance: timedelta) -> timedelta:
        """Returns the lead of the wall clock over the API server's, or over itself before it was set; zero without one.

        Args:
            tolerance: as for `reason_to_hold`.
        """
        jump = self._recent_jump(tolerance)
        return self._lead_over_server(tolerance) or jump

    def _recent_jump(self, tolerance: timedelta) -> timedelta:
        """Returns by how much the clock was set lately; zero if it was not. To be called again and again."""
        passed = timedelta(seconds=self._elapsed())
        offset = self._measured()
        jump, self._offset = offset - self._offset, offset
        if abs(jump) > tolerance + _RESOLUTION:
            self._jump, self._jumped_at = jump, passed
        is_recent = self._jumped_at is not None and passed - self._jumped_at < HOLD
        return self._jump if is_recent else timedelta()

    def _lead_over_server(self, tolerance: timedelta) -> timedelta:
        apart = self._server_offset()
        return timedelta() if apart is None or abs(apart) <= tolerance + _RESOLUTION else -apart

    def _measured(self) -> timedelta:
        return self._now() - datetime.fromtimestamp(self._elapsed(), tz=self._now().tzinfo)


def _shown(difference: timedelta) -> str:
    side = "ahead of" if difference > timedelta() else "behind"
    return f"{abs(difference).total_seconds():.0f} s {side}"


def seconds_until(due: datetime | None, now: datetime, *, most: float) -> float:
    """Returns the seconds to sleep before a step that is due; `most` if none is, as the clock may be set meanwhile."""
    return most if due is None else min(max((due - now).total_seconds(), 0.0), most)

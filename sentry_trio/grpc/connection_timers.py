"""Timers of a connection: silence, idleness, stalled sending, age. Pure: the caller passes the time."""

import enum
import random

from .limits import JITTER, Limits


class TimerAction(enum.Enum):
    """Action that is due."""

    KEEP = enum.auto()
    PING = enum.auto()
    """Send a PING."""
    LEAVE = enum.auto()
    """Close it gracefully."""
    CUT = enum.auto()
    """Close it now."""


class ConnectionTimers:
    """Timers of one connection.

    Args:
        limits: durations.
        now: time at which it was opened, on the clock of all times here.

    Attributes:
        idle_since: time at which the last call ended, or the connection began.
    """

    __slots__ = (
        "_age",
        "_heard_at",
        "_idle",
        "_limits",
        "_opened_at",
        "_pinged_at",
        "_progress_at",
        "_sent",
        "idle_since",
    )

    def __init__(self, limits: Limits, now: float) -> None:
        earlier = 1 - JITTER * random.random()  # noqa: S311  # it spreads peers over time and keeps no secret
        self.idle_since = now
        self._limits = limits
        self._opened_at = self._progress_at = now
        self._heard_at: float | None = None
        self._pinged_at: float | None = None
        self._idle = limits.idle_timeout * earlier
        self._age = limits.age * earlier
        self._sent = 0

    def heard(self, now: float) -> None:
        """Records that the peer has sent something."""
        self._heard_at = now
        self._pinged_at = None

    def action(self, now: float, *, idle: bool, sent: int, unsent: bool) -> TimerAction:
        """Returns the action that is due.

        Args:
            now: current time.
            idle: true if no call is open.
            sent: number of bytes that the peer's socket has accepted so far.
            unsent: true if more are waiting.
        """
        if not unsent or sent != self._sent:
            self._sent, self._progress_at = sent, now
        if now - self._progress_at >= self._limits.send_timeout:
            return TimerAction.CUT
        if self._heard_at is None:
            return TimerAction.CUT if now - self._opened_at >= self._limits.handshake_timeout else TimerAction.KEEP
        if self._pinged_at is not None and now - self._pinged_at >= self._limits.keepalive_timeout:
            return TimerAction.CUT
        if now - self._opened_at >= self._age or (idle and now - self.idle_since >= self._idle):
            return TimerAction.LEAVE
        if now - self._heard_at >= self._limits.keepalive_time and self._pinged_at is None:
            self._pinged_at = now
            return TimerAction.PING
        return TimerAction.KEEP

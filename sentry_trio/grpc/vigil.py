"""How long a connection may be silent, idle, stuck or simply there. Pure: told the time, asked for a verdict."""

import enum
import random

from .limits import JITTER, Limits


class Verdict(enum.Enum):
    """What is to be done with a connection."""

    KEEP = enum.auto()
    PING = enum.auto()
    """Ask for a sign of life."""
    LEAVE = enum.auto()
    """Send it away, gracefully."""
    CUT = enum.auto()
    """End it now."""


class Vigil:
    """Watches one connection.

    Args:
        limits: what is too long.
        now: when it was opened, on the clock that all times here are on.

    Attributes:
        idle_since: when the last call ended, or the connection began.
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
        """The peer has given a sign of life."""
        self._heard_at = now
        self._pinged_at = None

    def verdict(self, now: float, *, idle: bool, sent: int, unsent: bool) -> Verdict:
        """What is to be done.

        Args:
            now: the present time.
            idle: there is no call under way.
            sent: how many bytes the peer has taken so far.
            unsent: whether there are more for it.
        """
        if not unsent or sent != self._sent:
            self._sent, self._progress_at = sent, now
        if now - self._progress_at >= self._limits.send_timeout:
            return Verdict.CUT
        if self._heard_at is None:
            return Verdict.CUT if now - self._opened_at >= self._limits.handshake_timeout else Verdict.KEEP
        if self._pinged_at is not None and now - self._pinged_at >= self._limits.keepalive_timeout:
            return Verdict.CUT
        if now - self._opened_at >= self._age or (idle and now - self.idle_since >= self._idle):
            return Verdict.LEAVE
        if now - self._heard_at >= self._limits.keepalive_time and self._pinged_at is None:
            self._pinged_at = now
            return Verdict.PING
        return Verdict.KEEP

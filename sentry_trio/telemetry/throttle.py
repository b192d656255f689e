"""Throttled warnings: at most one a minute of each kind."""

import math
from typing import Final

import trio

from sentry_trio.telemetry.logs import Logger

INTERVAL: Final = 60.0
"""Seconds between two warnings."""


class ThrottledLog:
    """Logs the warnings of one kind, at most one in each interval, with the number of those left out since.

    Args:
        log: the logger.
    """

    def __init__(self, log: Logger) -> None:
        self._log = log
        self._logged_at = -math.inf
        self._suppressed = 0

    def warning(self, text: str, **fields: object) -> bool:
        """Logs a warning, unless one was logged within the interval, on Trio's clock; returns True if it did."""
        now = trio.current_time()
        if now < self._logged_at + INTERVAL:
            self._suppressed += 1
            return False
        if self._suppressed:
            fields["suppressed"] = self._suppressed
        self._log.warning(text, **fields)
        self._logged_at, self._suppressed = now, 0
        return True

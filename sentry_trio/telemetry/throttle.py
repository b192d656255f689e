"""Throttled log lines: at most one a minute of each kind."""

import math
from collections import Counter
from collections.abc import Callable
from typing import Final

import trio

from sentry_trio.telemetry.logs import Logger

INTERVAL: Final = 60.0
"""Seconds between two lines."""
# A flood may come from more addresses than a log line can name.
_SHOWN_PEERS: Final = 3
_COUNTED_PEERS: Final = 1000


class ThrottledLog:
    """Logs the lines of one kind, at most one in each interval, with the number of those left out since.

    Args:
        log: the logger.
    """

    def __init__(self, log: Logger) -> None:
        self._log = log
        self._logged_at = -math.inf
        self._suppressed = 0
        self._peers: Counter[str] = Counter()

    def warning(self, text: str, *, peer: str | None = None, **fields: object) -> bool:
        """Logs a warning, unless one was logged within the interval, on Trio's clock; returns True if it did.

        Args:
            text: the line.
            peer: address of the peer that caused it. The line names those that caused most since the last one.
            fields: further fields.
        """
        return self._write(self._log.warning, text, peer, fields)

    def error(self, text: str, *, peer: str | None = None, **fields: object) -> bool:
        """Logs a failure in the same way; `exc_info` adds its traceback."""
        return self._write(self._log.error, text, peer, fields)

    def _write(self, write: Callable[..., None], text: str, peer: str | None, fields: dict[str, object]) -> bool:
        if peer is not None and (peer in self._peers or len(self._peers) < _COUNTED_PEERS):
            self._peers[peer] += 1
        now = trio.current_time()
        if now < self._logged_at + INTERVAL:
            self._suppressed += 1
            return False
        if peer is not None:
            fields["peer"] = peer
        if self._suppressed:
            fields["suppressed"] = self._suppressed
            if self._peers:
                top = self._peers.most_common(_SHOWN_PEERS)
                fields["top_peers"] = ", ".join(f"{address} ({times})" for address, times in top)
        self._logged_at, self._suppressed = now, 0
        self._peers.clear()
        write(text, **fields)
        return True

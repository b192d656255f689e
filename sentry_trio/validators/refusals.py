"""Log of refusals, in which support engineers search; throttled, so that no caller can fill it."""

import math
from collections import OrderedDict
from typing import Final

import trio

from sentry_trio.telemetry.logs import Logger

INTERVAL: Final = 60.0
"""Seconds between two lines of one cause about one pod."""
MOST: Final = 1000
"""Pairs of cause and pod that are remembered; of more, the one logged longest ago is forgotten."""


class RefusalLog:
    """Logs refusals at warning: once a minute for each cause and pod, with the number of those left out since.

    Args:
        log: the logger.
    """

    def __init__(self, log: Logger) -> None:
        self._log = log
        self._seen: OrderedDict[tuple[str, str], _Refusals] = OrderedDict()

    def warning(self, cause: str, pod: str, text: str) -> None:
        """Logs one refusal, unless the same cause was logged for the same pod within the last minute.

        Args:
            cause: a name for all refusals of this kind.
            pod: `namespace/name`, from a token that was verified.
            text: the line.
        """
        refusals = self._seen.setdefault((cause, pod), _Refusals())
        now = trio.current_time()
        if now < refusals.logged_at + INTERVAL:
            refusals.suppressed += 1
            return
        self._log.warning(text, **{"suppressed": refusals.suppressed} if refusals.suppressed else {})
        refusals.logged_at, refusals.suppressed = now, 0
        self._seen.move_to_end((cause, pod))
        if len(self._seen) > MOST:
            self._seen.popitem(last=False)


class _Refusals:
    """The refusals of one pod for one cause."""

    def __init__(self) -> None:
        self.logged_at = -math.inf
        self.suppressed = 0

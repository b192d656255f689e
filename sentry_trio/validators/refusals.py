"""Log of refusals, in which support engineers search; throttled, so that no caller can fill it."""

from collections import OrderedDict
from typing import Final

from sentry_trio.telemetry.logs import Logger
from sentry_trio.telemetry.throttle import ThrottledLog

MOST: Final = 1000
"""Pairs of cause and pod that are remembered; of more, the one logged longest ago is forgotten."""


class RefusalLog:
    """Logs refusals at warning: once a minute for each cause and pod, with the number of those left out since.

    Args:
        log: the logger.
    """

    def __init__(self, log: Logger) -> None:
        self._log = log
        self._seen: OrderedDict[tuple[str, str], ThrottledLog] = OrderedDict()

    def warning(self, cause: str, pod: str, text: str) -> None:
        """Logs one refusal, unless the same cause was logged for the same pod within the last minute.

        Args:
            cause: a name for all refusals of this kind.
            pod: `namespace/name`, from a token that was verified.
            text: the line.
        """
        throttled = self._seen.setdefault((cause, pod), ThrottledLog(self._log))
        if not throttled.warning(text):
            return
        self._seen.move_to_end((cause, pod))
        if len(self._seen) > MOST:
            self._seen.popitem(last=False)

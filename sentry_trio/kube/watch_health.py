"""State of a watch: repeated failure and recovery are each logged and reported once."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import trio

from sentry_trio.conditions import Condition, Conditions
from sentry_trio.errors import ApiRefusedError, ApiUnavailableError, ApiUnreachableError
from sentry_trio.telemetry.logs import get_logger

FAILURES: Final = 3
"""Consecutive failures after which a watch is reported: watches are also cut in normal operation."""

STEADY: Final = 10.0
"""Seconds that a watch has to last to end a series of failures."""

_log: Final = get_logger("dapr.sentry.kubernetes")


class WatchHealth:
    """Counts the failures of one watch.

    A refusal is reported at once. The session reports an API server that does not answer at all.

    Args:
        failing: text that is logged and reported when the watch fails, without the cause.
        recovered: text that is logged when it lasts again.
        nursery: runs a timer while the watch is open after a failure.
        condition: set while the watch fails.
    """

    def __init__(
        self, failing: str, recovered: str, nursery: trio.Nursery, *, condition: Condition | None = None
    ) -> None:
        self._failing = failing
        self._recovered = recovered
        self._nursery = nursery
        self._condition = condition or Conditions().condition("watch")
        self._failures = 0

    def failed(self, error: ApiUnavailableError | ApiRefusedError) -> None:
        """Records that the watch was cut, or could not be begun."""
        text = f"{self._failing}: {error}"
        if isinstance(error, ApiUnreachableError):
            _log.debug(text)
            return
        self._failures += 1
        is_lasting = isinstance(error, ApiRefusedError) or self._failures >= FAILURES
        log = _log.warning if is_lasting and self._condition.set(text) else _log.debug
        log(text)

    @contextmanager
    def established(self) -> Iterator[None]:
        """Marks the watch as open while the block runs."""
        timer = trio.CancelScope()
        if self._failures:
            self._nursery.start_soon(self._confirm, timer)
        try:
            yield
        finally:
            timer.cancel()

    async def _confirm(self, timer: trio.CancelScope) -> None:
        with timer:
            await trio.sleep(STEADY)
            self._failures = 0
            if self._condition.clear():
                _log.info(self._recovered)

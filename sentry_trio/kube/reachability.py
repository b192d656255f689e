"""Reachability of the API server: an outage is logged and reported once when it begins and once when it ends."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

import trio

from sentry_trio.conditions import Condition, Conditions
from sentry_trio.errors import ApiRejectedError, ApiUnavailableError, ApiUnreachableError
from sentry_trio.kube.retry import PATIENCE, retry
from sentry_trio.telemetry.logs import get_logger

GRACE: Final = 5.0
"""Seconds without an answer after which a failed request counts as an outage; one lost connection does not."""

FIRST: Final = 2.0
"""Seconds that `wait_reachable` waits for an answer before it logs that there is none."""

_log: Final = get_logger("dapr.sentry.kubernetes")


class Reachability:
    """Outages of the API server, detected from the results of a session's requests.

    The very first answer is reported by `wait_reachable`.

    Args:
        condition: set during an outage.
    """

    def __init__(self, condition: Condition | None = None) -> None:
        self._condition = condition or Conditions().condition("api-server")
        self._answered_at: float | None = None

    def answered(self) -> None:
        """Records an answer of any kind."""
        now = trio.current_time()
        if self._condition.clear() and self._answered_at is not None:
            _log.info(f"the Kubernetes API server is reachable again after {now - self._answered_at:.0f} s")
        self._answered_at = now

    def failed(self, error: ApiUnreachableError) -> None:
        """Records that there was no answer."""
        if self._answered_at is None or trio.current_time() - self._answered_at < GRACE:
            return
        text = f"cannot reach the Kubernetes API server: {error}"
        if self._condition.set(text):
            _log.warning(f"{text}; retrying, known pods still get certificates")


async def wait_reachable(server: str, get: Callable[[str], Awaitable[object]]) -> None:
    """Returns when the API server has answered. If it does not, logs a warning that states for how long it is retried.

    Args:
        server: its URL.
        get: reads a document; raises as `Session` does.

    Raises:
        ApiUnavailableError: it has not answered in that time; the text names it.

    Cancellation: at once.
    """

    async def ask() -> None:
        with suppress(ApiRejectedError):  # an answer, too
            await get("/version")

    reason = f"no answer within {FIRST:g} s"
    try:
        with trio.move_on_after(FIRST):
            await ask()
            return
    except ApiUnavailableError as error:
        reason = str(error)
    failed = f"cannot reach the Kubernetes API server {server}"
    _log.warning(f"{failed}, retrying for {PATIENCE:g} s: {reason}")
    try:
        await retry(ask)
    except ApiUnavailableError as error:
        raise ApiUnavailableError(f"{failed} within {PATIENCE:g} s: {error}") from error
    _log.info(f"the Kubernetes API server {server} answers")

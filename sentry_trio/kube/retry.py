"""Attempts that fail for a while, and an end to patience."""

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import trio

from sentry_trio.backoff import Backoff
from sentry_trio.errors import ApiUnavailableError

T = TypeVar("T")

PATIENCE: Final = 30.0
"""Seconds after which the next failure is final: longer than an API server takes to be restarted."""


async def retry(attempt: Callable[[], Awaitable[T]], *, patience: float = PATIENCE) -> T:
    """The answer of the first attempt that does not fail with ApiUnavailableError.

    What failed may have been done all the same, e.g. when its answer was lost: an attempt that changes something has
    to begin by reading what there is.

    Args:
        attempt: what is tried, and bounds its own time.
        patience: seconds during which attempts are begun.

    Raises:
        ApiUnavailableError: the last attempt's, when patience has come to its end, or would have by the time that the
            server asks to wait for.

    Cancellation: as that of an attempt; between two attempts at once.
    """
    deadline = trio.current_time() + patience
    backoff = Backoff()
    while True:
        try:
            return await attempt()
        except ApiUnavailableError as error:
            pause = max(backoff.next(), error.retry_after or 0)
            if trio.current_time() + pause > deadline:
                raise
        await trio.sleep(pause)

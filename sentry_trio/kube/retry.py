"""Retries of requests to the API server, until a deadline."""

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import trio

from sentry_trio.backoff import Backoff
from sentry_trio.errors import ApiUnavailableError

T = TypeVar("T")

PATIENCE: Final = 30.0
"""Seconds after which the next failure is final: longer than the restart of an API server takes."""


async def retry(attempt: Callable[[], Awaitable[T]], *, patience: float = PATIENCE) -> T:
    """Returns the result of the first attempt that does not raise ApiUnavailableError.

    A failed attempt may have had its effect, e.g. if only its response was lost: an attempt that changes something
    must begin by reading the current state.

    Args:
        attempt: makes one attempt, and bounds its own time.
        patience: seconds during which attempts are begun.

    Raises:
        ApiUnavailableError: the last attempt's, if the next one would begin too late, also because of Retry-After.

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

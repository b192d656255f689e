"""Looking again and again."""

from collections.abc import Awaitable, Callable
from typing import NoReturn

import trio

from sentry_trio.status.report import Report


async def watch(look: Callable[[], Awaitable[Report]], show: Callable[[Report], None], *, every: float) -> NoReturn:
    """Looks and shows until cancelled.

    Args:
        look: one look, bounded by itself.
        show: is given what it found.
        every: seconds from the beginning of one look to that of the next; one that takes longer is followed at once.

    Cancellation: at once.
    """
    due = trio.current_time()
    while True:
        show(await look())
        due = max(due + every, trio.current_time())
        await trio.sleep_until(due)

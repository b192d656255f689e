"""Merges signals that come in quick succession."""

import trio
from trio_util import AsyncBool


class Debouncer:
    """Remembers that something was signalled, and waits for the end of a burst of signals.

    Args:
        quiet: seconds without a signal that end a burst.
        longest: seconds after which a burst is treated as ended even if signals continue.
    """

    def __init__(self, *, quiet: float, longest: float) -> None:
        self._quiet = quiet
        self._longest = longest
        self._signalled = AsyncBool()

    def signal(self) -> None:
        """Records a signal; signals without a wait in between count as one."""
        self._signalled.value = True

    async def wait_signal(self) -> None:
        """Returns at the next signal, or at once if there was one since the last wait. Cancellation: at once."""
        await self._signalled.wait_value(bool)
        self._signalled.value = False

    async def wait_quiet(self) -> None:
        """Consumes signals until none came for `quiet` seconds, `longest` seconds at most. Cancellation: at once."""
        with trio.move_on_after(self._longest):
            while True:
                with trio.move_on_after(self._quiet) as silence:
                    await self.wait_signal()
                if silence.cancelled_caught:
                    return

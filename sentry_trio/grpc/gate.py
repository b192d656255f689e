"""How many handlers run at once, who waits for a turn, and who is told at once that waiting is in vain."""

from typing import Final, Protocol

import trio
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from .observer import Observer

_OVERLOADED: Final = "the server is overloaded"
# Of each new measurement that goes into the average: some tens of calls are remembered.
_WEIGHT: Final = 0.05


class QueuedCall(Protocol):
    """A call that waits for its turn.

    Attributes:
        peer: the caller's address.
        due_at: the caller's deadline, on Trio's clock; None if it has set none.
    """

    peer: object
    due_at: float | None


class Gate:
    """Lets so many in at once, in the order of their coming; the others wait.

    A call whose deadline would pass while it waits is refused when it comes, with Unavailable, so that its caller can
    try another replica while there is time; served late it would cost as much and be worth nothing. How long a wait
    will be is told by the pace at which calls have left lately while others were waiting.

    Args:
        running: how many at once.
        waiting: how many may wait; more are refused with ResourceExhausted.
        patience: the longest wait, in seconds.
        observer: told of calls that wait or are refused.
    """

    __slots__ = ("_crowded", "_free", "_last_left", "_observer", "_pace", "_patience", "_places", "_turn", "backlog")

    def __init__(self, *, running: int, waiting: int, patience: float, observer: Observer | None = None) -> None:
        self.backlog = 0  # let in but not yet begun
        self._free = running
        self._places = waiting
        self._patience = patience
        self._observer = observer or Observer()
        self._turn = trio.lowlevel.ParkingLot()
        self._pace = 0.0  # seconds from one leaving to the next
        self._last_left = 0.0
        self._crowded = False

    def admit(self, call: QueuedCall) -> None:
        """Takes a place in the queue for a call that will `enter` soon.

        Raises:
            GRPCError: ResourceExhausted or Unavailable: there is no place, or it would wait in vain.
        """
        if self.backlog:
            if self.backlog >= self._places:
                self._observer.call_shed("queue_full", call.peer)
                raise GRPCError(Status.RESOURCE_EXHAUSTED, f"{_OVERLOADED}: {self.backlog} calls are waiting")
            wait = self.backlog * self._pace
            left = self._patience
            if call.due_at is not None:
                left = min(left, call.due_at - trio.current_time())
            if wait > left:
                self._observer.call_shed("in_vain", call.peer)
                raise GRPCError(Status.UNAVAILABLE, f"{_OVERLOADED}: the wait would be {wait:.3f} s")
        self.backlog += 1

    def renounce(self, _call: QueuedCall) -> None:
        """Gives up the place that `admit` took, in place of `enter`."""
        self.backlog -= 1

    async def enter(self, call: QueuedCall) -> None:
        """Waits for a turn; `leave` must follow. Cancellation gives up the place.

        Raises:
            GRPCError: Unavailable: the turn did not come within the longest wait.
        """
        if self._free:
            self._free -= 1
            self.backlog -= 1
            return
        self._observer.call_queued()
        try:
            with trio.move_on_after(self._patience) as scope:
                await self._turn.park()
        finally:
            self.backlog -= 1
            self._observer.call_dequeued()
        if scope.cancelled_caught:
            self._observer.call_shed("no_turn", call.peer)
            raise GRPCError(Status.UNAVAILABLE, f"{_OVERLOADED}: no turn within {self._patience:g} s")

    def leave(self, _call: QueuedCall) -> None:
        """Ends a turn; the place goes to who has waited longest."""
        now = trio.current_time()
        if self._crowded:
            self._pace += _WEIGHT * (now - self._last_left - self._pace)
        self._last_left = now
        self._crowded = self.backlog > 0
        if not self._turn.unpark():
            self._free += 1

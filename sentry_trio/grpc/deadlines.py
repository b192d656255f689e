"""Deadlines of calls."""

import math
from heapq import heapify, heappop, heappush
from itertools import count
from typing import TYPE_CHECKING, Final, NoReturn

import trio

from .limits import CALLS_ENDED_AT_ONCE

if TYPE_CHECKING:
    from .call import Call

_FEW: Final = 64  # deadlines of ended calls that are not worth a search


class Deadline:
    """Deadline of a call, on Trio's clock."""

    __slots__ = ("at",)

    def __init__(self, at: float) -> None:
        self.at = at

    def time_remaining(self) -> float:
        """Seconds left, zero when none are."""
        return max(0.0, self.at - trio.current_time())


class Deadlines:
    """Ends the calls of a server at their deadlines, a few in each turn of the event loop.

    Trio would end all calls whose deadlines have passed in one turn, and a peer can give thousands the same.
    """

    __slots__ = ("_calls", "_due", "_numbers", "_sleep")

    def __init__(self) -> None:
        # A heap of deadlines and numbers of calls, also of some that have ended.
        self._due: list[tuple[float, int]] = []
        self._calls: dict[int, Call] = {}  # calls that have not ended, by number
        self._numbers = count()
        self._sleep = trio.CancelScope()

    def add(self, call: "Call") -> int | None:
        """Has a call end at its deadline; `remove` must follow. Returns its number; None if it has no deadline."""
        if call.due_at is None:
            return None
        number = next(self._numbers)
        self._calls[number] = call
        heappush(self._due, (call.due_at, number))
        if call.due_at < self._sleep.deadline:
            self._sleep.deadline = call.due_at
        return number

    def remove(self, number: int | None) -> None:
        """Forgets a call, because it has ended."""
        if number is None:
            return
        self._calls.pop(number, None)
        if len(self._due) > 2 * len(self._calls) + _FEW:
            self._due = [entry for entry in self._due if entry[1] in self._calls]
            heapify(self._due)

    async def end_overdue(self) -> NoReturn:
        """Ends calls until cancelled."""
        while True:
            self._end_some(trio.current_time())
            due_at = self._due[0][0] if self._due else math.inf
            # If it has passed, because more calls are due, this wait ends in the next turn.
            with trio.CancelScope(deadline=due_at) as self._sleep:
                await trio.sleep_forever()

    def _end_some(self, now: float) -> None:
        ended = 0
        while self._due and ended < CALLS_ENDED_AT_ONCE:
            due_at, number = self._due[0]
            call = self._calls.get(number)
            if call is not None:
                if due_at > now:
                    return
                del self._calls[number]
                call.expire()
                ended += 1
            heappop(self._due)

"""Turns of the event loop, shared by all peers of a server."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from heapq import heappop, heappush
from itertools import count
from typing import Final, TypeAlias

import trio

from .admission import Network

PRICE_SECONDS: Final = 20e-6
"""Approximate CPU time for a price of 1."""
SLICE: Final = 100
"""Most work of a connection in one turn of the event loop, in prices: about 2 ms."""
TURN_SECONDS: Final = 0.004
"""Duration of a turn after which peers wait for the next one: the turn ends soon after it."""
_LEAST: Final = 25  # expected work of a peer if its last slice had less
_FLOWS: Final = 4096  # most flows whose work is remembered, beside those that may not continue yet

_Flow: TypeAlias = tuple[Network, bool]
"""Work of a peer that is queued together: of its calls if true, else handshakes and requests.

If one of both delayed the other, a peer could hold the places of running handlers by a flood of requests.
"""


class TurnScheduler(trio.abc.Instrument):
    """Shares the turns of the event loop among peers, by start-time fair queueing.

    In a turn that has lasted too long, and after a used slice, peers wait. Peers that have caused the least work
    continue first. All connections of a peer count together, but its calls and its other work each for itself. So calls
    of a well-behaved peer do not wait for those of a flood, and between the turns all other tasks run, health checks
    among them.

    Args:
        elapsed: monotonic clock in seconds. Not Trio's, which may be virtual.

    Attributes:
        number: number of the current turn.
    """

    def __init__(self, elapsed: Callable[[], float] = time.perf_counter) -> None:
        self._elapsed = elapsed
        self.number = 0
        self._left: float = SLICE  # work that may be let into the next turn, beside new arrivals
        self._full_at = elapsed() + TURN_SECONDS
        self._arrivals = count(1)
        # Waiting work: a heap by place and arrival.
        self._waiting: dict[_Flow, list[tuple[int, int, float, trio.Event]]] = {}
        self._flows: list[tuple[float, int, _Flow]] = []  # these flows: a heap by virtual time and arrival
        self._now = 0.0  # virtual time: work
        self._free_at: dict[_Flow, float] = {}  # virtual time at which the work of a flow so far is done

    def after_io_wait(self, timeout: float) -> None:  # noqa: ARG002  # Trio's signature
        """Begins a turn."""
        self.number += 1
        self._left = SLICE
        self._full_at = self._elapsed() + TURN_SECONDS

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Follows the turns during the block."""
        trio.lowlevel.add_instrument(self)
        try:
            yield
        finally:
            trio.lowlevel.remove_instrument(self)

    @property
    def full(self) -> bool:
        """True if work that can wait must wait for another turn."""
        return self._elapsed() >= self._full_at

    async def wait_if_full(self, network: Network, work: float) -> None:
        """Waits as `wait` does if this turn has no room; no checkpoint if it has."""
        if self.full:
            await self.wait(network, work)

    async def wait(self, network: Network, work: float) -> None:
        """Waits for a turn that has room; cancellation leaves the queue.

        Args:
            network: network of the peer.
            work: price of the work that the peer is likely to cause then.
        """
        work = max(work, _LEAST)
        if self._waiting or self._left <= 0 or self.full:
            await self._queue((network, False), work, next(self._arrivals))
        else:
            self._left -= work
            await trio.lowlevel.checkpoint()

    async def wait_for_part(self, network: Network, seconds: float, place: int | None) -> int | None:
        """Waits for a turn that has room for a part of a call's work; no checkpoint if this one has and none waits.

        Parts of one call go one after another, before those of calls that the same peer began later: calls end one by
        one, not all at once. Cancellation leaves the queue.

        Args:
            network: network of the peer.
            seconds: CPU time of the part. It is not split: it may lengthen a turn by that much.
            place: returned for the part of the call before; None for the first.

        Returns:
            Place of the call among the calls of the peer; None if it has not had to wait yet.
        """
        if self._waiting or self.full:
            place = place or next(self._arrivals)
            await self._queue((network, True), seconds / PRICE_SECONDS, place)
        return place

    async def _queue(self, flow: _Flow, work: float, place: int) -> None:
        if not self._waiting:
            # Not in a nursery: none here lasts as long, and the task ends when none waits.
            trio.lowlevel.spawn_system_task(self._dispatch)
        arrival, turn = next(self._arrivals), trio.Event()
        if flow not in self._waiting:
            self._waiting[flow] = []
            heappush(self._flows, (max(self._now, self._free_at.get(flow, 0.0)), arrival, flow))
        heappush(self._waiting[flow], (place, arrival, work, turn))
        await turn.wait()

    async def _dispatch(self) -> None:
        """Lets one slice of waiting work continue in each turn."""
        while self._waiting:
            await trio.lowlevel.checkpoint()
            while self._waiting and self._left > 0:
                self._continue_next()
            if len(self._free_at) > _FLOWS:
                self._free_at = {flow: at for flow, at in self._free_at.items() if at > self._now}
        self._free_at.clear()
        self._now = 0.0

    def _continue_next(self) -> None:
        begin, _, flow = heappop(self._flows)
        waiting = self._waiting[flow]
        _, _, work, turn = heappop(waiting)
        if turn.statistics().tasks_waiting:  # else it was cancelled
            self._now = begin
            self._free_at[flow] = begin = begin + work
            self._left -= work
            turn.set()
        if waiting:
            heappush(self._flows, (begin, waiting[0][1], flow))
        else:
            del self._waiting[flow]

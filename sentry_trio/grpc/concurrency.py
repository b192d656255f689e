"""Limits on running handlers: a queue for those with one reply, and places that peers share for those that stream."""

from typing import TYPE_CHECKING, Final

import trio
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from .admission import Network
from .limits import CALLS_STARTED_AT_ONCE
from .observer import Observer
from .turn_scheduler import TurnScheduler

if TYPE_CHECKING:
    from .call import Call
    from .connection import Connection

_FULL: Final = "the server is overloaded: the limit of streaming calls is reached"
_OVERLOADED: Final = "the server is overloaded"
_SHARE: Final = 8  # places that a peer may hold for each that is free
# Weight of a new measurement in the average: some tens of calls are remembered.
_WEIGHT: Final = 0.05


class ConcurrencyLimiter:
    """Limits the handlers that run at once, and those that start in one turn of the event loop.

    More calls wait. Peers take turns, and the connections of each peer: one with many calls, or a peer with many
    connections, does not delay the others. The calls of one connection start in their order.

    Handlers may wait long, for a source of keys that does not answer. Therefore a peer starts no more of them while it
    holds `_SHARE` times as many places as are free: one peer gets 8 of 9, two get 16 of 17 together, and so on. A call
    of another peer finds a place.

    A call whose deadline would pass while it waits is rejected immediately, with Unavailable, so that its caller can
    try another replica while there is time. The expected wait follows from the rate at which calls have finished while
    others were waiting, and from the number of calls whose turn comes first. If the queue is full, only connections
    that have calls in it are rejected: a connection with many calls excludes none with one.

    Args:
        turns: turns of the event loop.
        running: handlers at once.
        waiting: calls that may wait; more are rejected with ResourceExhausted, but for the first of each connection.
        patience: longest wait, in seconds.
        observer: notified of calls that wait or are rejected.

    Attributes:
        backlog: calls that have reserved a place and not acquired it yet.
    """

    __slots__ = (
        "_crowded",
        "_free",
        "_held",
        "_last_left",
        "_observer",
        "_pace",
        "_paced",
        "_patience",
        "_places",
        "_reserved",
        "_startable",
        "_turn",
        "_turns",
        "_waiting",
        "backlog",
    )

    def __init__(
        self,
        turns: TurnScheduler,
        *,
        running: int,
        waiting: int,
        patience: float,
        observer: Observer | None = None,
    ) -> None:
        self.backlog = 0
        self._turns = turns
        self._free = running
        self._held: dict[Network, int] = {}  # places
        self._places = waiting
        self._patience = patience
        self._observer = observer or Observer()
        self._turn = 0  # the latest in which a handler starts: this one, or the next
        self._startable = CALLS_STARTED_AT_ONCE  # handlers that may still start in it
        self._paced = False  # a task lets calls start in the next one
        # By peer and connection, those first that are next.
        self._waiting: dict[Network, dict[Connection, trio.lowlevel.ParkingLot]] = {}
        self._reserved: dict[Network, dict[Connection, int]] = {}  # the backlog
        self._pace = 0.0  # seconds from one leaving to the next
        self._last_left = 0.0
        self._crowded = False

    def reserve(self, call: "Call") -> None:
        """Takes a place in the queue for a call; `acquire` or `cancel` must follow.

        Raises:
            GRPCError: ResourceExhausted if there is no place, Unavailable if it would wait too long.
        """
        source = call.connection
        reserved = self._reserved.get(source.network, {})
        own = reserved.get(source, 0)
        if self._waiting or self.backlog >= self._free:
            if own and self.backlog >= self._places:
                self._observer.call_shed("queue_full", call.peer)
                raise GRPCError(Status.RESOURCE_EXHAUSTED, f"{_OVERLOADED}: {self.backlog} calls are waiting")
            wait = self._calls_before(reserved, own) * self._pace
            left = self._patience
            if call.due_at is not None:
                left = min(left, call.due_at - trio.current_time())
            if wait > left:
                self._observer.call_shed("in_vain", call.peer)
                raise GRPCError(Status.UNAVAILABLE, f"{_OVERLOADED}: the wait would be {wait:.3f} s")
        self.backlog += 1
        reserved[source] = own + 1
        self._reserved[source.network] = reserved

    def _calls_before(self, reserved: dict["Connection", int], own: int) -> int:
        """Returns the number of calls that may start before the next one of a connection with `own` reserved places.

        Each other connection of its peer starts at most as many as this one by then; each other peer as many as its
        own.
        """
        here = min(sum(reserved.values()), own + (own + 1) * (len(reserved) - bool(own)))
        others = len(self._reserved) - bool(reserved)
        return min(self.backlog, here + (here + 1) * others)

    def cancel(self, call: "Call") -> None:
        """Releases the place that `reserve` took, instead of `acquire`."""
        self.backlog -= 1
        if not self.backlog:
            self._crowded = False  # the time until the next call ends is not spent on waiting ones
        source = call.connection
        reserved = self._reserved[source.network]
        reserved[source] -= 1
        if not reserved[source]:
            del reserved[source]
        if not reserved:
            del self._reserved[source.network]

    async def acquire(self, call: "Call") -> None:
        """Waits for a turn; `release` must follow. Cancellation releases the place.

        Raises:
            GRPCError: Unavailable: the turn did not come within the longest wait.
        """
        source = call.connection
        if not self._waiting and self._has_room(self._turns.number) and self._may_hold_more(source.network):
            self.cancel(call)
            self._take_place(source.network)
            return
        self._observer.call_queued()
        lot = self._waiting.setdefault(source.network, {}).setdefault(source, trio.lowlevel.ParkingLot())
        self._ensure_paced()
        try:
            with trio.move_on_after(self._patience) as scope:
                await lot.park()
        finally:
            self._forget_unless_waiting(source)
            self.cancel(call)
            self._observer.call_dequeued()
        if scope.cancelled_caught:
            self._observer.call_shed("no_turn", call.peer)
            raise GRPCError(Status.UNAVAILABLE, f"{_OVERLOADED}: no turn within {self._patience:g} s")

    def _forget_unless_waiting(self, source: "Connection") -> None:
        """Forgets a connection whose last waiting call was cancelled: it may be gone, and must not stay in memory."""
        connections = self._waiting.get(source.network, {})
        if not connections.get(source, True):
            del connections[source]
            if not connections:
                del self._waiting[source.network]

    def release(self, call: "Call") -> None:
        """Ends a turn; the next call may start."""
        now = trio.current_time()
        if self._crowded:
            self._pace += _WEIGHT * (now - self._last_left - self._pace)
        self._last_left = now
        self._crowded = self.backlog > 0
        self._free += 1
        network = call.connection.network
        self._held[network] -= 1
        if not self._held[network]:
            del self._held[network]
        self._start_waiting()

    def _has_room(self, turn: int) -> bool:
        """Returns whether a handler may start in a turn; not in an earlier one than others that were let start."""
        if self._turn < turn:
            self._turn = turn
            self._startable = CALLS_STARTED_AT_ONCE
        return self._turn == turn and self._free > 0 and self._startable > 0

    def _may_hold_more(self, network: Network) -> bool:
        return self._held.get(network, 0) < _SHARE * self._free

    def _take_place(self, network: Network) -> None:
        self._free -= 1
        self._held[network] = self._held.get(network, 0) + 1
        self._startable -= 1

    def _next(self) -> Network | None:
        """Returns the waiting peer that is next, of those that may hold more places; None if there is none."""
        # Few are passed over: each holds many places.
        return next(filter(self._may_hold_more, self._waiting), None)

    def _ensure_paced(self) -> None:
        """Continues in the next turn if calls wait for nothing else."""
        if not self._paced and self._next() is not None:
            self._paced = True
            # Not in a nursery: none here lasts as long as the limiter, and the task ends after some turns.
            trio.lowlevel.spawn_system_task(self._pace_starts)

    async def _pace_starts(self) -> None:
        """Lets others run, then allows more handlers to start."""
        while self._next() is not None:
            await trio.lowlevel.checkpoint()
            self._start_waiting()
        self._paced = False

    def _start_waiting(self) -> None:
        # A task that is woken runs in the next turn. If none waits, a new call may still start in this one.
        while (network := self._next()) is not None and self._has_room(self._turns.number + 1):
            connections = self._waiting.pop(network)
            connection = next(iter(connections))
            lot = connections.pop(connection)
            if lot.unpark():
                self._take_place(network)
            # Behind the others.
            if lot:
                connections[connection] = lot
            if connections:
                self._waiting[network] = connections
        self._ensure_paced()


class FairLimiter:
    """Limits streaming calls; if all places are taken, a new call takes one from the peer with the most calls.

    Streaming calls last as long as their callers like, so new ones are not queued. If the caller's own peer has the
    most calls, the connection with the most loses one. A call is rejected if it would only reverse the roles. So no
    peer can exclude others by connecting first.

    Args:
        places: calls at once.
        observer: notified of calls that are rejected.
    """

    __slots__ = ("_calls", "_count", "_observer", "_places")

    def __init__(self, places: int, observer: Observer | None = None) -> None:
        self._places = places
        self._observer = observer or Observer()
        self._count = 0
        self._calls: dict[Network, dict[Connection, dict[Call, None]]] = {}

    def reserve(self, call: "Call") -> None:
        """Takes a place, if necessary from another call, which is aborted.

        Raises:
            GRPCError: ResourceExhausted: no peer and no connection has more places than this one would.
        """
        if self._count >= self._places:
            self._evict_for(call)
        connections = self._calls.setdefault(call.connection.network, {})
        connections.setdefault(call.connection, {})[call] = None
        self._count += 1

    def _evict_for(self, call: "Call") -> None:
        source = call.connection
        held = {network: sum(map(len, connections.values())) for network, connections in self._calls.items()}
        network = max(held, key=held.__getitem__)
        if held[network] <= held.get(source.network, 0) + 1:
            network = source.network
        connections = self._calls.get(network, {})
        most = max(connections.values(), key=len, default={})
        if network == source.network and len(most) <= len(connections.get(source, ())) + 1:
            self._observer.call_shed("queue_full", call.peer)
            raise GRPCError(Status.RESOURCE_EXHAUSTED, _FULL)
        latest = next(reversed(most))
        self.release(latest)
        latest.abort(Status.RESOURCE_EXHAUSTED, _FULL)

    async def acquire(self, call: "Call") -> None:
        """Returns at once: the place that `reserve` took is the call's own."""

    def release(self, call: "Call") -> None:
        """Releases the place, unless another call has taken it."""
        source = call.connection
        connections = self._calls.get(source.network, {})
        calls = connections.get(source, {})
        if call not in calls:
            return
        del calls[call]
        self._count -= 1
        if not calls:
            del connections[source]
        if not connections:
            del self._calls[source.network]

    cancel = release

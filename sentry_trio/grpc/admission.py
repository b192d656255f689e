"""Which connections are let in: so many in all, so many of one peer, so many that are on their way in."""

from collections import Counter
from collections.abc import Iterator

import trio

from .limits import Limits
from .peers import IdleConnections, Network


class Admission:
    """Counts connections from their acceptance to their end.

    Args:
        limits: how many there may be.
        idle: connections that can make room for others.
    """

    def __init__(self, limits: Limits, idle: IdleConnections) -> None:
        self._limits = limits
        self._idle = idle
        self._by_peer: Counter[Network] = Counter()
        self._count = 0

    def refusal(self, network: Network) -> str | None:
        """Why a peer is not let in; None if it is, for which an idle connection may have been cut."""
        if self._by_peer[network] >= self._limits.connections_per_peer:
            if not self._idle.cut_oldest(network):
                return f"{self._limits.connections_per_peer} connections of one peer are open and none is idle"
        elif self._count >= self._limits.connections and not self._idle.cut_oldest():
            return f"{self._limits.connections} connections are open and none is idle"
        return None

    def arrived(self, network: Network) -> None:
        """Counts a connection."""
        self._by_peer[network] += 1
        self._count += 1

    def left(self, network: Network) -> None:
        """Counts it no more."""
        self._by_peer[network] -= 1
        if not self._by_peer[network]:
            del self._by_peer[network]
        self._count -= 1


class Anteroom:
    """Holds those that are on their way in, and gives up the one that has waited longest where one is too many.

    Args:
        places: how many there may be.
    """

    def __init__(self, places: int) -> None:
        self._places = places
        self._waiting: dict[trio.CancelScope, None] = {}  # in the order of their coming

    def __iter__(self) -> Iterator[trio.CancelScope]:
        return iter(self._waiting)

    def enter(self, scope: trio.CancelScope) -> None:
        """Takes a place; cancels the scope that has had one for longest if there is none."""
        if len(self._waiting) >= self._places:
            oldest = next(iter(self._waiting))
            del self._waiting[oldest]
            oldest.cancel()
        self._waiting[scope] = None

    def leave(self, scope: trio.CancelScope) -> bool:
        """Gives the place back; returns whether the scope still had it."""
        if present := scope in self._waiting:
            del self._waiting[scope]
        return present

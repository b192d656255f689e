"""Admission of connections: limits on all of them, on those of one peer, and on handshakes."""

from collections import Counter
from collections.abc import Iterator
from ipaddress import IPv6Address
from itertools import chain
from typing import TYPE_CHECKING, TypeAlias

import trio

from .limits import Limits
from .memory_budget import MemoryBudget

if TYPE_CHECKING:
    from .connection import Connection

Network: TypeAlias = str | bytes
"""Identifies a peer: an IPv4 address as text, or the first 64 bits of an IPv6 address, which one host can use alone."""


def network_of(peer: object) -> Network:
    """Returns the network that identifies a peer, from a socket's address."""
    host = peer[0] if isinstance(peer, tuple) else str(peer)
    if ":" not in host:
        return str(host)
    address = IPv6Address(host.partition("%")[0])
    return str(address.ipv4_mapped) if address.ipv4_mapped else address.packed[:8]


class Admission:
    """Counts connections by peer, and closes one without running calls if a newcomer would exceed a limit.

    The peer with the most connections loses one, so that no peer can exclude others: first those that never completed a
    call, then the one that has been idle longest. An incomplete request protects no connection.

    Args:
        limits: limits on connections.
        memory: budget that connections share with calls.
    """

    __slots__ = ("_by_peer", "_count", "_evictable", "_limits", "_memory")

    def __init__(self, limits: Limits, memory: MemoryBudget) -> None:
        self._limits = limits
        self._memory = memory
        self._by_peer: Counter[Network] = Counter()
        self._count = 0
        # Connections without running calls, the one that has had none for longest first.
        self._evictable: dict[Network, dict[Connection, None]] = {}

    def refusal(self, network: Network) -> str | None:
        """Returns why a newcomer is refused; None if it is admitted, possibly in place of another."""
        if self._by_peer[network] >= self._limits.connections_per_peer:
            if not self._evict_from(network):
                return f"{self._limits.connections_per_peer} connections of one peer are open and none is idle"
        elif self._count >= self._limits.connections:
            if not self._evict_for(network):
                return f"{self._limits.connections} connections are open and none is idle"
        elif not self._memory.has_room_for_connection and not self._evict_for(network):
            return f"{self._count} connections and their calls use all memory and none is idle"
        return None

    def arrived(self, network: Network) -> None:
        """Counts an accepted connection."""
        self._by_peer[network] += 1
        self._count += 1
        self._memory.set_accepted(self._count)

    def left(self, network: Network) -> None:
        """Stops counting it."""
        self._by_peer[network] -= 1
        if not self._by_peer[network]:
            del self._by_peer[network]
        self._count -= 1
        self._memory.set_accepted(self._count)

    def idle(self, connection: "Connection") -> None:
        """Registers a connection without running calls: it can make room for another."""
        self._evictable.setdefault(connection.network, {})[connection] = None

    def busy(self, connection: "Connection") -> None:
        """Removes a connection that has a running call, or is closed."""
        of_peer = self._evictable.get(connection.network, {})
        if connection in of_peer:
            del of_peer[connection]
            if not of_peer:
                del self._evictable[connection.network]

    def _evict_for(self, network: Network) -> bool:
        """Evicts a connection of the peer with the most; of the newcomer's own if that would only reverse the roles."""
        most = max(self._evictable, key=self._by_peer.__getitem__, default=network)
        return self._evict_from(most if self._by_peer[most] > self._by_peer[network] else network)

    def _evict_from(self, network: Network) -> bool:
        connections = self._evictable.get(network, {})
        unproven = (connection for connection in connections if not connection.completed_call)
        evicted = next(unproven, None) or next(iter(connections), None)
        if evicted is None:
            return False
        self.busy(evicted)
        evicted.evict("too_many")
        return True


class PendingHandshakes:
    """Cancel scopes of handshakes; beyond the limit, the peer with the most loses its oldest.

    Args:
        limit: handshakes at once.
    """

    __slots__ = ("_by_peer", "_count", "_limit")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._count = 0
        self._by_peer: dict[Network, dict[trio.CancelScope, None]] = {}  # the oldest first

    def __iter__(self) -> Iterator[trio.CancelScope]:
        return chain.from_iterable(self._by_peer.values())

    def add(self, network: Network, scope: trio.CancelScope) -> None:
        """Adds a peer's scope; cancels another if there are too many."""
        if self._count >= self._limit:
            most = max(self._by_peer, key=lambda peer: len(self._by_peer[peer]))
            oldest = next(iter(self._by_peer[most]))
            self.remove(most, oldest)
            oldest.cancel()
        self._by_peer.setdefault(network, {})[scope] = None
        self._count += 1

    def remove(self, network: Network, scope: trio.CancelScope) -> bool:
        """Removes a peer's scope; returns False if it was cancelled for another."""
        of_peer = self._by_peer.get(network, {})
        if scope not in of_peer:
            return False
        del of_peer[scope]
        if not of_peer:
            del self._by_peer[network]
        self._count -= 1
        return True

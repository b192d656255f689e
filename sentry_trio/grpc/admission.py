"""Admission of connections: limits on all of them, on those of one peer, and on handshakes."""

from collections import Counter
from collections.abc import Iterator
from ipaddress import IPv6Address
from typing import TYPE_CHECKING, TypeAlias

import trio

from .limits import Limits

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
    """Counts connections by peer, and closes an idle one if a newcomer would exceed a limit.

    Args:
        limits: on connections.
    """

    __slots__ = ("_by_peer", "_count", "_idle", "_idle_by_peer", "_limits")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._by_peer: Counter[Network] = Counter()
        self._count = 0
        # In the order in which they became idle.
        self._idle: dict[Connection, None] = {}
        self._idle_by_peer: dict[Network, dict[Connection, None]] = {}

    def refusal(self, network: Network) -> str | None:
        """Returns why a newcomer is refused; None if it is admitted, for which an idle connection may have been cut."""
        if self._by_peer[network] >= self._limits.connections_per_peer:
            if not self._cut_oldest(self._idle_by_peer.get(network, {})):
                return f"{self._limits.connections_per_peer} connections of one peer are open and none is idle"
        elif self._count >= self._limits.connections and not self._cut_oldest(self._idle):
            return f"{self._limits.connections} connections are open and none is idle"
        return None

    def arrived(self, network: Network) -> None:
        """Counts an accepted connection."""
        self._by_peer[network] += 1
        self._count += 1

    def left(self, network: Network) -> None:
        """Stops counting it."""
        self._by_peer[network] -= 1
        if not self._by_peer[network]:
            del self._by_peer[network]
        self._count -= 1

    def idle(self, connection: "Connection") -> None:
        """Registers a connection that has become idle: it can make room for another."""
        self._idle[connection] = None
        self._idle_by_peer.setdefault(connection.network, {})[connection] = None

    def busy(self, connection: "Connection") -> None:
        """Removes a connection that is idle no more, or closed."""
        if connection in self._idle:
            del self._idle[connection]
            of_peer = self._idle_by_peer[connection.network]
            del of_peer[connection]
            if not of_peer:
                del self._idle_by_peer[connection.network]

    def _cut_oldest(self, idle: dict["Connection", None]) -> bool:
        oldest = next(iter(idle), None)
        if oldest is None:
            return False
        self.busy(oldest)
        oldest.cut()
        return True


class PendingHandshakes:
    """Cancel scopes of handshakes; beyond the limit, the oldest is cancelled.

    Args:
        limit: handshakes at once.
    """

    __slots__ = ("_limit", "_scopes")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._scopes: dict[trio.CancelScope, None] = {}  # oldest first

    def __iter__(self) -> Iterator[trio.CancelScope]:
        return iter(self._scopes)

    def add(self, scope: trio.CancelScope) -> None:
        """Adds a scope; cancels the oldest if there are too many."""
        if len(self._scopes) >= self._limit:
            oldest = next(iter(self._scopes))
            del self._scopes[oldest]
            oldest.cancel()
        self._scopes[scope] = None

    def remove(self, scope: trio.CancelScope) -> bool:
        """Removes a scope; returns False if it was cancelled for another."""
        if present := scope in self._scopes:
            del self._scopes[scope]
        return present

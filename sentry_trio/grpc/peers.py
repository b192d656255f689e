"""Connections by peer: an IPv4 address, or an IPv6 /64 network, in which one host can use all addresses."""

from ipaddress import IPv6Address
from typing import Protocol, TypeAlias

Network: TypeAlias = str | bytes
"""Identifies a peer: an IPv4 address as text, or the first 64 bits of an IPv6 address."""


def network_of(peer: object) -> Network:
    """Returns the network that identifies a peer, from a socket's address."""
    host = peer[0] if isinstance(peer, tuple) else str(peer)
    if ":" not in host:
        return str(host)
    address = IPv6Address(host.partition("%")[0])
    return str(address.ipv4_mapped) if address.ipv4_mapped else address.packed[:8]


class IdleConnection(Protocol):
    """A connection without calls, which can be closed to make room.

    Attributes:
        network: of its peer.
    """

    network: Network

    def cut(self) -> None:
        """Ends the connection now."""


class IdleConnections:
    """Connections without calls, in the order in which they became idle."""

    __slots__ = ("_all", "_by_peer")

    def __init__(self) -> None:
        self._all: dict[IdleConnection, None] = {}
        self._by_peer: dict[Network, dict[IdleConnection, None]] = {}

    def add(self, connection: IdleConnection) -> None:
        """Adds a connection that has become idle."""
        self._all[connection] = None
        self._by_peer.setdefault(connection.network, {})[connection] = None

    def discard(self, connection: IdleConnection) -> None:
        """Removes a connection, if it is there."""
        if connection in self._all:
            del self._all[connection]
            of_peer = self._by_peer[connection.network]
            del of_peer[connection]
            if not of_peer:
                del self._by_peer[connection.network]

    def cut_oldest(self, network: Network | None = None) -> bool:
        """Cuts the connection that has been idle longest, of one peer or of all; returns False if there is none."""
        idle = self._all if network is None else self._by_peer.get(network, {})
        oldest = next(iter(idle), None)
        if oldest is None:
            return False
        self.discard(oldest)
        oldest.cut()
        return True

"""Which connections are let in: so many in all, and so many of one peer."""

from collections import Counter
from ipaddress import IPv6Address

from .limits import Limits
from .shared import Leaver


class Admission:
    """Counts connections from their acceptance to their end.

    Args:
        limits: how many there may be.
        idle: connections that can make room for others, the first of them first.
    """

    def __init__(self, limits: Limits, idle: dict[Leaver, None]) -> None:
        self._limits = limits
        self._idle = idle
        self._by_peer: Counter[str | bytes] = Counter()
        self._count = 0

    def refusal(self, peer: object) -> str | None:
        """Why a peer is not let in; None if it is, for which an idle connection may have been cut."""
        if self._by_peer[_network(peer)] >= self._limits.connections_per_peer:
            return f"{self._limits.connections_per_peer} connections of one peer are open"
        if self._count >= self._limits.connections:
            if not self._idle:
                return f"{self._limits.connections} connections are open and none is idle"
            oldest = next(iter(self._idle))
            del self._idle[oldest]
            oldest.cut()
        return None

    def arrived(self, peer: object) -> None:
        """Counts a connection."""
        self._by_peer[_network(peer)] += 1
        self._count += 1

    def left(self, peer: object) -> None:
        """Counts it no more."""
        network = _network(peer)
        self._by_peer[network] -= 1
        if not self._by_peer[network]:
            del self._by_peer[network]
        self._count -= 1


def _network(peer: object) -> str | bytes:
    """What is taken for one peer: an IPv4 address, or an IPv6 network, of which a host has 2^64 addresses."""
    host = peer[0] if isinstance(peer, tuple) else str(peer)
    if ":" not in host:
        return str(host)
    address = IPv6Address(host.partition("%")[0])
    return str(address.ipv4_mapped) if address.ipv4_mapped else address.packed[:8]

"""Bound on the memory of all connections of a server for unfinished calls."""

from typing import TYPE_CHECKING, Final

from .limits import CONNECTION_BYTES, RECLAIM_PRICE

if TYPE_CHECKING:
    from .connection import Connection

# In place of a stream's number: no stream has these (RFC 9113, 5.1.1).
WHOLE_CONNECTION: Final = 0
INCOMPLETE: Final = -1
"""Incomplete frame, header block or TLS record."""
SLOWED_DOWN: Final = -2
"""Data that waits, because the peer has spent half of its budget of CPU."""


class MemoryBudget:
    """Bounds the bytes in memory, on all connections together.

    Beyond the bound, the connection that holds most loses a call or is closed, not the latest caller. Connections that
    wait for their peers are chosen first: with an incomplete request, an answer that does not fit the peer's
    flow-control window, or a socket that accepts nothing. A well-behaved client sends its request at once and reads its
    answer; an attacker that fills the memory does neither.

    Accepted connections count, too, each with `CONNECTION_BYTES` until it is closed. They reduce the limit for calls:
    to half of it at least, or an eighth if nearly all connections are open. New connections take the place of others
    when connections and calls take as much as the largest number of connections alone; calls may take an eighth of the
    limit more, so that new connections alone do not cause their rejection.

    Args:
        limit: bytes for calls.
        connections: largest number of open connections.

    Attributes:
        total: bytes that calls hold now.
    """

    __slots__ = ("_connections", "_left", "_limit", "_limit_with_connections", "_waiting", "total")

    def __init__(self, limit: int, connections: int) -> None:
        self.total = 0
        self._limit = limit
        self._limit_with_connections = max(limit, CONNECTION_BYTES * connections)
        self._connections = 0  # bytes
        self._left = limit
        # Streams that wait for their peer, by connection; the oldest first.
        self._waiting: dict[Connection, dict[int, None]] = {}

    def opened(self, connection: "Connection") -> None:
        """Registers a connection that can hold something."""
        self._waiting[connection] = {}

    def closed(self, connection: "Connection") -> None:
        """Removes it; the memory that it still holds is about to be released."""
        del self._waiting[connection]

    def set_accepted(self, connections: int) -> None:
        """Sets the number of accepted connections, including those in a handshake or being closed."""
        self._connections = CONNECTION_BYTES * connections
        share = self._limit // 8
        least = min(self._limit // 2, self._limit_with_connections + share - self._connections)
        self._left = max(share, least, self._limit - self._connections)

    @property
    def has_room_for_connection(self) -> bool:
        """True if the memory of open calls leaves room for another connection."""
        return self._connections + CONNECTION_BYTES + self.total <= self._limit_with_connections

    @property
    def exceeded(self) -> bool:
        """True if calls hold more than the bound."""
        return self.total > self._left

    def add(self, connection: "Connection", stream_id: int) -> None:
        """Registers a stream that waits for its peer, or a connection by one of the numbers above."""
        if connection in self._waiting:
            self._waiting[connection][stream_id] = None

    def discard(self, connection: "Connection", stream_id: int) -> None:
        """Removes the entry of `add`, if it still exists."""
        if connection in self._waiting:
            self._waiting[connection].pop(stream_id, None)

    def reclaim(self, most: int) -> int:
        """Frees memory of the largest holders until the bound is kept, or until that costs `most`.

        Thousands of calls may have to end when connections have reduced the bound; data that arrives next continues.

        Returns:
            Price of it, as in `cpu_budget`; 0 if nothing could be freed.
        """
        price = 0
        while self.exceeded and price < most:
            waiting = [connection for connection, streams in self._waiting.items() if streams]
            largest = max(waiting or self._waiting, key=lambda connection: connection.held, default=None)
            if largest is None:
                break
            stream_id = next(iter(self._waiting[largest]), None)
            if stream_id is not None:
                del self._waiting[largest][stream_id]
            ended = largest.reclaim(stream_id)
            if not ended:
                break
            price += RECLAIM_PRICE + ended
        return price

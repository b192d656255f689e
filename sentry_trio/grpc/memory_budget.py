"""Bound on the memory that all connections of a server hold for calls that are not finished."""

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from .connection import Connection

WHOLE_CONNECTION: Final = 0  # in place of a stream's number: HTTP/2 gives it to none (RFC 9113, 5.1.1)


class MemoryBudget:
    """Bounds the bytes in memory, on all connections together.

    Beyond the bound, what has waited for its peer for longest is dropped first: an incomplete request, an answer that
    the peer's flow-control window has no room for, a connection whose socket accepts nothing. A well-behaved client
    sends its request at once and reads its answer; one that wants to fill the memory does neither.

    Args:
        limit: bytes.

    Attributes:
        total: bytes held now.
    """

    __slots__ = ("_limit", "_waiting", "total")

    def __init__(self, limit: int) -> None:
        self.total = 0
        self._limit = limit
        self._waiting: dict[tuple[Connection, int], None] = {}

    def add(self, connection: "Connection", stream_id: int) -> None:
        """Registers a call that waits for its peer, or under `WHOLE_CONNECTION` a connection."""
        self._waiting.setdefault((connection, stream_id))

    def discard(self, connection: "Connection", stream_id: int) -> None:
        """Removes what `add` registered, if it is still there."""
        self._waiting.pop((connection, stream_id), None)

    def reclaim(self) -> bool:
        """Drops what waits for its peer, the oldest first, until the bound is kept; returns whether it is."""
        while self.total > self._limit and self._waiting:
            connection, stream_id = next(iter(self._waiting))
            del self._waiting[connection, stream_id]
            connection.reclaim(stream_id)
        return self.total <= self._limit

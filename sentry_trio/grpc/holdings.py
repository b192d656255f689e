"""What all connections of a server hold together of requests that no handler has taken yet."""

from typing import Protocol


class Holder(Protocol):
    """A connection, as far as it can be asked to give something up."""

    def give_up(self, stream_id: int) -> None:
        """Ends an incomplete request, so that nothing of it is held any more."""


class Holdings:
    """A bound on bytes in memory, whoever they came from.

    Over it, the requests that have been incomplete for longest go first: a peer that means to be served sends its
    request in one go, and one that means to fill the memory does not finish it.

    Args:
        limit: bytes.

    Attributes:
        total: bytes held now.
    """

    __slots__ = ("_incomplete", "_limit", "total")

    def __init__(self, limit: int) -> None:
        self.total = 0
        self._limit = limit
        self._incomplete: dict[tuple[Holder, int], None] = {}

    def begin(self, holder: Holder, stream_id: int) -> None:
        """A request is not whole when all that has arrived of it was read."""
        self._incomplete[holder, stream_id] = None

    def end(self, holder: Holder, stream_id: int) -> None:
        """A request is whole, or is gone."""
        self._incomplete.pop((holder, stream_id), None)

    def relieve(self) -> bool:
        """Gives up incomplete requests, the oldest first, until the bound is kept; returns whether it is kept."""
        while self.total > self._limit and self._incomplete:
            holder, stream_id = next(iter(self._incomplete))
            del self._incomplete[holder, stream_id]
            holder.give_up(stream_id)
        return self.total <= self._limit

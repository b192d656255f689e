"""What all connections of a server hold together for calls that are under way."""

from typing import Final, Protocol

WHOLE_CONNECTION: Final = 0  # in place of a stream's number: HTTP/2 gives it to none (RFC 9113, 5.1.1)


class Holder(Protocol):
    """A connection, as far as it can be asked to give something up."""

    def give_up(self, stream_id: int) -> None:
        """Ends a call, or the connection for `WHOLE_CONNECTION`; what they hold must be off the total on return."""


class Holdings:
    """A bound on bytes in memory, whoever they came from.

    Over it, what has waited for its peer for longest goes first: a request that is not whole, an answer that the peer's
    flow-control window has no room for, a connection whose socket takes nothing. A peer that means to be served sends
    its request in one go and takes its answer; one that means to fill the memory does neither.

    Args:
        limit: bytes.

    Attributes:
        total: bytes held now.
    """

    __slots__ = ("_limit", "_waiting", "total")

    def __init__(self, limit: int) -> None:
        self.total = 0
        self._limit = limit
        self._waiting: dict[tuple[Holder, int], None] = {}

    def begin(self, holder: Holder, stream_id: int) -> None:
        """A call waits for its peer, or does still; a connection does so under `WHOLE_CONNECTION`."""
        self._waiting.setdefault((holder, stream_id))

    def end(self, holder: Holder, stream_id: int) -> None:
        """It waits no more, or is gone."""
        self._waiting.pop((holder, stream_id), None)

    def relieve(self) -> bool:
        """Gives up what waits for its peer, the oldest first, until the bound is kept; returns whether it is kept."""
        while self.total > self._limit and self._waiting:
            holder, stream_id = next(iter(self._waiting))
            del self._waiting[holder, stream_id]
            holder.give_up(stream_id)
        return self.total <= self._limit

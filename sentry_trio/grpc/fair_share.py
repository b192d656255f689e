"""Limit on streaming calls, shared fairly among peers, and among the connections of one peer."""

from typing import Protocol

from grpclib.const import Status
from grpclib.exceptions import GRPCError

from .observer import Observer
from .peers import Network

_FULL = "the server is overloaded: as many streaming calls are open as may be"


class Source(Protocol):
    """Connection that carries a call.

    Attributes:
        network: of its peer.
    """

    network: Network


class StreamingCall(Protocol):
    """A call that takes a place.

    Attributes:
        peer: the caller's address.
        carrier: the connection that carries it.
    """

    peer: object

    @property
    def carrier(self) -> Source:
        """The connection that carries it."""

    def abort(self, status: Status, message: str) -> None:
        """Ends the call with the status given."""


class FairShare:
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
        self._calls: dict[Network, dict[Source, dict[StreamingCall, None]]] = {}

    def admit(self, call: StreamingCall) -> None:
        """Takes a place, if necessary from another call, which is aborted.

        Raises:
            GRPCError: ResourceExhausted: no peer and no connection has more places than this one would.
        """
        if self._count >= self._places:
            self._evict_for(call)
        connections = self._calls.setdefault(call.carrier.network, {})
        connections.setdefault(call.carrier, {})[call] = None
        self._count += 1

    def _evict_for(self, call: StreamingCall) -> None:
        source = call.carrier
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
        self.leave(latest)
        latest.abort(Status.RESOURCE_EXHAUSTED, _FULL)

    async def enter(self, call: StreamingCall) -> None:
        """Returns at once: the place that `admit` took is the call's own."""

    def leave(self, call: StreamingCall) -> None:
        """Releases the place, unless another call has taken it."""
        source = call.carrier
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

    renounce = leave

"""Open connections of an HTTP server: bounded, in total and for each peer, and evicted for newer ones."""

import selectors
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NoReturn

import trio

from sentry_trio.grpc.admission import Network
from sentry_trio.telemetry.logs import get_logger
from sentry_trio.telemetry.throttle import ThrottledLog

log = get_logger("dapr.sentry")

# Longest life of a connection in seconds; probes and scrapers open another.
MAX_CONNECTION_AGE: Final = 120.0
# Connections that have sent something and get a task in one turn of the event loop.
_STARTED_AT_ONCE: Final = 8


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Bounds on the open connections of one server.

    Attributes:
        total: connections at once; one more replaces another, see `Connections`.
        per_peer: connections at once from one IPv4 address or one IPv6 network of 64 bits.
        newcomers: connections of one peer that may wait for their first request before they are replaced first.
    """

    total: int = 256
    per_peer: int = 128
    newcomers: int = 64

    @classmethod
    def within(cls, total: int) -> "ConnectionLimits":
        """Returns the usual limits, or proportionally lower ones if there are fewer descriptors."""
        total = min(total, cls().total)
        return cls(total, max(1, total // 2), max(1, total // 4))


@dataclass(eq=False, slots=True)
class HTTPConnection:
    """Open connection.

    It gets a task when the peer has sent something: until then it costs little.

    Attributes:
        sock: its socket.
        peer: IP address of the peer.
        network: network of the peer.
        scope: scope of its task; its deadline applies to a silent connection, too.
        is_silent: true while it waits without a task.
        is_busy: true from the end of a request's headers to the end of the answer; after the last, until the peer has
            read it.
        has_served: true once it has completed a request.
    """

    sock: socket.socket
    peer: str
    network: Network
    scope: trio.CancelScope
    is_silent: bool = False
    is_busy: bool = False
    has_served: bool = False

    @property
    def has_sent(self) -> bool:
        """True if the peer has sent bytes that are not read yet."""
        return bool(peek(self.sock))


def peek(sock: socket.socket) -> bytes | None:
    """Returns the first unread byte; None if there is none, empty if the peer has closed."""
    try:
        return sock.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return None
    except OSError:
        return b""


class Connections:
    """The open connections of a server, oldest first.

    If there are too many, the peer with the most loses one: the oldest that has completed no request, if these are more
    than `newcomers`, else the oldest of the others. So no peer can exclude others by staying, and no probe is evicted
    before it is answered.

    Args:
        limits: limits on their number.
        count_evicted: called for each connection that is closed for a newer one.
    """

    def __init__(self, limits: ConnectionLimits, count_evicted: Callable[[], None]) -> None:
        self._limits = limits
        self._count_evicted = count_evicted
        self._silent = selectors.DefaultSelector()
        self._open: dict[HTTPConnection, None] = {}
        self._by_network: dict[Network, dict[HTTPConnection, None]] = {}
        self._too_many = ThrottledLog(log)

    def admit(self, connection: HTTPConnection, *, has_sent: bool) -> bool:
        """Adds a connection, and cancels another if there are too many; returns True if it needs a task immediately."""
        if len(self._by_network.get(connection.network, ())) >= self._limits.per_peer:
            self._evict(connection.network, self._limits.per_peer)
        elif len(self._open) >= self._limits.total:
            most = max(self._by_network, key=lambda network: len(self._by_network[network]))
            self._evict(most, self._limits.total)
        self._open[connection] = None
        self._by_network.setdefault(connection.network, {})[connection] = None
        if has_sent:  # in a flood it has waited long enough
            connection.scope.deadline = trio.current_time() + MAX_CONNECTION_AGE
            return True
        connection.is_silent = True
        self._silent.register(connection.sock, selectors.EVENT_READ, connection)
        return False

    async def next_started(self) -> list[HTTPConnection]:
        """Waits for silent connections that have sent something, and ends those that their peer has closed."""
        await trio.lowlevel.wait_readable(self._silent.fileno())
        started: list[HTTPConnection] = []
        for key, _ in self._silent.select(0):
            if not key.data.has_sent:
                self.end(key.data)
            elif len(started) < _STARTED_AT_ONCE:
                self.start(key.data)
                started.append(key.data)
        return started

    def start(self, connection: HTTPConnection) -> None:
        """Notes that a connection has a task."""
        self._silent.unregister(connection.sock)
        connection.is_silent = False
        connection.scope.deadline = trio.current_time() + MAX_CONNECTION_AGE

    async def close_expired(self, interval: float) -> NoReturn:
        """Closes silent connections at their deadline, which is at least `interval` seconds after their begin."""
        while True:
            now = trio.current_time()
            silent = [connection for connection in self._open if connection.is_silent]
            for connection in silent:
                if connection.scope.deadline <= now:
                    self.end(connection)
            # The oldest has the first deadline. A connection that arrives meanwhile has a later one.
            waiting = [connection.scope.deadline for connection in silent if connection.is_silent]
            await trio.sleep_until(min(waiting, default=now + interval))

    def end(self, connection: HTTPConnection) -> None:
        """Ends a connection, at once or at the next checkpoint of its task."""
        self.discard(connection)
        connection.scope.cancel()
        if connection.is_silent:
            self._silent.unregister(connection.sock)
            connection.is_silent = False
            connection.sock.close()

    def discard(self, connection: HTTPConnection) -> None:
        """Removes a connection, if it is there."""
        if connection in self._open:
            del self._open[connection]
            del self._by_network[connection.network][connection]
            if not self._by_network[connection.network]:
                del self._by_network[connection.network]

    def drain(self) -> list[HTTPConnection]:
        """Ends the connections without a request under way; admits no others.

        A close with unread bytes in the kernel would be a reset. A peer that has sent something gets a response.

        Returns:
            Silent connections that have sent something, and are now started.
        """
        started: list[HTTPConnection] = []
        for connection in [connection for connection in self._open if not connection.is_busy]:
            if not connection.has_sent:
                self.end(connection)
            elif connection.is_silent:
                self.start(connection)
                started.append(connection)
        return started

    def close(self) -> None:
        """Releases the descriptor that watches silent connections."""
        self._silent.close()

    def _evict(self, network: Network, limit: int) -> None:
        of_peer = self._by_network[network]
        new = [connection for connection in of_peer if not connection.has_served]
        if len(new) > self._limits.newcomers or len(new) == len(of_peer):
            evicted = new[0]
        else:
            evicted = next(connection for connection in of_peer if connection.has_served)
        self.end(evicted)
        self._count_evicted()
        text = "HTTP connections are closed for newer ones: too many are open"
        self._too_many.warning(text, limit=limit, peer=evicted.peer)

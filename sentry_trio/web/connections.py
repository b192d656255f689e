"""Open connections of an HTTP server: bounded, in total and for each peer, and evicted for newer ones."""

import selectors
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, NoReturn

import msgspec
import trio

from sentry_trio.grpc.admission import Network
from sentry_trio.telemetry.logs import get_logger
from sentry_trio.telemetry.throttle import ThrottledLog

log = get_logger("dapr.sentry")

# Longest life of a connection in seconds; probes and scrapers open another.
MAX_CONNECTION_AGE: Final = 120.0
# Connections that get a task in one turn of the event loop.
_STARTED_AT_ONCE: Final = 8


class ConnectionLimits(msgspec.Struct, frozen=True):
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


class HTTPConnection(msgspec.Struct, eq=False):
    """Open connection.

    It gets a task when the peer has sent something and its turn has come: until then it costs little.

    Attributes:
        sock: its socket.
        peer: IP address of the peer.
        network: network of the peer.
        scope: scope of its task; its deadline applies before there is one, too.
        has_task: true once it has a task.
        is_busy: true from the end of a request's headers to the end of the answer; after the last, until the peer has
            read it.
        has_served: true once it has completed a request.
    """

    sock: socket.socket
    peer: str
    network: Network
    scope: trio.CancelScope
    has_task: bool = False
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
    before it is answered. If the peer has sent something on more than `newcomers`, and these wait for their turn, it
    loses its newest: they are served soon.

    Args:
        limits: limits on their number.
        count_evicted: called for each connection that is closed because there are too many.
    """

    def __init__(self, limits: ConnectionLimits, count_evicted: Callable[[], None]) -> None:
        self._limits = limits
        self._count_evicted = count_evicted
        self._selector = selectors.DefaultSelector()  # of the listener, and of connections whose peer is silent
        # Connections that have sent something and have no task yet; the peer whose turn it is comes first.
        self._waiting: dict[Network, dict[HTTPConnection, None]] = {}
        self._open: dict[HTTPConnection, None] = {}
        self._by_network: dict[Network, dict[HTTPConnection, None]] = {}
        self._too_many = ThrottledLog(log)

    @contextmanager
    def listening(self, listener: socket.socket) -> Iterator[None]:
        """Lets `wait` return for connections that this socket can accept, during the block."""
        self._selector.register(listener, selectors.EVENT_READ)
        try:
            yield
        finally:
            self._selector.unregister(listener)

    async def wait(self) -> None:
        """Waits for a connection that can be accepted, has sent something, or waits for its turn."""
        if self._waiting:
            await trio.lowlevel.checkpoint()
        else:
            await trio.lowlevel.wait_readable(self._selector.fileno())

    def admit(self, connection: HTTPConnection, *, has_sent: bool) -> bool:
        """Adds a connection, and closes one if there are too many; returns False if it is this one."""
        if len(self._by_network.get(connection.network, ())) >= self._limits.per_peer:
            is_admitted = self._make_room(connection, connection.network, self._limits.per_peer)
        elif len(self._open) >= self._limits.total:
            most = max(self._by_network, key=lambda network: len(self._by_network[network]))
            is_admitted = self._make_room(connection, most, self._limits.total)
        else:
            is_admitted = True
        if is_admitted:
            self._open[connection] = None
            self._by_network.setdefault(connection.network, {})[connection] = None
            if has_sent:
                self._wait_for_turn(connection)
            else:
                self._selector.register(connection.sock, selectors.EVENT_READ, connection)
        return is_admitted

    def next_started(self) -> list[HTTPConnection]:
        """Returns some connections that have sent something and now get a task: the oldest of each peer in turn."""
        for connection in [key.data for key, _ in self._selector.select(0) if key.data is not None]:
            if connection.has_sent:
                self._selector.unregister(connection.sock)
                self._wait_for_turn(connection)
            else:
                self.end(connection)  # the peer has closed it
        started: list[HTTPConnection] = []
        while self._waiting and len(started) < _STARTED_AT_ONCE:
            network = next(iter(self._waiting))
            started.append(connection := next(iter(self._waiting[network])))
            self.start(connection)
            if network in self._waiting:
                self._waiting[network] = self._waiting.pop(network)
        return started

    def start(self, connection: HTTPConnection) -> None:
        """Notes that a connection has a task."""
        self._stop_waiting(connection)
        connection.has_task = True
        connection.scope.deadline = trio.current_time() + MAX_CONNECTION_AGE

    async def close_expired(self, interval: float) -> NoReturn:
        """Closes connections without a task at their deadline, at least `interval` seconds after their begin."""
        while True:
            now = trio.current_time()
            for connection in [each for each in self._open if not each.has_task and each.scope.deadline <= now]:
                self.end(connection)
            # The oldest has the first deadline. A connection that arrives meanwhile has a later one.
            deadlines = [connection.scope.deadline for connection in self._open if not connection.has_task]
            await trio.sleep_until(min(deadlines, default=now + interval))

    def end(self, connection: HTTPConnection) -> None:
        """Ends a connection, at once or at the next checkpoint of its task."""
        self.discard(connection)
        connection.scope.cancel()
        if not connection.has_task:
            self._stop_waiting(connection)
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
            Connections that have sent something and had no task, and are now started.
        """
        started: list[HTTPConnection] = []
        for connection in [connection for connection in self._open if not connection.is_busy]:
            if not connection.has_sent:
                self.end(connection)
            elif not connection.has_task:
                self.start(connection)
                started.append(connection)
        return started

    def close(self) -> None:
        """Releases the descriptor of the selector."""
        self._selector.close()

    def _make_room(self, newcomer: HTTPConnection, network: Network, limit: int) -> bool:
        """Closes a connection of that network, which has the most; returns False if it is the newcomer."""
        is_crowded = len(self._waiting.get(network, ())) > self._limits.newcomers
        closed = newcomer if is_crowded and newcomer.network == network else self._first_evicted(network)
        self._count_evicted()
        self._too_many.warning("HTTP connections are closed: too many are open", limit=limit, peer=closed.peer)
        if closed is newcomer:
            newcomer.sock.close()
            return False
        self.end(closed)
        return True

    def _first_evicted(self, network: Network) -> HTTPConnection:
        of_peer = self._by_network[network]
        new = [connection for connection in of_peer if not connection.has_served]
        if len(new) > self._limits.newcomers or len(new) == len(of_peer):
            return new[0]
        return next(connection for connection in of_peer if connection.has_served)

    def _wait_for_turn(self, connection: HTTPConnection) -> None:
        self._waiting.setdefault(connection.network, {})[connection] = None

    def _stop_waiting(self, connection: HTTPConnection) -> None:
        """Forgets that a connection waits for data or for its turn."""
        of_peer = self._waiting.get(connection.network, {})
        if connection in of_peer:
            del of_peer[connection]
            if not of_peer:
                del self._waiting[connection.network]
        else:
            self._selector.unregister(connection.sock)

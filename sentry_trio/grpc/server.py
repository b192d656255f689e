"""Serving grpclib services on Trio: sockets, the accept loop, and the order of stopping."""

import socket
import ssl
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, closing
from typing import Final, NoReturn

import trio

from .admission import Network, PendingHandshakes, network_of
from .connection import Connection
from .cpu_budget import HandshakeWork
from .interfaces import Service
from .limits import CALLS_ENDED_AT_ONCE, TEND_INTERVAL, Limits
from .observer import Observer
from .server_state import ServerState
from .tls import HandshakeFailedError, TLSTransport

_ACCEPTED_AT_ONCE: Final = 16
_ACCEPT_PAUSE: Final = 0.1  # seconds until accepting is tried again


async def serve_grpc(
    services: Iterable[Service],
    listeners: Sequence[socket.socket],
    *,
    tls: Callable[[], ssl.SSLContext],
    limits: Limits | None = None,
    observer: Observer | None = None,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> NoReturn:
    """Serves until cancelled, then drains.

    When cancelled, it stops accepting immediately. Connections get GOAWAY, and their calls are finished within a
    shield that has a deadline: calls that run after `limits.drain_timeout` are answered Unavailable, and a moment later
    the remaining connections are cut. Calls end before their connections, and connections before this function.

    Args:
        services: services to serve.
        listeners: listening sockets; they stay the caller's and stay open, so that another server can take over.
        tls: returns the TLS context of a new connection, so that the next one uses a renewed identity.
        limits: limits on peers.
        observer: notified of events.
        task_status: started as soon as connections are accepted.

    Raises:
        ValueError: there are no listeners.
    """
    if not listeners:
        raise ValueError("a server needs a listening socket")
    server = _Server(services, tls, limits or Limits(), observer or Observer())
    async with trio.open_nursery() as outer:
        outer.start_soon(server.hold_connections)
        try:
            connections = await server.holding()
            async with trio.open_nursery() as accepting:
                for listener in listeners:
                    accepting.start_soon(server.accept, listener.dup(), connections)
                accepting.start_soon(server.tend)
                task_status.started()
        finally:
            server.leaving.set()
    raise AssertionError("accepting ends by cancellation only")  # pragma: no cover  # for the type checker


class _Server:
    def __init__(
        self, services: Iterable[Service], tls: Callable[[], ssl.SSLContext], limits: Limits, observer: Observer
    ) -> None:
        self.leaving = trio.Event()
        self._state = ServerState(services, limits, observer)
        self._admission = self._state.admission
        self._tls = tls
        self._limits = limits
        self._observer = observer
        self._held: trio.Nursery | None = None
        self._holding = trio.Event()
        # Counted separately, so that silent peers take no place of a handshake.
        self._silent = PendingHandshakes(limits.handshakes)
        self._shaking = PendingHandshakes(limits.handshakes)
        self._connections: set[Connection] = set()

    async def holding(self) -> trio.Nursery:
        """Returns the nursery of connections, as soon as `hold_connections` holds it."""
        await self._holding.wait()
        assert self._held is not None  # noqa: S101  # for the type checker: set before the event
        return self._held

    async def hold_connections(self) -> None:
        """Holds the nursery of connections, out of reach of the cancellation that stops the accept loop."""
        # Without `Nursery.start`: if that is cancelled before `started`, it waits for the end of the task, which would
        # never come.
        with trio.CancelScope(shield=True) as shield, self._state.turns.measured():
            async with trio.open_nursery() as lasting:
                lasting.start_soon(self._state.deadlines.end_overdue)
                async with trio.open_nursery() as self._held:
                    self._holding.set()
                    await self.leaving.wait()
                    self._leave(shield)
                lasting.cancel_scope.cancel()

    def _leave(self, shield: trio.CancelScope) -> None:
        """Begins the graceful end of all connections."""
        # They end by themselves within these bounds; the deadline is for those that do not.
        shield.deadline = trio.current_time() + self._limits.drain_timeout + 4 * self._limits.close_timeout
        for connection in self._connections:
            connection.leave()
        # A silent peer must not delay the end of the server.
        for scope in self._silent:
            scope.deadline = min(scope.deadline, trio.current_time() + self._limits.close_timeout)

    async def accept(self, listener: socket.socket, connections: trio.Nursery) -> NoReturn:
        """Accepts until cancelled; closes its own handle of the listening socket."""
        try:
            while True:
                await trio.lowlevel.wait_readable(listener)
                try:
                    # Connections often arrive together. The number is bounded, so that open ones get their turn, too.
                    for _ in range(_ACCEPTED_AT_ONCE):
                        self._let_in(*listener.accept(), connections)
                except BlockingIOError:
                    continue  # none is left, or another server on the same socket was faster
                except ConnectionAbortedError:
                    continue  # the peer was gone before it was accepted
                except OSError as error:
                    # Most likely no descriptors or memory are left: retrying at once would only use CPU.
                    self._observer.accept_failed(error)
                    await trio.sleep(_ACCEPT_PAUSE)
        finally:
            trio.lowlevel.notify_closing(listener)
            listener.close()

    def _let_in(self, connected: socket.socket, peer: object, connections: trio.Nursery) -> None:
        network = network_of(peer)
        if reason := self._admission.refusal(network):
            connected.close()
            self._observer.connection_refused(peer, reason)
            return
        self._admission.arrived(network)
        connected.setblocking(False)  # noqa: FBT003  # the standard library's signature
        connections.start_soon(self._serve, connected, peer, network)

    async def tend(self) -> NoReturn:
        """Applies the timeouts of all connections, again and again: a timer for each would cost more."""
        while True:
            await trio.sleep(TEND_INTERVAL)
            now = trio.current_time()
            ended = 0
            for connection in list(self._connections):
                if self._state.turns.full or ended >= CALLS_ENDED_AT_ONCE:
                    await trio.lowlevel.checkpoint()
                    ended = 0
                ended += connection.tend(now)
            self._state.heap.trim(is_used=bool(self._connections))

    async def _serve(self, connected: socket.socket, peer: object, network: Network) -> None:
        self._observer.connection_opened()
        try:
            with closing(TLSTransport(connected, self._tls())) as transport:
                work = HandshakeWork(self._state.turns, network, self._state.handshakes[network])
                if await self._shaken_hands(transport, peer, network, work):
                    await self._serve_calls(transport, peer, network, work)
        except Exception as error:  # noqa: BLE001  # no peer may end the service of others
            self._observer.connection_failed(peer, error)
        finally:
            connected.close()  # also if there is no identity to serve with
            self._admission.left(network)
            self._observer.connection_closed()
            self._state.heap.connection_closed()

    async def _serve_calls(
        self, transport: TLSTransport, peer: object, network: Network, handshake: HandshakeWork
    ) -> None:
        with ExitStack() as ended:
            async with trio.open_nursery() as nursery:
                connection = Connection(
                    nursery, transport, peer=peer, network=network, state=self._state, handshake=handshake
                )
                ended.callback(connection.dispose)
                self._connections.add(connection)
                try:
                    if self.leaving.is_set():
                        connection.leave()
                    await connection.serve()
                finally:
                    self._connections.discard(connection)

    async def _shaken_hands(self, transport: TLSTransport, peer: object, network: Network, work: HandshakeWork) -> bool:
        pushed_out = False
        with trio.move_on_after(self._limits.handshake_timeout) as scope:
            try:
                transport.before_read = work.wait_to_read
                self._silent.add(network, scope)
                try:
                    await transport.hear()
                finally:
                    pushed_out = not self._silent.remove(network, scope)
                self._shaking.add(network, scope)
                try:
                    await work.wait_to_begin()
                    await transport.handshake()
                    if transport.protocol != "h2":
                        raise HandshakeFailedError("the peer did not choose h2 by ALPN")
                finally:
                    pushed_out = not self._shaking.remove(network, scope)
            except HandshakeFailedError as error:
                self._observer.handshake_failed(peer, str(error))
                return False
        if scope.cancelled_caught:
            self._observer.handshake_failed(peer, f"no TLS handshake {self._patience(pushed_out=pushed_out)}")
            return False
        return True

    def _patience(self, *, pushed_out: bool) -> str:
        if pushed_out:
            return f"before {self._limits.handshakes} others began"
        if self.leaving.is_set():
            return "before the server stopped"
        return f"within {self._limits.handshake_timeout:g} s"

"""HTTP/1.1 server for small documents, with TLS or without.

Peers are not trusted: connections, their time, and the size of what they send are bounded; see `connections.py` and
`exchanges.py`.
"""

import socket
import ssl
from collections.abc import Callable
from contextlib import closing
from functools import partial
from typing import Final, NoReturn, TypeAlias

import trio

from sentry_trio.grpc.admission import network_of
from sentry_trio.grpc.cpu_budget import HANDSHAKE
from sentry_trio.grpc.tls import HandshakeFailedError, TLSTransport
from sentry_trio.grpc.turn_scheduler import TurnScheduler
from sentry_trio.lifetimes import shield_once_started
from sentry_trio.listener import Address, open_listener
from sentry_trio.open_files import http_share
from sentry_trio.telemetry.logs import get_logger
from sentry_trio.telemetry.throttle import ThrottledLog
from sentry_trio.web.connections import ConnectionLimits, Connections, HTTPConnection, peek
from sentry_trio.web.exchanges import IDLE_TIMEOUT, Exchanges, HTTPServerState, PlainStream, TLSStream
from sentry_trio.web.messages import Handler

log = get_logger("dapr.sentry")

# Seconds for a TLS handshake.
HANDSHAKE_TIMEOUT: Final = 5
# Seconds until connections are accepted and started again if the system cannot accept one.
ACCEPT_PAUSE: Final = 0.1
# Work of accepting in one turn of the event loop, about 2 ms; and work of a connection that its peer has closed, that
# there is no place for, or that is admitted. Accepting does not wait until others are served: probes would wait behind
# a flood in the queue of the system.
_WORK_AT_ONCE: Final = 128
_WORK_OF_CLOSED: Final = 1
_WORK_OF_REJECTED: Final = 2
_WORK_OF_ADMITTED: Final = 4

TLSProvider: TypeAlias = Callable[[], ssl.SSLContext | None]
"""Returns the TLS context of a new connection; None if there is no certificate yet, which closes the connection."""


async def serve_http(
    handler: Handler,
    *,
    host: str,
    port: int,
    tls: TLSProvider | None = None,
    limits: ConnectionLimits | None = None,
    count_evicted: Callable[[], None] = lambda: None,
    shutdown_timeout: float = 5.0,
    task_status: trio.TaskStatus[Address] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serves until cancelled; reports the bound address once connections are accepted.

    When cancelled, it stops listening and closes idle connections at once. Requests that have arrived get
    `shutdown_timeout` to finish, then their connections are closed, too. It returns or raises Cancelled only after the
    last connection has ended.

    Args:
        handler: answers requests of every method and path; if it raises, the peer gets status 500.
        host: address as for `open_listener`; empty for all interfaces.
        port: 0 lets the system choose.
        tls: returns the TLS context of each connection; None for no TLS.
        limits: limits on connections; by default the usual ones within this server's share of the open files.
        count_evicted: called for each connection that is closed because there are too many.
        shutdown_timeout: seconds.
        task_status: started with the bound address.

    Raises:
        ListenError: the address cannot be listened on.
    """
    connections = Connections(limits or ConnectionLimits.within(http_share()), count_evicted)
    turns = TurnScheduler()
    with closing(connections), turns.measured(), await open_listener(host, port) as listener:
        server = _Server(handler, tls, connections, turns)
        async with trio.open_nursery() as outer:
            nursery = await outer.start(server.hold_connections)
            try:
                task_status.started(Address.of(listener))
                await server.accept(listener, nursery)
            finally:
                # From here on the shield has a deadline. Neither statement lets another task run.
                nursery.cancel_scope.deadline = trio.current_time() + shutdown_timeout
                server.drain(nursery)


class _Server:
    def __init__(
        self, handler: Handler, tls: TLSProvider | None, connections: Connections, turns: TurnScheduler
    ) -> None:
        self._state = HTTPServerState(handler, "http" if tls is None else "https", turns)
        self._tls = tls
        self._connections = connections
        self._not_accepted = ThrottledLog(log)
        self._failed = ThrottledLog(log)

    async def hold_connections(self, task_status: trio.TaskStatus[trio.Nursery]) -> None:
        """Holds a nursery out of reach of the server's cancellation: connections end by `drain` or at its deadline."""
        async with trio.open_nursery() as nursery:
            shield_once_started(nursery.cancel_scope, task_status, nursery)
            await self._state.draining.wait()

    def drain(self, nursery: trio.Nursery) -> None:
        """Closes connections; those that have sent a request, after its answer."""
        self._state.draining.set()
        for connection in self._connections.drain():
            nursery.start_soon(self._serve, connection)

    async def accept(self, listener: socket.socket, nursery: trio.Nursery) -> None:
        """Accepts connections until cancelled, and serves each in the nursery; closes the listener."""
        async with trio.open_nursery() as accepting:
            accepting.start_soon(self._accept, listener, nursery)
            accepting.start_soon(self._connections.close_expired, HANDSHAKE_TIMEOUT)

    async def _accept(self, listener: socket.socket, nursery: trio.Nursery) -> NoReturn:
        with closing(listener), self._connections.listening(listener):
            try:
                while True:
                    await self._connections.wait()
                    can_accept = self._accept_waiting(listener)
                    for connection in self._connections.next_started():
                        nursery.start_soon(self._serve, connection)
                    if not can_accept:
                        await trio.sleep(ACCEPT_PAUSE)
            finally:
                self._accept_waiting(listener)  # a request that waits here would be reset

    def _accept_waiting(self, listener: socket.socket) -> bool:
        """Accepts some of the waiting connections; returns False if the system cannot."""
        try:
            work = 0
            while work < _WORK_AT_ONCE:
                work += self._admit(*listener.accept())
        except (BlockingIOError, ConnectionAbortedError):
            pass  # none is left, or the peer is gone
        except OSError as error:
            self._not_accepted.warning(f"cannot accept HTTP connections: {error}; raise the limit of open files")
            return False
        return True

    def _admit(self, sock: socket.socket, address: tuple[str, int]) -> int:
        """Admits a connection, unless its peer has closed it; returns the work for it."""
        sock.setblocking(False)  # noqa: FBT003  # the standard library's signature
        arrived = peek(sock)
        if arrived == b"" or (self._tls is not None and self._tls() is None):
            sock.close()  # a flood of these would fill the queue of the system, so that probes cannot connect
            return _WORK_OF_CLOSED
        patience = IDLE_TIMEOUT if self._tls is None else HANDSHAKE_TIMEOUT
        scope = trio.CancelScope(deadline=trio.current_time() + patience)
        connection = HTTPConnection(sock, address[0], network_of(address), scope)
        return _WORK_OF_ADMITTED if self._connections.admit(connection, has_sent=bool(arrived)) else _WORK_OF_REJECTED

    async def _serve(self, connection: HTTPConnection) -> None:
        try:
            with connection.scope:
                stream = await self._stream(connection)
                if stream is not None:
                    await Exchanges(self._state, connection, stream).serve()
        except (OSError, trio.BrokenResourceError):
            pass  # the peer is gone
        except Exception as error:  # noqa: BLE001  # a defect in one connection must not end the server
            self._failed.error("HTTP connection failed", exc_info=error, peer=connection.peer)
        finally:
            connection.sock.close()
            self._connections.discard(connection)

    async def _stream(self, connection: HTTPConnection) -> PlainStream | TLSStream | None:
        """Returns the stream of a new connection, after the TLS handshake; None if that fails or takes too long."""
        if self._tls is None:
            return PlainStream(connection.sock)
        context = self._tls()
        if context is None:
            return None
        transport = TLSTransport(connection.sock, context)
        # Before each read is decrypted: many peers may send something at once.
        transport.before_read = partial(self._state.turns.wait_if_full, connection.network, HANDSHAKE)
        with trio.move_on_after(HANDSHAKE_TIMEOUT):
            try:
                await transport.hear()
                await self._state.turns.wait_if_full(connection.network, HANDSHAKE)
                await transport.handshake()
            except HandshakeFailedError:
                return None
            return TLSStream(transport)
        return None

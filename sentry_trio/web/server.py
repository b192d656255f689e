"""HTTP/1.1 server for small documents: h11 on Trio, with TLS or without.

Peers are not trusted: connections, their time, and the size of what they send are bounded. Answers are
small and at hand, so the limits are tight; see the constants below.
"""

import selectors
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus
from typing import Final, NoReturn, TypeAlias

import h11
import trio

from sentry_trio.grpc.admission import Network, network_of
from sentry_trio.grpc.tls import HandshakeFailedError, TLSTransport
from sentry_trio.lifetimes import shield_once_started
from sentry_trio.listener import Address, open_listener
from sentry_trio.telemetry.logs import get_logger
from sentry_trio.telemetry.throttle import ThrottledLog

log = get_logger("dapr.sentry")

# Open connections of one server, and of one peer (an IPv4 address or an IPv6 network of 64 bits) to it: file
# descriptors are shared with the gRPC server. One more takes the place of another; see `_Connections`.
MAX_CONNECTIONS: Final = 256
MAX_CONNECTIONS_PER_PEER: Final = 128
# Places of these that newcomers have for their first request.
NEWCOMERS: Final = 64
# Seconds for a TLS handshake.
HANDSHAKE_TIMEOUT: Final = 5
# Seconds from the start of a connection, or from an answer, to the end of a request's head.
IDLE_TIMEOUT: Final = 10
# Bytes, pieces and seconds of a body, which no request needs: it is read and dropped, so that the connection can be
# used again. A piece is a chunk, or what has arrived at once.
MAX_BODY_BYTES: Final = 64 * 1024
MAX_BODY_PIECES: Final = 1024
BODY_TIMEOUT: Final = 5.0
# Seconds for a peer to accept an answer.
SEND_TIMEOUT: Final = 5.0
# Seconds for a peer to close after the last answer. Closing before it has read the answer could reset the connection
# and destroy the answer (RFC 9112, 9.6).
LINGER_TIMEOUT: Final = 1.0
# Seconds that a connection may last; probes and scrapers open another.
MAX_CONNECTION_AGE: Final = 120.0
MAX_HEADER_BYTES: Final = 16 * 1024
# Seconds until the next attempt if the system cannot accept a connection.
ACCEPT_PAUSE: Final = 0.1

# Connections accepted, and connections that sent something and get a task, in one turn of the event loop.
_ACCEPTED_AT_ONCE: Final = 32
_STARTED_AT_ONCE: Final = 16
_RECEIVE_BYTES: Final = 16 * 1024
# A head of this size is parsed within 1 ms, however many headers it has.
_CHEAP_HEAD_BYTES: Final = 2 * 1024
_VERSIONS: Final = frozenset({b"1.0", b"1.1"})
# Errors of h11, and what Go's server, and so Dapr Sentry, adds to its answer.
_REASONS: Final = {
    "Missing mandatory Host: header": ": missing required Host header",
    "Found multiple Host: headers": ": too many Host headers",
}

TLSProvider: TypeAlias = Callable[[], ssl.SSLContext | None]
"""Returns the TLS context of a new connection; None closes the connection, as there is no certificate yet."""


@dataclass(frozen=True, slots=True)
class Request:
    """Head of a request.

    Attributes:
        method: e.g. `GET`.
        path: percent-encoded, as it was sent.
        query: without the question mark.
        headers: names in lower case.
        scheme: `http` or `https`, of the connection or of an absolute-form target.
        authority: of an absolute-form target, which replaces the Host header (RFC 9112, 3.2.2); else empty.
        peer: IP address of the client.
    """

    method: str
    path: str
    query: str = ""
    headers: tuple[tuple[bytes, bytes], ...] = ()
    scheme: str = "http"
    authority: str = ""
    peer: str = ""

    @classmethod
    def read(cls, event: h11.Request, *, scheme: str, peer: str) -> "Request":
        """Reads the head, in origin form or in absolute form (RFC 9112, 3.2)."""
        target, _, query = event.target.decode("ascii").partition("?")
        method, authority = event.method.decode("ascii"), ""
        head, separator, rest = target.partition("://")
        if separator and not head.startswith("/"):
            authority, slash, path = rest.partition("/")
            target = slash + path or "/"
            scheme = head.lower() if head.lower() in {"http", "https"} else scheme
        return cls(method, target, query, tuple(event.headers), scheme, authority, peer)

    def header(self, name: str) -> str:
        """Returns the values of a header, joined by commas (RFC 9110, 5.3); empty if there is none."""
        return ",".join(self._values(name))

    def first_header(self, name: str) -> str:
        """Returns the value of the first header of that name; empty if there is none."""
        return next(iter(self._values(name)), "")

    def _values(self, name: str) -> list[str]:
        wanted = name.encode("ascii")
        return [value.decode("latin-1") for given, value in self.headers if given == wanted]


@dataclass(frozen=True, slots=True)
class Response:
    """Answer to a request; its length and date are added.

    Attributes:
        status: e.g. 200.
        body: not sent to HEAD, nor with 304.
        headers: names in lower case.
    """

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


Handler: TypeAlias = Callable[[Request], Awaitable[Response]]


def refusal(status: int, reason: str = "") -> Response:
    """Returns the answer of Go's server to bytes that it does not accept as a request; the connection is closed."""
    body = f"{status} {HTTPStatus(status).phrase}{reason}".encode()
    return Response(status, body, {"content-type": "text/plain; charset=utf-8", "connection": "close"})


async def serve_http(
    handler: Handler,
    *,
    host: str,
    port: int,
    tls: TLSProvider | None = None,
    shutdown_timeout: float = 5.0,
    task_status: trio.TaskStatus[Address] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serves until cancelled; reports the bound address once connections are accepted.

    When cancelled, it stops listening and closes idle connections at once; requests under way get `shutdown_timeout` to
    finish, then their connections are closed too. Returns or raises Cancelled only after the last connection ended.

    Args:
        handler: answers requests of every method and path; if it raises, the peer gets status 500.
        host: see open_listener; empty means all interfaces.
        port: 0 lets the system choose.
        tls: the TLS context of each connection; None for no TLS.
        shutdown_timeout: seconds.
        task_status: started with the bound address.

    Raises:
        ListenError: the address cannot be listened on.
    """
    with await open_listener(host, port) as listener, closing(_Server(handler, tls)) as server:
        async with trio.open_nursery() as outer:
            nursery = await outer.start(server.hold_connections)
            try:
                task_status.started(Address.of(listener))
                await server.accept(listener, nursery)
            finally:
                # From here on the shield has a deadline. Neither statement lets another task run.
                nursery.cancel_scope.deadline = trio.current_time() + shutdown_timeout
                server.drain()


@dataclass(eq=False, slots=True)
class _Connection:
    """An open connection.

    It gets a task when the peer has sent something: until then it costs little, however many there are.

    Attributes:
        sock: its socket.
        peer: IP address.
        network: of that.
        scope: of its task; the deadline is that of a silent connection, too.
        is_silent: True while it has no task.
        is_busy: True from the end of a request's head to the end of the answer.
        has_served: True once it completed a request.
    """

    sock: socket.socket
    peer: str
    network: Network
    scope: trio.CancelScope
    is_silent: bool = True
    is_busy: bool = False
    has_served: bool = False


class _Connections:
    """The open connections of a server, oldest first.

    If there are too many, the peer that has most of them loses one: the oldest of those that never completed a request
    if these are more than NEWCOMERS, else the oldest of the others. So no peer keeps others out by staying, and no
    probe is evicted before it is answered.
    """

    def __init__(self) -> None:
        self._silent = selectors.DefaultSelector()
        self._open: dict[_Connection, None] = {}
        self._by_network: dict[Network, dict[_Connection, None]] = {}
        self._too_many = ThrottledLog(log)

    def admit(self, connection: _Connection) -> None:
        """Adds a connection and cancels another if there are too many."""
        if len(self._by_network.get(connection.network, ())) >= MAX_CONNECTIONS_PER_PEER:
            self._evict(connection.network, MAX_CONNECTIONS_PER_PEER)
        elif len(self._open) >= MAX_CONNECTIONS:
            self._evict(max(self._by_network, key=lambda network: len(self._by_network[network])), MAX_CONNECTIONS)
        self._silent.register(connection.sock, selectors.EVENT_READ, connection)
        self._open[connection] = None
        self._by_network.setdefault(connection.network, {})[connection] = None

    async def next_started(self) -> list[_Connection]:
        """Waits for silent connections that have sent something, and ends those that the peer closed."""
        await trio.lowlevel.wait_readable(self._silent.fileno())
        started: list[_Connection] = []
        for key, _ in self._silent.select(0):
            if not _has_sent(key.data.sock):
                self.end(key.data)
            elif len(started) < _STARTED_AT_ONCE:
                self.start(key.data)
                started.append(key.data)
        return started

    def start(self, connection: _Connection) -> None:
        """Leaves a connection to its task."""
        self._silent.unregister(connection.sock)
        connection.is_silent = False
        connection.scope.deadline = trio.current_time() + MAX_CONNECTION_AGE

    async def close_expired(self) -> NoReturn:
        """Closes silent connections at their deadline, until cancelled."""
        while True:
            now = trio.current_time()
            silent = [connection for connection in self._open if connection.is_silent]
            for connection in silent:
                if connection.scope.deadline <= now:
                    self.end(connection)
            # The oldest has the first deadline. A connection that arrives meanwhile has a later one.
            waiting = [connection.scope.deadline for connection in silent if connection.is_silent]
            await trio.sleep_until(min(waiting, default=now + HANDSHAKE_TIMEOUT))

    def end(self, connection: _Connection) -> None:
        """Ends a connection, at once or at the next checkpoint of its task."""
        self.discard(connection)
        connection.scope.cancel()
        if connection.is_silent:
            self._silent.unregister(connection.sock)
            connection.is_silent = False
            connection.sock.close()

    def discard(self, connection: _Connection) -> None:
        """Removes a connection, if it is there."""
        if connection in self._open:
            del self._open[connection]
            del self._by_network[connection.network][connection]
            if not self._by_network[connection.network]:
                del self._by_network[connection.network]

    def close_idle(self) -> None:
        """Ends the connections that have no request under way; no other is admitted."""
        for connection in list(self._open):
            if not connection.is_busy:
                self.end(connection)

    def close(self) -> None:
        """Releases the descriptor that silent connections are watched by."""
        self._silent.close()

    def _evict(self, network: Network, limit: int) -> None:
        of_peer = self._by_network[network]
        new = [connection for connection in of_peer if not connection.has_served]
        if len(new) > NEWCOMERS or len(new) == len(of_peer):
            evicted = new[0]
        else:
            evicted = next(connection for connection in of_peer if connection.has_served)
        self.end(evicted)
        text = "HTTP connections are closed for newer ones: too many are open"
        self._too_many.warning(text, limit=limit, peer=evicted.peer)


class _Server:
    def __init__(self, handler: Handler, tls: TLSProvider | None) -> None:
        self.handler = handler
        self.draining = trio.Event()
        self.scheme = "http" if tls is None else "https"
        # Costly steps, one in each turn of the event loop: a task that acquires it has waited for a turn.
        self.turns = trio.Lock()
        self._tls = tls
        self._connections = _Connections()
        self._not_accepted = ThrottledLog(log)

    async def hold_connections(self, task_status: trio.TaskStatus[trio.Nursery]) -> None:
        """Holds a nursery out of reach of the server's cancellation: connections end by `drain` or its deadline."""
        async with trio.open_nursery() as nursery:
            shield_once_started(nursery.cancel_scope, task_status, nursery)
            await self.draining.wait()

    def close(self) -> None:
        """Releases what it holds, once no connection is open."""
        self._connections.close()

    def drain(self) -> None:
        """Closes connections, those with a request under way after its answer."""
        self.draining.set()
        self._connections.close_idle()

    async def accept(self, listener: socket.socket, nursery: trio.Nursery) -> None:
        """Accepts connections until cancelled, and serves each in the nursery; closes the listener."""
        async with trio.open_nursery() as accepting:
            accepting.start_soon(self._accept, listener, nursery)
            accepting.start_soon(self._start, nursery)
            accepting.start_soon(self._connections.close_expired)

    async def _accept(self, listener: socket.socket, nursery: trio.Nursery) -> NoReturn:
        try:
            while True:
                await trio.lowlevel.wait_readable(listener)
                try:
                    for _ in range(_ACCEPTED_AT_ONCE):
                        self._admit(*listener.accept(), nursery)
                except (BlockingIOError, ConnectionAbortedError):
                    continue  # none is left, or the peer is gone
                except OSError as error:
                    text = f"cannot accept HTTP connections: {error}; raise the limit of open files"
                    self._not_accepted.warning(text)
                    await trio.sleep(ACCEPT_PAUSE)
        finally:
            trio.lowlevel.notify_closing(listener)
            listener.close()

    def _admit(self, sock: socket.socket, address: tuple[str, int], nursery: trio.Nursery) -> None:
        if self._tls is not None and self._tls() is None:
            sock.close()
            return
        sock.setblocking(False)  # noqa: FBT003  # the standard library's signature
        patience = IDLE_TIMEOUT if self._tls is None else HANDSHAKE_TIMEOUT
        scope = trio.CancelScope(deadline=trio.current_time() + patience)
        connection = _Connection(sock, address[0], network_of(address), scope)
        self._connections.admit(connection)
        if _has_sent(sock):  # in a flood it has waited for long enough
            self._connections.start(connection)
            nursery.start_soon(self._serve, connection)

    async def _start(self, nursery: trio.Nursery) -> NoReturn:
        while True:
            for connection in await self._connections.next_started():
                nursery.start_soon(self._serve, connection)

    async def _serve(self, connection: _Connection) -> None:
        try:
            with connection.scope:
                stream = await self._stream(connection.sock)
                if stream is not None:
                    await _Http11(self, connection, stream).serve()
        except (OSError, trio.BrokenResourceError):
            pass  # the peer is gone
        except Exception:
            # A defect that one connection meets must not end the server.
            log.exception("HTTP connection failed")
        finally:
            connection.sock.close()
            self._connections.discard(connection)

    async def _stream(self, sock: socket.socket) -> "trio.SocketStream | _TLSStream | None":
        """Returns the stream of a new connection, after the TLS handshake; None if there is none in time."""
        if self._tls is None:
            return trio.SocketStream(trio.socket.from_stdlib_socket(sock))
        context = self._tls()
        if context is None:
            return None
        transport = TLSTransport(sock, context)
        with trio.move_on_after(HANDSHAKE_TIMEOUT):
            try:
                await transport.hear()
                async with self.turns:
                    pass
                await transport.handshake()
            except HandshakeFailedError:
                return None
            return _TLSStream(transport)
        return None


class _TLSStream:
    """The methods of trio.SocketStream that are used here, over TLS."""

    def __init__(self, transport: TLSTransport) -> None:
        self._transport = transport

    async def receive_some(self, _max_bytes: int) -> bytes:
        await trio.lowlevel.checkpoint()  # some is buffered, and must not keep the event loop
        return await self._transport.receive()

    async def send_all(self, data: bytes) -> None:
        self._transport.write(data)
        await trio.lowlevel.checkpoint()  # the peer may have sent many requests at once
        await self._transport.send()

    async def send_eof(self) -> None:
        await trio.lowlevel.checkpoint()
        self._transport.half_close()


class _Http11:
    """HTTP/1.1 and 1.0 on one connection, whatever protocol the peer proposes to change to (RFC 9110, 7.8)."""

    def __init__(self, server: _Server, connection: _Connection, stream: "trio.SocketStream | _TLSStream") -> None:
        self._server = server
        self._connection = connection
        self._stream = stream
        self._machine = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEADER_BYTES)
        self._method = b""
        self._head_bytes = 0

    async def serve(self) -> None:
        """Serves requests until either side closes, or the peer is too slow."""
        try:
            while not self._server.draining.is_set() and await self._exchange():
                self._machine.start_next_cycle()
        except h11.RemoteProtocolError as error:
            error.with_traceback(None)  # whose frames refer to the error: a reference cycle for each bad request
            if self._machine.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
                await self._send(refusal(error.error_status_hint, _REASONS.get(str(error), "")))
        if self._machine.our_state is not h11.IDLE and not self._server.draining.is_set():
            await self._linger()

    async def _exchange(self) -> bool:
        """Answers one request; returns True if the connection can be used for another."""
        event = None
        self._method = b""  # an error in the head has an answer with a body, whatever was requested before
        with trio.move_on_after(IDLE_TIMEOUT):
            event = await self._next_event()
        if not isinstance(event, h11.Request):
            return False
        self._connection.is_busy = True
        self._method, self._head_bytes = event.method, 0
        is_last = _has_two_lengths(event) or self._machine.they_are_waiting_for_100_continue
        await self._send(await self._response(event), is_last=is_last)
        self._connection.is_busy, self._connection.has_served = False, True
        return self._machine.our_state is self._machine.their_state is h11.DONE

    async def _next_event(self) -> object:
        while (event := self._machine.next_event()) is h11.NEED_DATA:
            data = await self._stream.receive_some(_RECEIVE_BYTES)
            self._machine.receive_data(data)
            self._head_bytes += len(data)
            if self._head_bytes > _CHEAP_HEAD_BYTES:
                async with self._server.turns:
                    pass
        return event

    async def _response(self, event: h11.Request) -> Response:
        if event.http_version not in _VERSIONS:
            return refusal(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED)
        if event.method == b"CONNECT":  # whose success would end HTTP on this connection (RFC 9110, 9.3.6)
            return refusal(HTTPStatus.METHOD_NOT_ALLOWED)
        # A peer that waits for 100 (Continue) need not send its body: it gets the answer instead (RFC 9110, 10.1.1).
        refused = None if self._machine.they_are_waiting_for_100_continue else await self._drop_body()
        if refused is not None:
            return refused
        request = Request.read(event, scheme=self._server.scheme, peer=self._connection.peer)
        try:
            return await self._server.handler(request)
        except Exception:
            log.exception("HTTP request failed")
            return Response(HTTPStatus.INTERNAL_SERVER_ERROR, headers={"connection": "close"})

    async def _drop_body(self) -> Response | None:
        """Reads the body; returns the answer to one that is too long or too slow."""
        left = MAX_BODY_BYTES
        with trio.move_on_after(BODY_TIMEOUT):
            for _ in range(MAX_BODY_PIECES):
                event = await self._next_event()
                if isinstance(event, h11.EndOfMessage):
                    return None
                left -= len(event.data) if isinstance(event, h11.Data) else 0
                if left < 0:
                    break
            return refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        return refusal(HTTPStatus.REQUEST_TIMEOUT)

    async def _send(self, response: Response, *, is_last: bool = False) -> None:
        headers = {"date": formatdate(usegmt=True), **response.headers}
        if response.status != HTTPStatus.NOT_MODIFIED:  # RFC 9110, 8.6
            headers["content-length"] = str(len(response.body))
        if is_last or self._server.draining.is_set():
            headers["connection"] = "close"
        reason = HTTPStatus(response.status).phrase
        head = h11.Response(status_code=response.status, headers=list(headers.items()), reason=reason)
        events: list[h11.Event] = [head]
        if self._method != b"HEAD" and response.status != HTTPStatus.NOT_MODIFIED:
            events.append(h11.Data(response.body))
        events.append(h11.EndOfMessage())
        data = b"".join(self._machine.send(event) or b"" for event in events)
        with trio.move_on_after(SEND_TIMEOUT) as sending:
            await self._stream.send_all(data)
        if sending.cancelled_caught:
            raise trio.BrokenResourceError("the peer does not read")

    async def _linger(self) -> None:
        """Waits for the peer to close."""
        with trio.move_on_after(LINGER_TIMEOUT):
            await self._stream.send_eof()
            for _ in range(MAX_BODY_PIECES):
                if not await self._stream.receive_some(_RECEIVE_BYTES):
                    return


def _has_sent(sock: socket.socket) -> bool:
    try:
        return bool(sock.recv(1, socket.MSG_PEEK))
    except OSError:
        return False


def _has_two_lengths(event: h11.Request) -> bool:
    """Returns True if a proxy in front may have used the other length (RFC 9112, 6.3).

    The following bytes may then be a part of this request that another caller composed.
    """
    return {b"content-length", b"transfer-encoding"} <= {name for name, _ in event.headers}

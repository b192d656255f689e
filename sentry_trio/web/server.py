"""An ASGI app on hypercorn's Trio worker, served until cancelled, with TLS or without.

hypercorn's own `serve` ends only through a trigger, sends under a shield that has no deadline, lets any number of
connections in and ends as a whole when one connection fails in an unforeseen way. So accepting and the lifetimes of
connections stand here, and hypercorn's part begins with an open connection: HTTP.
"""

import ssl
from collections.abc import Callable
from typing import Final, NoReturn, TypeAlias, cast

import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.logging import Logger as HypercornLogger
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ASGIFramework

from sentry_trio.lifetimes import shield_once_started
from sentry_trio.telemetry.logs import get_logger
from sentry_trio.telemetry.throttle import ThrottledLog
from sentry_trio.web.asgi import ASGIApp, Receive, Scope, Send
from sentry_trio.web.http11 import Http11Connection
from sentry_trio.web.listen import Address, open_listener

log = get_logger("dapr.sentry")

# Open connections of one server: descriptors are shared with the gRPC server. One more takes the place of the oldest,
# which nearly always is idle or means ill, as answers are short and at hand; so nobody keeps others out by staying.
MAX_CONNECTIONS: Final = 256
# Seconds for a TLS handshake.
HANDSHAKE_TIMEOUT: Final = 5
# Seconds that a connection may be without a request, from its start to the end of the first request's headers too.
IDLE_TIMEOUT: Final = 10
# Seconds without a byte of a request that has begun (Dapr's metrics server: 10).
READ_TIMEOUT: Final = 10
# Seconds that a connection may last in all; probes and scrapers open another.
MAX_CONNECTION_AGE: Final = 120.0
MAX_HEADER_BYTES: Final = 16 * 1024
# Seconds until accepting is tried again, if the system could not hand over a connection.
ACCEPT_PAUSE: Final = 0.1

TLSProvider: TypeAlias = Callable[[], ssl.SSLContext | None]
"""Asked at each new connection for what to serve it with; None closes it at once, as there is nothing yet."""


async def serve_http(
    app: ASGIApp,
    *,
    host: str,
    port: int,
    tls: TLSProvider | None = None,
    shutdown_timeout: float = 5.0,
    task_status: trio.TaskStatus[Address] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve `app` over HTTP until cancelled; reports the bound address once connections are accepted.

    When cancelled, it first stops listening and closes idle connections; requests under way get `shutdown_timeout` to
    finish, then their connections are closed too. Returns or raises Cancelled only when all is gone.

    Args:
        app: called for `http` only: no lifespan, websockets are refused.
        host: see open_listener; empty means all interfaces.
        port: 0 takes any free one.
        tls: what connections are served with; None for no TLS.
        shutdown_timeout: seconds; also bounds how long a peer may take to accept one piece of an answer.
        task_status: told the bound address.

    Raises:
        ListenError: the address cannot be listened on.
    """
    listener, address = await open_listener(host, port)
    context = WorkerContext(None)
    connections = _Connections(app, context, tls=tls, write_timeout=shutdown_timeout)
    with listener.socket:
        async with trio.open_nursery() as outer:
            nursery = await outer.start(_connection_nursery, context)
            try:
                task_status.started(address)
                await connections.accept(listener, nursery)
            finally:
                # From here on the shield has a deadline. Neither statement lets another task run.
                nursery.cancel_scope.deadline = trio.current_time() + shutdown_timeout
                await context.terminated.set()


async def _connection_nursery(context: WorkerContext, task_status: trio.TaskStatus[trio.Nursery]) -> None:
    """Hold a nursery that what cancels the server does not reach: connections end by `context` or by its deadline."""
    async with trio.open_nursery() as nursery:
        shield_once_started(nursery.cancel_scope, task_status, nursery)
        await context.terminated.wait()


class _Connections:
    """Serves one connection per call; what is common to all connections of a server stands here."""

    def __init__(self, app: ASGIApp, context: WorkerContext, *, tls: TLSProvider | None, write_timeout: float) -> None:
        self._app = ASGIWrapper(cast("ASGIFramework", _http_only(app)))
        self._config = _config()
        self._context = context
        self._tls = tls
        self._write_timeout = write_timeout
        self._open: dict[trio.SocketStream, None] = {}  # in the order in which they came
        self._too_many = ThrottledLog(log)
        self._not_accepted = ThrottledLog(log)

    async def accept(self, listener: trio.SocketListener, nursery: trio.Nursery) -> NoReturn:
        """Accepts connections until cancelled, serves each in the nursery, and closes the listener.

        `trio.serve_listeners` writes a traceback to standard error ten times a second while descriptors are lacking.
        """
        async with listener:
            while True:
                try:
                    stream = await listener.accept()
                except OSError as error:
                    text = f"cannot accept HTTP connections: {error}; raise the limit of open files"
                    self._not_accepted.warning(text)
                    await trio.sleep(ACCEPT_PAUSE)
                else:
                    nursery.start_soon(self.serve, stream)

    async def serve(self, stream: trio.SocketStream) -> None:
        # hypercorn leaves the socket open when it is cancelled.
        with stream.socket:
            if len(self._open) >= MAX_CONNECTIONS:
                self._close_oldest()
            self._open[stream] = None
            try:
                with trio.move_on_after(MAX_CONNECTION_AGE):
                    await self._converse(stream)
            except Exception:
                # One connection's misfortune must not end the server.
                log.exception("HTTP connection failed")
            finally:
                self._open.pop(stream, None)

    def _close_oldest(self) -> None:
        oldest = next(iter(self._open))
        del self._open[oldest]
        # Whoever waits for it is told that it is closed; a cancellation would have to wait for a send that is shielded.
        oldest.socket.close()
        self._too_many.warning("HTTP connections are closed for newer ones: too many are open", limit=MAX_CONNECTIONS)

    async def _converse(self, tcp: trio.SocketStream) -> None:
        stream: trio.abc.Stream = tcp
        if self._tls is not None:
            context = self._tls()
            if context is None:
                return
            stream = trio.SSLStream(tcp, context, server_side=True, https_compatible=True)
            if not await _handshaken(stream):
                return
        bounded = _BoundedStream(stream, tcp.socket, self._write_timeout)
        await Http11Connection(self._app, self._config, self._context, bounded, over_tls=self._tls is not None).run()


async def _handshaken(stream: "trio.SSLStream[trio.SocketStream]") -> bool:
    """Shakes hands; whether that came to an end in time. What a peer does wrong is no news to anyone here."""
    with trio.move_on_after(HANDSHAKE_TIMEOUT):
        try:
            await stream.do_handshake()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return False
        return True
    return False


def _http_only(app: ASGIApp) -> ASGIApp:
    """`app`, called for requests only; a websocket is closed before it is open, which peers see as 403."""

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await app(scope, receive, send)
        else:
            await send({"type": "websocket.close"})

    return serve


def _config() -> Config:
    config = Config()
    config.accesslog = None
    config.errorlog = None
    config.logger_class = _HypercornLog
    config.include_server_header = False
    config.keep_alive_timeout = IDLE_TIMEOUT
    config.read_timeout = READ_TIMEOUT
    config.h11_max_incomplete_size = MAX_HEADER_BYTES
    config.h2_max_header_list_size = MAX_HEADER_BYTES
    return config


class _HypercornLog(HypercornLogger):
    """What hypercorn has to say, in our log: an app that raised, and nothing else."""

    async def exception(self, message: str, *_args: object, **_options: object) -> None:
        log.exception(message)


class _BoundedStream(trio.abc.HalfCloseableStream):
    """A stream that breaks when the peer does not take what is sent.

    hypercorn sends under a shield, which only a deadline inside of it can end.
    """

    def __init__(self, stream: trio.abc.Stream, socket: trio.socket.SocketType, write_timeout: float) -> None:
        self._stream = stream
        self._write_timeout = write_timeout
        self.socket = socket

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        with trio.move_on_after(self._write_timeout) as scope:
            await self._stream.send_all(data)
        if scope.cancelled_caught:
            # What has been sent ends somewhere in the middle: nothing may follow it.
            self.socket.close()
            raise trio.BrokenResourceError("the peer does not read")

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self._stream.receive_some(max_bytes)

    async def send_eof(self) -> None:
        # TLS has no half of a connection to close.
        if isinstance(self._stream, trio.abc.HalfCloseableStream):
            await self._stream.send_eof()

    async def aclose(self) -> None:
        await self._stream.aclose()

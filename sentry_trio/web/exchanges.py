"""HTTP/1.1 on one connection: h11 within limits, which are tight because answers are small."""

import socket
from email.utils import formatdate
from http import HTTPStatus
from typing import Final

import h11
import msgspec
import trio

from sentry_trio.grpc.tls import TLSTransport
from sentry_trio.grpc.turn_scheduler import TurnScheduler
from sentry_trio.telemetry.logs import get_logger
from sentry_trio.telemetry.throttle import ThrottledLog
from sentry_trio.web.connections import HTTPConnection
from sentry_trio.web.messages import Handler, Request, Response, refusal

_log: Final = get_logger("dapr.sentry")

# Seconds from the start of a connection, or from an answer, to the end of a request's head.
IDLE_TIMEOUT: Final = 10
# Bytes, pieces and seconds of a body, which no request needs: it is read and dropped, so that the connection can be
# used again. A piece is a chunk, or a part of one.
MAX_BODY_BYTES: Final = 64 * 1024
MAX_BODY_PIECES: Final = 1024
BODY_TIMEOUT: Final = 5.0
# Seconds for a peer to accept an answer.
SEND_TIMEOUT: Final = 5.0
# Seconds for a peer to close after the last answer. Closing before it has read the answer could reset the connection
# and destroy the answer (RFC 9112, 9.6).
LINGER_TIMEOUT: Final = 1.0
# Bounds on the headers of a request, and on the trailers of its body. For h11 the lines cost more than the bytes.
MAX_HEADER_BYTES: Final = 16 * 1024
MAX_HEADERS: Final = 100
_RECEIVE_BYTES: Final = 16 * 1024
# Bytes for h11 at once: its parser gets no more lines than MAX_HEADERS and those of one such part.
_PARSED_BYTES: Final = 1024
# Prices as in `grpc.cpu_budget`: of a request and its answer, half a millisecond; of a piece of a body.
_REQUEST: Final = 25
_PIECE: Final = 1
# Received data with more bytes costs the price of a request once more: 16 KiB take up to a millisecond.
_CHEAP_BYTES: Final = 2 * 1024
_VERSIONS: Final = frozenset({b"1.0", b"1.1"})
# Errors of h11, and the texts that Go's server, and so Dapr Sentry, adds to its answer.
_REASONS: Final = {
    "Missing mandatory Host: header": ": missing required Host header",
    "Found multiple Host: headers": ": too many Host headers",
}


class HTTPServerState(msgspec.Struct, frozen=True):
    """State that all connections of a server share.

    Attributes:
        handler: answers requests.
        scheme: `http` or `https`.
        turns: shares the turns of the event loop among peers.
        draining: set when the server stops.
        request_failed: logs defects of the handler.
    """

    handler: Handler
    scheme: str
    turns: TurnScheduler
    draining: trio.Event = msgspec.field(default_factory=trio.Event)
    request_failed: ThrottledLog = msgspec.field(default_factory=lambda: ThrottledLog(_log))


class PlainStream:
    """Stream of a TCP connection without a checkpoint after a read.

    With a checkpoint after the read, as in trio.SocketStream, the server could begin to drain in between, and a request
    that is neither under way nor in the kernel any more would be lost.

    Args:
        sock: non-blocking socket.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._stream = trio.SocketStream(trio.socket.from_stdlib_socket(sock))

    async def wait_for_data(self) -> None:
        """Waits until there is something to receive, or the peer has closed."""
        await trio.lowlevel.wait_readable(self._sock)

    async def receive_some(self, max_bytes: int) -> bytes:
        """Waits for data and returns some; empty when the peer has closed."""
        while True:
            try:
                return self._sock.recv(max_bytes)
            except BlockingIOError:
                await self.wait_for_data()

    async def send_all(self, data: bytes) -> None:
        """Sends all data."""
        await self._stream.send_all(data)

    async def send_eof(self) -> None:
        """Announces that nothing more is sent."""
        await self._stream.send_eof()


class TLSStream:
    """Stream over TLS, with the methods of trio.SocketStream that are used here.

    Args:
        transport: TLS, after the handshake.
    """

    def __init__(self, transport: TLSTransport) -> None:
        self._transport = transport

    async def wait_for_data(self) -> None:
        """Lets other tasks run; data may have been received with earlier data."""
        await trio.lowlevel.checkpoint()

    async def receive_some(self, _max_bytes: int) -> bytes:
        """Waits for data and returns some; empty when the peer has closed or is gone."""
        return await self._transport.receive()

    async def send_all(self, data: bytes) -> None:
        """Sends all data."""
        self._transport.write(data)
        await trio.lowlevel.checkpoint()  # the peer may have sent many requests at once
        await self._transport.send()

    async def send_eof(self) -> None:
        """Announces that nothing more is sent."""
        await trio.lowlevel.checkpoint()
        self._transport.half_close()


class Exchanges:
    """HTTP/1.1 and 1.0 on one connection; proposals of other protocols are ignored (RFC 9110, 7.8).

    Args:
        server: state that all connections share.
        connection: the connection.
        stream: stream of its bytes.
    """

    def __init__(self, server: HTTPServerState, connection: HTTPConnection, stream: PlainStream | TLSStream) -> None:
        self._server = server
        self._connection = connection
        self._stream = stream
        self._machine = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEADER_BYTES)
        self._method = b""
        self._received = b""  # and not parsed yet

    async def serve(self) -> None:
        """Serves requests until either side closes, or the peer is too slow."""
        try:
            while self._is_open and await self._exchange():
                self._machine.start_next_cycle()
        except h11.RemoteProtocolError as error:
            error.with_traceback(None)  # its frames refer to the error: a reference cycle for each bad request
            if self._machine.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
                await self._send(refusal(error.error_status_hint, _REASONS.get(str(error), "")))
        if self._machine.our_state is not h11.IDLE:
            await self._linger()

    @property
    def _is_open(self) -> bool:
        """False if the server is draining and no request has arrived."""
        return not self._server.draining.is_set() or self._is_pipelined or self._connection.has_sent

    @property
    def _is_pipelined(self) -> bool:
        """True if more was received than the last request."""
        return bool(self._received or self._machine.trailing_data[0])

    async def _exchange(self) -> bool:
        """Answers one request; returns True if the connection can be used for another."""
        if self._is_pipelined:
            await self._server.turns.wait_if_full(self._connection.network, _REQUEST)
            self._connection.is_busy = False
        event = None
        self._method = b""  # an error in the head has an answer with a body, whatever was requested before
        with trio.move_on_after(IDLE_TIMEOUT):
            event = await self._next_event()
        if not isinstance(event, h11.Request):
            return False
        self._connection.is_busy = True
        self._method = event.method
        is_last = _has_two_lengths(event) or self._machine.they_are_waiting_for_100_continue
        refused = _refused(event)
        request = Request.read(event, scheme=self._server.scheme, peer=self._connection.peer)
        del event  # which takes more memory than the request, and the body may take seconds
        await self._send(refused or await self._response(request), is_last=is_last)
        self._connection.is_busy, self._connection.has_served = self._is_pipelined, True
        return self._machine.our_state is self._machine.their_state is h11.DONE

    async def _next_event(self) -> object:
        while (event := self._machine.next_event()) is h11.NEED_DATA:
            # An event that is not complete: a head, trailers, or the head of a chunk. A head has one line more.
            if self._machine.trailing_data[0].count(b"\n") > MAX_HEADERS + 1:
                raise h11.RemoteProtocolError(
                    "too many lines", error_status_hint=HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
                )
            if not self._received:
                await self._stream.wait_for_data()
                await self._server.turns.wait_if_full(self._connection.network, _REQUEST)
                self._received = await self._stream.receive_some(_RECEIVE_BYTES)
                if len(self._received) > _CHEAP_BYTES:
                    await self._wait_to_parse()
            data, self._received = self._received[:_PARSED_BYTES], self._received[_PARSED_BYTES:]
            self._machine.receive_data(data)
        return event

    async def _wait_to_parse(self) -> None:
        connection = self._connection
        was_busy, connection.is_busy = connection.is_busy, True  # or a drain that begins meanwhile would lose a request
        await self._server.turns.wait(connection.network, _REQUEST)
        connection.is_busy = was_busy

    async def _response(self, request: Request) -> Response:
        # A peer that waits for 100 (Continue) need not send its body: it gets the answer instead (RFC 9110, 10.1.1).
        refused = None if self._machine.they_are_waiting_for_100_continue else await self._drop_body()
        if refused is not None:
            return refused
        try:
            return await self._server.handler(request)
        except Exception as error:  # noqa: BLE001  # a defect in one request must not end the server
            self._server.request_failed.error("HTTP request failed", exc_info=error, peer=self._connection.peer)
            return Response(HTTPStatus.INTERNAL_SERVER_ERROR, headers={"connection": "close"})

    async def _drop_body(self) -> Response | None:
        """Reads the body; returns the error response if it is too long or too slow."""
        left = MAX_BODY_BYTES
        with trio.move_on_after(BODY_TIMEOUT):
            for _ in range(MAX_BODY_PIECES):
                event = await self._next_event()
                if isinstance(event, h11.EndOfMessage):
                    return None
                left -= len(event.data) if isinstance(event, h11.Data) else 0
                if left < 0:
                    break
                await self._server.turns.wait_if_full(self._connection.network, _PIECE)
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
        """Waits for the peer to close, also while the server drains."""
        self._connection.is_busy = True
        with trio.move_on_after(LINGER_TIMEOUT):
            await self._stream.send_eof()
            for _ in range(MAX_BODY_PIECES):
                await self._stream.wait_for_data()
                if not await self._stream.receive_some(_RECEIVE_BYTES):
                    return


def _refused(event: h11.Request) -> Response | None:
    """Returns the answer to a request that no handler gets; None for others."""
    if event.http_version not in _VERSIONS:
        return refusal(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED)
    if event.method == b"CONNECT":  # whose success would end HTTP on this connection (RFC 9110, 9.3.6)
        return refusal(HTTPStatus.METHOD_NOT_ALLOWED)
    if len(event.headers) > MAX_HEADERS:
        return refusal(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
    return None


def _has_two_lengths(event: h11.Request) -> bool:
    """Returns True if a proxy in front may have used the other length (RFC 9112, 6.3).

    The following bytes may then be a part of this request, composed by another caller.
    """
    return {b"content-length", b"transfer-encoding"} <= {name for name, _ in event.headers}

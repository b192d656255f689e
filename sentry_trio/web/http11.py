"""HTTP/1.1 on one connection: hypercorn's, without the ways by which it would turn into HTTP/2.

hypercorn changes to HTTP/2 for any peer that asks for it in clear text (`Upgrade: h2c`, or the preface of RFC 9113,
3.4), and has no setting against that. The HTTP servers of Dapr Sentry 1.18 speak HTTP/1.1 and 1.0 alone.
"""

import sys
from http import HTTPStatus
from typing import Any, Final, cast

import h11
import trio
from hypercorn.config import Config
from hypercorn.protocol import ProtocolWrapper
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import AppWrapper, ConnectionState
from hypercorn.utils import parse_socket_addr

# What h11 says of a request that it refuses, and what Go's server, and so Dapr Sentry, adds to the answer.
_WORDS: Final = {
    "Missing mandatory Host: header": ": missing required Host header",
    "Found multiple Host: headers": ": too many Host headers",
}


class Http11Connection(TCPServer):
    """Serves one open connection by HTTP/1.1 or 1.0, whatever the peer proposes.

    Args:
        app: what answers.
        config: hypercorn's.
        context: of the server that the connection belongs to.
        stream: the connection, any TLS handshake done; it has a `socket`.
        over_tls: whether `https` is the scheme of what is asked.
    """

    def __init__(
        self, app: AppWrapper, config: Config, context: WorkerContext, stream: trio.abc.Stream, *, over_tls: bool
    ) -> None:
        # hypercorn's type for what may be any stream.
        transport = cast("trio.SSLStream[trio.SocketStream]", stream)
        super().__init__(app, config, context, ConnectionState({}), transport)
        self._over_tls = over_tls

    async def run(self) -> None:
        """Serves until the connection ends. Cancellation: at once, but for what is being sent."""
        socket = self.stream.socket
        try:
            peer = parse_socket_addr(socket.family, socket.getpeername())
            here = parse_socket_addr(socket.family, socket.getsockname())
            async with TaskGroup() as group:
                self._task_group = group
                protocol = _Http11(
                    self.app,
                    self.config,
                    self.context,
                    group,
                    ConnectionState(self.state),
                    self._over_tls,
                    peer,
                    here,
                    self.protocol_send,
                )
                self.protocol = cast("ProtocolWrapper", protocol)  # which does no more than to choose a protocol
                await self.idle_task.restart(group, self._idle_timeout)
                await self._read_data()
        except OSError:
            return  # the peer is gone
        finally:
            await self._close()


class _LastRequestAware(h11.Connection):
    """Ignores bytes after the last request of a connection (RFC 9112, 9.6).

    h11 reports them as an error of the peer, and hypercorn then answers that, or closes, before the answer to the
    request is complete.
    """

    def receive_data(self, data: bytes) -> None:
        """Buffers data, unless no request is expected any more."""
        if not data or self.their_state is not h11.MUST_CLOSE:
            super().receive_data(data)

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        """Returns the next event; there is none after the last request."""
        return h11.NEED_DATA if self.their_state is h11.MUST_CLOSE else super().next_event()


class _Http11(H11Protocol):
    """Never becomes another protocol, and says what was wrong with a request that it refuses."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.connection = _LastRequestAware(h11.SERVER, max_incomplete_event_size=self.config.h11_max_incomplete_size)

    async def _check_protocol(self, event: h11.Request) -> None:
        """Ignores proposals to change the protocol (RFC 9110, 7.8); closes after a request with two lengths.

        RFC 9112, 6.3: if Content-Length and Transfer-Encoding are both present, a proxy in front may have used the
        other one, and the following bytes may be another caller's request.
        """
        if {b"content-length", b"transfer-encoding"} <= {name for name, _ in event.headers}:
            self.keep_alive_requests = self.config.keep_alive_max_requests

    async def _send_error_response(self, status_code: int) -> None:
        """Answers as Go's server does; called while h11's error is handled."""
        status = HTTPStatus(status_code)
        body = f"{status.value} {status.phrase}{_WORDS.get(str(sys.exception()), '')}".encode()
        headers = [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
            *self.config.response_headers("h11"),
        ]
        await self._send_h11_event(h11.Response(headers=headers, status_code=status_code))
        await self._send_h11_event(h11.Data(data=body))
        await self._send_h11_event(h11.EndOfMessage())

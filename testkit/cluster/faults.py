"""Proxy between a client and the API server that answers, delays, cuts and goes silent on demand.

It ends TLS and speaks HTTP/1.1, one request at a time on each connection. Requests that no fault is set for are passed
on, and so are watches, as they come.
"""

import json
import re
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import trio

from .cluster import Cluster

_CHUNK: Final = 65536
_HEAD: Final = b"\r\n\r\n"


@dataclass(frozen=True)
class Fault:
    """Fault for a request, in this order. By default it is passed on.

    Attributes:
        delay: seconds before anything else.
        status: answered instead of the API server; 0 if that is asked.
        headers: of that answer.
        body: of that answer.
        cut_after: bytes of the answer after which the connection is cut.
    """

    delay: float = 0.0
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    cut_after: int | None = None


SILENCE: Final = Fault(delay=float("inf"))


def answering(status: int, *, retry_after: int | None = None, message: str = "set by a test") -> Fault:
    """Answers as the API server does when it cannot do a request."""
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    body = json.dumps({"kind": "Status", "status": "Failure", "message": message, "code": status}).encode()
    return Fault(status=status, headers=headers, body=body)


@dataclass
class _Rule:
    fault: Fault
    matches: Callable[[str], bool]
    left: int | None


class Faults:
    """The proxy; made by `faulty`.

    Attributes:
        url: of the proxy, with a certificate that the cluster's authority verifies.
        requests: those that came, as `GET /api/v1/pods?limit=1`.
    """

    def __init__(self, cluster: Cluster, port: int) -> None:
        self.url = f"https://127.0.0.1:{port}"
        self.requests: list[str] = []
        self._cluster = cluster
        self._rules: list[_Rule] = []
        self._connections: set[trio.CancelScope] = set()

    def set(self, fault: Fault, pattern: str = "", *, times: int | None = None) -> None:
        """Does this to requests with the pattern in them, until `clear` or so many times; the last set goes first."""
        found = re.compile(pattern)
        self._rules.insert(0, _Rule(fault, lambda request: found.search(request) is not None, times))

    def clear(self) -> None:
        """Passes everything on, from now on."""
        self._rules.clear()

    def cut(self) -> None:
        """Cuts all connections."""
        for scope in tuple(self._connections):
            scope.cancel()

    def count(self, pattern: str) -> int:
        """Number of requests received that match the pattern."""
        return sum(1 for request in self.requests if re.search(pattern, request))

    async def _serve(self, tls: trio.SSLStream[trio.SocketStream]) -> None:
        with trio.CancelScope() as scope:
            self._connections.add(scope)
            try:
                while await self._answer(tls):
                    pass
            except (trio.BrokenResourceError, trio.ClosedResourceError, OSError):
                pass  # either side has gone
            finally:
                self._connections.discard(scope)
                # At once, without TLS's farewell: that is what a cut is.
                await trio.aclose_forcefully(tls)

    async def _answer(self, client: trio.SSLStream[trio.SocketStream]) -> bool:
        """Answers one request; returns whether there may be another on this connection."""
        request = await _read_request(client)
        if request is None:
            return False
        name = " ".join(request.split(b"\r\n", 1)[0].decode().split()[:2])
        self.requests.append(name)
        fault = self._fault(name)
        await trio.sleep(fault.delay)
        if fault.status:
            headers = {"Content-Type": "application/json", "Content-Length": str(len(fault.body)), **fault.headers}
            lines = "".join(f"{key}: {value}\r\n" for key, value in headers.items())
            await client.send_all(f"HTTP/1.1 {fault.status} Injected\r\n{lines}\r\n".encode() + fault.body)
            return True
        await self._pass_on(request, client, fault)
        return False

    def _fault(self, name: str) -> Fault:
        for rule in self._rules:
            if rule.left != 0 and rule.matches(name):
                if rule.left is not None:
                    rule.left -= 1
                return rule.fault
        return Fault()

    async def _pass_on(self, request: bytes, client: trio.SSLStream[trio.SocketStream], fault: Fault) -> None:
        """On a connection of its own, whose end is that of the client's: no answer needs to be understood."""
        head, _, body = request.partition(_HEAD)
        context = _client_context(self._cluster.authority)
        async with await trio.open_ssl_over_tcp_stream(
            "127.0.0.1", self._cluster.port, ssl_context=context, https_compatible=True
        ) as server:
            await server.send_all(head + b"\r\nConnection: close" + _HEAD + body)
            left = fault.cut_after
            async for chunk in server:
                await client.send_all(chunk if left is None else chunk[:left])
                if left is not None:
                    left = max(0, left - len(chunk))
                    if left == 0:
                        return


async def _read_request(stream: trio.SSLStream[trio.SocketStream]) -> bytes | None:
    """Head and body of the next request; None at the end of the connection."""
    request = b""
    while _HEAD not in request:
        chunk = await stream.receive_some(_CHUNK)
        if not chunk:
            return None
        request += chunk
    head, _, body = request.partition(_HEAD)
    length = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
    missing = (int(length[1]) if length else 0) - len(body)
    while missing > 0:
        chunk = await stream.receive_some(missing)
        request += chunk
        missing -= len(chunk)
    return request


def _client_context(authority: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(authority))


@asynccontextmanager
async def faulty(cluster: Cluster) -> AsyncIterator[Faults]:
    """A proxy before the API server until the block is left."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    cluster.tls.issue_cert("127.0.0.1").configure_cert(context)
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    faults = Faults(cluster, listeners[0].socket.getsockname()[1])

    async def serve(stream: trio.SocketStream) -> None:
        await faults._serve(trio.SSLStream(stream, context, server_side=True, https_compatible=True))

    async with trio.open_nursery() as nursery:
        await nursery.start(partial(trio.serve_listeners, serve, listeners))
        yield faults
        nursery.cancel_scope.cancel()

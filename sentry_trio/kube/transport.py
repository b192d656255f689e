"""HTTP to the API server, by aiohttp. All of it is asyncio-flavoured and ends where session.py begins."""

import asyncio
import socket
import ssl
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Final, Self
from urllib.parse import urlencode

import aiohttp
import msgspec
from yarl import URL

from sentry_trio.errors import ApiUnavailableError, ApiUnreachableError, InvalidConfigurationError
from sentry_trio.kube.api_errors import response_error
from sentry_trio.kube.client_config import Credentials
from sentry_trio.reasons import reason_of

Query = Mapping[str, str]

LONGEST_ANSWER: Final = 64 * 1024 * 1024  # bytes; a page of 500 pods is some 5 MB
_ACCEPT: Final = "application/json, application/jwk-set+json"  # the second for /openid/v1/jwks, which has no other
_CONNECTIONS: Final = 100
_IDLE: Final = 60.0  # seconds; API servers close idle connections after 90
_NO_TIMEOUT: Final = aiohttp.ClientTimeout(total=None, sock_connect=None)  # deadlines are Trio's
_SUCCESS: Final = range(200, 300)
# Silence, time between probes (seconds), probes: the kernel notices within a minute that a peer has gone.
_KEEPALIVE: Final = (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3))


class ApiRequest(msgspec.Struct, frozen=True):
    """HTTP request. `repr` shows method and path only: some bodies have Secrets and tokens."""

    method: str
    path: str
    query: Query
    body: bytes | None = None

    def __repr__(self) -> str:
        return f"{self.method} {self.path}"


class Transport:
    """An HTTP client with the credentials for one API server; made by `opened`.

    Responses other than a success raise ApiUnavailableError or ApiRejectedError; see Session. There are no cookies,
    redirections, compression or proxies other than a kubeconfig's.

    Attributes:
        clock_offset: lead of the server's clock over this machine's, by its last answer; None before that.
    """

    def __init__(
        self, http: aiohttp.ClientSession, sockets: "_Sockets", credentials: Credentials, tls: ssl.SSLContext
    ) -> None:
        self._http = http
        self._sockets = sockets
        self._credentials = credentials
        self._tls = tls
        self.clock_offset: timedelta | None = None

    @classmethod
    async def opened(cls, credentials: Credentials) -> Self:
        """Makes the client; nothing is connected yet.

        Raises:
            InvalidConfigurationError: the certificates or keys cannot be used.
        """
        tls = credentials.tls_context()
        sockets = _Sockets()
        http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=_CONNECTIONS, keepalive_timeout=_IDLE, socket_factory=sockets.make),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"Accept": _ACCEPT, "Accept-Encoding": "identity", "User-Agent": "sentry-trio"},
            timeout=_NO_TIMEOUT,
            auto_decompress=False,
        )
        return cls(http, sockets, credentials, tls)

    @property
    def server(self) -> str:
        """The URL of the API server."""
        return self._credentials.server

    async def close(self) -> None:
        """Closes all connections."""
        await self._http.close()
        await self._sockets.close()

    async def exchange(self, request: ApiRequest) -> bytes:
        """Sends a request and returns the response body, `LONGEST_ANSWER` bytes at most.

        Raises:
            ApiUnavailableError: see Session.
            ApiRejectedError: see Session.

        Cancellation: at once; the connection is closed.
        """
        return await _read_all(await self.open(request), request)

    async def open(self, request: ApiRequest) -> aiohttp.ClientResponse:
        """Sends a request and returns its successful response, whose body the caller reads.

        The caller closes it, from Trio or asyncio. Raises as `exchange` does.
        """
        response = await self._send(request)
        if response.status in _SUCCESS:
            return response
        problem = await _read_all(response, request)
        raise response_error(repr(request), response.status, problem, response.headers)

    async def _send(self, request: ApiRequest) -> aiohttp.ClientResponse:
        headers = {"Content-Type": "application/json"} if request.body is not None else {}
        authorization = await self._credentials.authorization()
        if authorization is not None:
            headers["Authorization"] = authorization
        url = self.server + request.path + ("?" + urlencode(request.query) if request.query else "")
        try:
            with _translated(request):
                response = await self._http.request(
                    request.method,
                    URL(url, encoded=True),
                    data=request.body,
                    headers=headers,
                    allow_redirects=False,
                    ssl=self._tls,
                    server_hostname=self._credentials.server_name,
                    proxy=self._credentials.proxy,
                )
        except ApiUnavailableError as error:
            if isinstance(error.__cause__, aiohttp.ClientSSLError):
                self._reload_certificates()
            raise
        self.clock_offset = _offset_of(response.headers.get("Date")) or self.clock_offset
        return response

    def _reload_certificates(self) -> None:
        """Reads the certificates again: the cluster's certificate authority or the client's may have been replaced."""
        with suppress(InvalidConfigurationError):
            self._tls = self._credentials.tls_context()


def _offset_of(date: str | None) -> timedelta | None:
    """Returns the lead of the clock in a Date header over this machine's."""
    try:
        written = parsedate_to_datetime(date or "")
    except (ValueError, OverflowError):
        return None
    return None if written.tzinfo is None else written - datetime.now(UTC)


async def read_some(response: aiohttp.ClientResponse, request: ApiRequest) -> bytes:
    """Returns the next bytes of a response body; empty at the end.

    Raises:
        ApiUnavailableError: the connection was cut.
    """
    with _translated(request):
        return await response.content.readany()


async def _read_all(response: aiohttp.ClientResponse, request: ApiRequest) -> bytes:
    content = bytearray()
    with _translated(request):
        async with response:
            async for chunk in response.content.iter_any():
                content += chunk
                if len(content) > LONGEST_ANSWER:
                    response.close()
                    raise ApiUnavailableError(f"{request!r}: the response is longer than {LONGEST_ANSWER} bytes")
    return bytes(content)


@contextmanager
def _translated(request: ApiRequest) -> Iterator[None]:
    try:
        yield
    except (aiohttp.ClientConnectionError, OSError) as error:
        raise ApiUnreachableError(f"{request!r}: {_reason(error)}") from error
    except aiohttp.ClientError as error:
        raise ApiUnavailableError(f"{request!r}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """Returns the cause as a text for operators; aiohttp's own texts show objects of Python."""
    match error:
        case aiohttp.ClientConnectorCertificateError():
            return f"the certificate of {error.host}:{error.port} does not verify: {error.certificate_error}"
        case aiohttp.ClientConnectorError():
            return f"cannot connect to {error.host}:{error.port}: {reason_of(error.os_error)}"
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientPayloadError():
            return "the connection was cut"
    return reason_of(error)


class _Sockets:
    """Makes sockets with keepalive, so that a vanished API server is noticed, and closes all of them at the end."""

    def __init__(self) -> None:
        self._made: weakref.WeakSet[socket.socket] = weakref.WeakSet()

    def make(self, address: Any) -> socket.socket:
        """Makes a socket for an address of getaddrinfo."""
        family, kind, protocol, _, _ = address
        made = socket.socket(family, kind, protocol)
        self._made.add(made)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEPALIVE:
            if hasattr(socket, name):  # not on every system
                made.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        return made

    async def close(self) -> None:
        """Shuts the open sockets down, and returns when their users have closed them.

        An abandoned connection of aiohttp, e.g. of a cancelled request, waits up to 30 s for the peer's close_notify in
        the background; at the end of the loop its socket would stay open.

        asyncio-flavoured. Cancellation: at once.
        """
        for made in self._open():
            with suppress(OSError):  # not connected any more
                made.shutdown(socket.SHUT_RDWR)
        while self._open():  # noqa: ASYNC110  # there is no event for it, and the loop notices in a few turns
            await asyncio.sleep(0)

    def _open(self) -> list[socket.socket]:
        return [made for made in self._made if made.fileno() != -1]

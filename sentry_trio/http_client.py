"""GET of a small document over HTTP, with bounded time and size."""

import ssl
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Final

import httpcore
import msgspec
import trio

FAILURES: Final = (httpcore.NetworkError, httpcore.ProtocolError, httpcore.UnsupportedProtocol, OSError, ValueError)
"""Errors of `get` if there is no answer, or no readable one; see `reasons.reason_of`."""


class TooLongError(ValueError):
    """An answer is longer than the limit."""


class Answer(msgspec.Struct, frozen=True):
    """Answer to a GET.

    Attributes:
        status: any.
        headers: names in lower case; the values of a repeated header are joined by commas.
        body: empty unless the status is 200.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes


async def get(
    url: str | bytes,
    *,
    most_bytes: int,
    tls: ssl.SSLContext | None = None,
    headers: Sequence[tuple[str, str]] = (),
) -> Answer:
    """Sends one GET on a connection of its own. Proxies are not used and redirects not followed.

    Args:
        url: URL of http or https; as bytes it may have characters beyond ASCII.
        most_bytes: limit of the body.
        tls: TLS context for https.
        headers: in addition to User-Agent.

    Raises:
        TooLongError: the body is longer.
        httpcore.ProtocolError: the peer does not speak HTTP.
        Exception: another one of `FAILURES`.

    Cancellation: at once. There is no other limit on the time: set one.
    """
    async with (
        httpcore.AsyncConnectionPool(ssl_context=tls, max_connections=1) as pool,
        pool.stream("GET", url, headers=[("User-Agent", "sentry-trio"), *headers]) as response,
    ):
        received: dict[str, str] = {}
        for name, value in response.headers:
            key, text = name.decode("latin-1").lower(), value.decode("latin-1")
            received[key] = f"{received[key]}, {text}" if key in received else text
        body = bytearray()
        if response.status == HTTPStatus.OK:
            # Cancelled, and not left: generators of httpcore that are left half-way end some time later.
            with trio.CancelScope() as reading:
                async for part in response.aiter_stream():
                    body += part
                    if len(body) > most_bytes:
                        reading.cancel()
        if len(body) > most_bytes:
            raise TooLongError(f"more than {most_bytes} bytes")
        return Answer(response.status, received, bytes(body))

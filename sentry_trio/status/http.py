"""One GET of a small document from a replica: in bounds of time and bytes."""

import os
import socket
from typing import Final

import httpcore
import trio

from sentry_trio.errors import SentryError

MOST_BYTES: Final = 4 << 20
"""Bytes of the longest answer that is read; a scrape of a busy authority has some 50,000."""

_OK: Final = 200


class NotAnsweredError(SentryError):
    """There is no answer of use; the text says who gave none, and why."""


async def fetch(host: str, port: int, path: str, *, timeout: float) -> bytes:  # noqa: ASYNC109  # of the whole
    """The body of an answer with status 200. Proxies are not used and redirects not followed.

    Args:
        host: name or address; IPv6 without brackets.
        port: of HTTP.
        path: with its query.
        timeout: seconds, from the look-up of the name to the last byte.

    Raises:
        NotAnsweredError: nobody answers in time, at all, with HTTP, with 200, or with at most `MOST_BYTES`.

    Cancellation: at once.
    """
    where = place(host, port)
    try:
        with trio.fail_after(timeout):
            status, body = await _get(f"http://{where}{path}")
    except trio.TooSlowError:
        raise NotAnsweredError(f"{where} did not answer within {timeout:g} s") from None
    except httpcore.ProtocolError as error:
        raise NotAnsweredError(f"{where} does not speak HTTP: {error}") from error
    except (httpcore.NetworkError, OSError, ValueError) as error:
        raise NotAnsweredError(f"cannot reach {where}: {_reason(error)}") from error
    if status != _OK:
        raise NotAnsweredError(f"{where} answered {status} to {path}: that is no port of a sentry-trio, or an old one")
    if len(body) > MOST_BYTES:
        raise NotAnsweredError(f"{where} answered more than {MOST_BYTES} bytes to {path}")
    return body


def place(host: str, port: int) -> str:
    """As it stands in URLs and messages."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def _get(url: str) -> tuple[int, bytes]:
    """Status and body; of a body that is too long a little more than is allowed."""
    body = bytearray()
    async with (
        httpcore.AsyncConnectionPool(max_connections=1) as pool,
        pool.stream("GET", url, headers=[("User-Agent", "sentry-trio"), ("Accept-Encoding", "identity")]) as response,
    ):
        # Its generators are ended here by being cancelled; left half-way they would be some time later.
        with trio.CancelScope() as reading:
            async for part in response.aiter_stream():
                body += part
                if len(body) > MOST_BYTES:
                    reading.cancel()
    return response.status, bytes(body)


def _reason(error: BaseException) -> str:
    """The innermost words: errors of httpcore and Trio hold the system's, in groups where several addresses failed."""
    inner = error.exceptions[0] if isinstance(error, BaseExceptionGroup) else error.__cause__
    inner = inner or next((each for each in error.args if isinstance(each, BaseException)), None)
    if inner is not None:
        return _reason(inner)
    if isinstance(error, OSError) and error.errno and not isinstance(error, socket.gaierror):
        return os.strerror(error.errno)  # Trio's own text repeats the address
    return getattr(error, "strerror", None) or str(error) or type(error).__name__

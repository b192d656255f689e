"""One GET of a small document: in bounds of time, bytes and redirects."""

import ssl
import zlib
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, unquote, urljoin, urlsplit

import httpcore
import trio

from sentry_trio.ca.pem import blocks
from sentry_trio.errors import InvalidValidatorError
from sentry_trio.validators.jwks.keyset import SourceError

MOST_BYTES: Final = 1 << 20
"""Bytes of the longest answer that is read: a key is about 400 bytes long."""

REDIRECTS: Final = 10
"""As many are followed as Go's client follows."""

_MOST_CERTIFICATES: Final = 1 << 20
_MOVED: Final = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer with status 200.

    Attributes:
        body: at most `MOST_BYTES`.
        headers: names in lower case; of several of one name, all, with commas between them.
    """

    body: bytes
    headers: Mapping[str, str]


def make_context(ca_certificate: str) -> ssl.SSLContext:
    """A TLS context for a client: TLS 1.2 or later. Blocks, as it reads files.

    Args:
        ca_certificate: PEM or the path of a file with it, and then nothing else is trusted; empty for the system's.

    Raises:
        InvalidValidatorError: with Dapr's texts `failed to load CA certificate: ` and `failed to add root
            certificate to certificate pool`.
    """
    # Not by create_default_context, which from Python 3.13 on refuses authorities that Go and others accept.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if not ca_certificate:
        context.load_default_certs()
        return context
    # What is named is trusted, be it a root or not.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    found = [block.der for block in blocks(_pem(ca_certificate)) if block.label == "CERTIFICATE"]
    try:
        for der in found:
            context.load_verify_locations(cadata=der)
    except (ssl.SSLError, ValueError) as error:
        raise InvalidValidatorError(f"failed to add root certificate to certificate pool: {error}") from error
    if not found:
        raise InvalidValidatorError("failed to add root certificate to certificate pool")
    return context


def _pem(ca_certificate: str) -> bytes:
    if "-----BEGIN" in ca_certificate:
        return ca_certificate.encode(errors="replace")
    try:
        with Path(ca_certificate).open("rb") as file:
            return file.read(_MOST_CERTIFICATES)
    except (OSError, ValueError) as error:
        raise InvalidValidatorError(f"failed to load CA certificate: {error}") from error


def without_credentials(url: str) -> str:
    """A URL as it may be logged: without a user's name and password."""
    try:
        parts = urlsplit(url)
        return parts._replace(netloc=_host(parts)).geturl()
    except ValueError:
        return url.rpartition("@")[2]


def _host(parts: SplitResult) -> str:
    return parts.netloc.rpartition("@")[2]


async def fetch(url: str, context: ssl.SSLContext, *, timeout: float) -> Answer:  # noqa: ASYNC109  # of the whole
    """Gets a document; redirects are followed, but never from https to http. Proxies are not used.

    Args:
        url: of http or https.
        context: see `make_context`.
        timeout: seconds, from the look-up of the name to the last byte.

    Raises:
        SourceError: `failed to fetch JWKS: ` and why.

    Cancellation: at once.
    """
    try:
        with trio.fail_after(timeout):
            return await _follow(url, context)
    except trio.TooSlowError:
        raise SourceError(f"failed to fetch JWKS: no answer within {timeout:g} s") from None
    except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.UnsupportedProtocol, OSError, ValueError) as error:
        raise SourceError(f"failed to fetch JWKS: {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    """The innermost text: httpcore's errors hold Trio's, which have none, and those are caused by what has one."""
    while not str(error):
        inner = error.args[0] if error.args else error.__cause__
        if not isinstance(inner, BaseException):
            break
        error = inner
    return str(error) or type(error).__name__


async def _follow(url: str, context: ssl.SSLContext) -> Answer:
    for _ in range(REDIRECTS + 1):
        answer = await _get(url, context)
        if isinstance(answer, Answer):
            return answer
        target = urljoin(url, answer)
        if urlsplit(url).scheme == "https" and urlsplit(target).scheme != "https":
            raise SourceError("failed to fetch JWKS: a redirect leads from https to another scheme")
        url = target
    raise SourceError(f"failed to fetch JWKS: more than {REDIRECTS} redirects")


async def _get(url: str, context: ssl.SSLContext) -> Answer | str:
    """The answer, or where it says to look instead."""
    parts = urlsplit(url)
    # Bytes, as not everything in a URL has to be ASCII.
    target = parts._replace(netloc=_host(parts), fragment="").geturl().encode("ascii")
    headers = [("Accept", "application/jwk-set+json, application/json"), ("User-Agent", "sentry-trio")]
    if parts.username is not None:
        # As Go's client does; a redirect to another host names none, so they go no further.
        credentials = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers.append(("Authorization", f"Basic {b64encode(credentials.encode()).decode()}"))
    async with (
        httpcore.AsyncConnectionPool(ssl_context=context, max_connections=1) as pool,
        pool.stream("GET", target, headers=headers) as response,
    ):
        received: dict[str, str] = {}
        for name, value in response.headers:
            key, text = name.decode("latin-1").lower(), value.decode("latin-1")
            received[key] = f"{received[key]}, {text}" if key in received else text
        if response.status in _MOVED and "location" in received:
            return received["location"]
        if response.status != 200:
            raise SourceError(f"failed to fetch JWKS: status {response.status}")
        body = bytearray()
        with trio.CancelScope() as enough:
            async for part in response.aiter_stream():
                body += part
                if len(body) > MOST_BYTES:
                    # Cancelled, and not left: generators that are left half-way are ended some time later.
                    enough.cancel()
        if len(body) > MOST_BYTES:
            raise SourceError(f"failed to fetch JWKS: more than {MOST_BYTES} bytes")
        return Answer(_decompressed(bytes(body), received.get("content-encoding", "identity")), received)


def _decompressed(body: bytes, encoding: str) -> bytes:
    """Returns the body of an answer; some servers compress whether they are asked to or not.

    Raises:
        SourceError: it is not gzip, is cut short, or is longer than `MOST_BYTES`.
    """
    if encoding.strip().lower() in ("", "identity"):
        return body
    if encoding.strip().lower() not in ("gzip", "x-gzip"):
        raise SourceError(f"failed to fetch JWKS: content encoding {encoding[:40]!r} is not supported")
    inflater = zlib.decompressobj(wbits=31)  # gzip
    try:
        content = inflater.decompress(body, MOST_BYTES + 1)
    except zlib.error as error:
        raise SourceError("failed to fetch JWKS: the answer is not valid gzip") from error
    if len(content) > MOST_BYTES:
        raise SourceError(f"failed to fetch JWKS: more than {MOST_BYTES} bytes")
    if not inflater.eof:
        raise SourceError("failed to fetch JWKS: the answer is cut short")
    return content

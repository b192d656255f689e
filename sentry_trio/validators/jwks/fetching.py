"""Key sets over HTTP: TLS, redirects, compression and freshness."""

import re
import ssl
import zlib
from base64 import b64encode
from collections.abc import Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, unquote, urljoin, urlsplit

import trio
from msgspec.structs import replace

from sentry_trio.ca.pem import blocks
from sentry_trio.errors import InvalidValidatorError
from sentry_trio.http_client import FAILURES, Answer, get
from sentry_trio.reasons import reason_of
from sentry_trio.validators.jwks.keyset import SourceError

MOST_BYTES: Final = 1 << 20
"""Bytes of the longest accepted answer; a key has about 400."""

REDIRECTS: Final = 10
"""Most redirects that are followed, as by Go's client."""

_MOST_CERTIFICATES: Final = 1 << 20
_MOVED: Final = frozenset({301, 302, 303, 307, 308})
_MAX_AGE: Final = re.compile(r'max-age="?([0-9]{1,12})"?')


def make_context(ca_certificate: str) -> ssl.SSLContext:
    """Returns a client's TLS context: TLS 1.2 or later. Blocks, as it reads files.

    Args:
        ca_certificate: PEM, or the path of a file with it, and then no other CA is trusted; empty for the system's.

    Raises:
        InvalidValidatorError: with Dapr's texts `failed to load CA certificate: ` and `failed to add root
            certificate to certificate pool`.
    """
    # Not by create_default_context, which rejects, from Python 3.13 on, authorities that Go and others accept.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if not ca_certificate:
        context.load_default_certs()
        return context
    # An intermediate CA is trusted, too, if it is given.
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
    """Returns a URL for logs: without a user's name and password."""
    try:
        parts = urlsplit(url)
        return parts._replace(netloc=_host(parts)).geturl()
    except ValueError:
        return url.rpartition("@")[2]


def _host(parts: SplitResult) -> str:
    return parts.netloc.rpartition("@")[2]


async def fetch(url: str, tls: ssl.SSLContext, *, timeout: float) -> Answer:  # noqa: ASYNC109  # of the whole
    """Gets a document, decompressed; redirects are followed, but never from https to http. Proxies are not used.

    Args:
        url: URL of http or https.
        tls: see `make_context`.
        timeout: seconds, from the lookup of the name to the last byte.

    Raises:
        SourceError: `failed to fetch JWKS: ` and the reason, also for any status but 200.

    Cancellation: at once.
    """
    try:
        with trio.fail_after(timeout):
            answer = await _follow(url, tls)
    except trio.TooSlowError:
        raise SourceError(f"failed to fetch JWKS: no answer within {timeout:g} s") from None
    except FAILURES as error:
        raise SourceError(f"failed to fetch JWKS: {reason_of(error)}") from error
    if answer.status != HTTPStatus.OK:
        raise SourceError(f"failed to fetch JWKS: status {answer.status}")
    return replace(answer, body=_decompressed(answer.body, answer.headers.get("content-encoding", "identity")))


async def _follow(url: str, tls: ssl.SSLContext) -> Answer:
    for _ in range(REDIRECTS + 1):
        parts = urlsplit(url)
        headers = [("Accept", "application/jwk-set+json, application/json"), *_authorization(parts)]
        # Bytes, as not everything in a URL has to be ASCII.
        target = parts._replace(netloc=_host(parts), fragment="").geturl().encode("ascii")
        answer = await get(target, most_bytes=MOST_BYTES, tls=tls, headers=headers)
        if answer.status not in _MOVED or "location" not in answer.headers:
            return answer
        url = urljoin(url, answer.headers["location"])
        if parts.scheme == "https" and urlsplit(url).scheme != "https":
            raise SourceError("failed to fetch JWKS: a redirect leads from https to another scheme")
    raise SourceError(f"failed to fetch JWKS: more than {REDIRECTS} redirects")


def _authorization(parts: SplitResult) -> list[tuple[str, str]]:
    """Returns the header for the user's name and password of a URL, as Go's client does.

    A redirect to another host has none, so they go no further.
    """
    if parts.username is None:
        return []
    credentials = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return [("Authorization", f"Basic {b64encode(credentials.encode()).decode()}")]


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


def fresh_for(headers: Mapping[str, str], now: datetime) -> float:
    """Returns the seconds that an answer is fresh (RFC 9111, 4.2); 0 if it has no lifetime or must not be stored.

    Args:
        headers: headers of the answer, with names in lower case.
        now: the wall clock, aware; for answers without `Date`.
    """
    directives = [directive.strip().lower() for directive in headers.get("cache-control", "").split(",")]
    if {"no-store", "no-cache"} & set(directives):
        return 0
    for directive in directives:
        if match := _MAX_AGE.fullmatch(directive):
            age = headers.get("age", "")
            return max(0.0, int(match[1]) - (int(age) if age.isdecimal() and len(age) <= 12 else 0))
    expires = _date(headers.get("expires"))
    if expires is None:
        return 0
    return max(0.0, (expires - (_date(headers.get("date")) or now)).total_seconds())


def _date(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        found = parsedate_to_datetime(text)
    except (ValueError, OverflowError, IndexError, TypeError):
        return None
    return found if found.tzinfo else None

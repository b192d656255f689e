"""Sources of a key set: a URL, a file, or the configuration itself."""

import binascii
from base64 import b64decode
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec
import trio
from msgspec.structs import replace

from sentry_trio.errors import InvalidValidatorError
from sentry_trio.telemetry.logs import get_logger
from sentry_trio.tokens.keys import ECDSA, EDDSA, HMAC, PKCS1, PSS, read_keys
from sentry_trio.validators.jwks.keyset import Loaded, Source, SourceError

MOST_KEYS: Final = 256
"""Limit of keys in a set; a larger set is rejected."""

# Characters of an address that a message shows.
_SHOWN: Final = 300

_PUBLIC: Final = PKCS1 | PSS | ECDSA | EDDSA
# A secret is shared by a file or the configuration; the content of a URL is not secret.
_ALL: Final = _PUBLIC | HMAC

_log: Final = get_logger("dapr.sentry.identity.jwks")


def inline_source(text: str) -> Source:
    """Returns a key set in the configuration itself.

    Args:
        text: JSON, or standard base64 of it, with padding or without.

    Raises:
        InvalidValidatorError: it is neither.
    """
    try:
        loaded = _read(_decoded(text), _ALL)
    except SourceError as error:
        raise InvalidValidatorError(
            "failed to init cache: failed to parse property 'location': not a URL, path to local file, or JSON "
            "value (optionally base64-encoded)"
        ) from error

    async def load() -> Loaded:
        await trio.lowlevel.checkpoint()
        return loaded

    return Source("the configuration", load)


def file_source(path: Path, read: Callable[[Path], Awaitable[bytes]]) -> Source:
    """Returns a key set in a file, which is read each time.

    Args:
        path: path of the file.
        read: reads it; raises SourceError.
    """

    async def load() -> Loaded:
        document = await read(path)
        try:
            return _read(document, _ALL)
        except SourceError as error:
            raise SourceError(f"failed to parse JWKS file: {error}") from error

    return Source(str(path), load)


def url_source(url: str, *, ca_certificate: str, timeout: float, now: Callable[[], datetime]) -> Source:
    """Returns a key set that is fetched each time.

    Args:
        url: https, or http without protection against forgery; with or without user name and password.
        ca_certificate: see `fetching.make_context`; read again for each fetch.
        timeout: seconds for one fetch.
        now: the wall clock, aware.

    Raises:
        InvalidValidatorError: the CA certificate cannot be used.
    """
    # With a URL only: the modules for HTTP are not imported elsewhere.
    from sentry_trio.validators.jwks import fetching

    if url.startswith("http://"):
        _log.warning("Loading JWKS from an HTTP endpoint without TLS: this is not recommended on production")
    try:
        fetching.make_context(ca_certificate)
    except InvalidValidatorError as error:
        raise InvalidValidatorError(f"failed to init cache: {error}") from error

    async def load() -> Loaded:
        try:
            # In a thread: the system's roots take some 20 ms.
            context = await trio.to_thread.run_sync(fetching.make_context, ca_certificate, abandon_on_cancel=True)
        except InvalidValidatorError as error:
            raise SourceError(str(error)) from error
        answer = await fetching.fetch(url, context, timeout=timeout)
        try:
            loaded = _read(answer.body, _PUBLIC)
        except SourceError as error:
            raise SourceError(f"failed to fetch JWKS: {error}") from error
        return replace(loaded, fresh_for=fetching.fresh_for(answer.headers, now()))

    return Source(fetching.without_credentials(url), load)


def _decoded(text: str) -> bytes:
    encoded = text.strip().encode(errors="replace")
    try:
        return b64decode(encoded.rstrip(b"=") + b"=" * (-len(encoded.rstrip(b"=")) % 4), validate=True)
    except binascii.Error:
        return encoded


def _read(document: bytes, accepted: frozenset[str]) -> Loaded:
    """Reads a JWK set, or a single JWK.

    Raises:
        SourceError: it is neither, or has more keys than `MOST_KEYS`. A discovery document (OpenID Connect Discovery
            1.0, 3) is recognized, as its address is often given for that of the key set.
    """
    try:
        decoded = msgspec.json.decode(document)
    except (ValueError, RecursionError) as error:
        raise SourceError("not JSON") from error
    members = decoded.get("keys", [decoded] if "kty" in decoded else None) if isinstance(decoded, dict) else None
    if not isinstance(members, list):
        if isinstance(decoded, dict) and isinstance(uri := decoded.get("jwks_uri"), str):
            raise SourceError(f"not a JWK set but a discovery document; use its jwks_uri as the source: {uri[:_SHOWN]}")
        raise SourceError("not a JWK set")
    if len(members) > MOST_KEYS:
        raise SourceError(f"more than {MOST_KEYS} keys")
    found = read_keys(members, accepted)
    return Loaded(found.usable, dropped=found.dropped)

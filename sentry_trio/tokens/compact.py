"""The compact serialization of a signed token (RFC 7515, section 7.1), split into its parts and not verified yet."""

import json
import re
from base64 import b64decode, urlsafe_b64encode
from typing import Any, Final, NoReturn

import msgspec

LONGEST: Final = 16 * 1024
"""Bytes of the longest token that is looked at; usual ones are 1,000 to 2,000 bytes long."""

LAST_SECOND: Final = 253_402_300_799
"""NumericDate (RFC 7519, section 2) of the end of the year 9999, the last one that a datetime has."""

_COMPACT: Final = re.compile(rb"([\w-]*)\.([\w-]*)\.([\w-]*)")


class InvalidTokenError(ValueError):
    """Text that is not a token, or a token of the wrong kind; the message has the reason."""


class Compact(msgspec.Struct, frozen=True):
    """A token, taken apart.

    Attributes:
        header: JSON by the token's maker, not yet verified.
        payload: the claims, likewise.
        signature: as in the token.
        signed: signed part.
    """

    header: bytes
    payload: bytes
    signature: bytes
    signed: bytes


def encode_token(token: str) -> bytes:
    """The bytes of a token that may be looked at.

    Raises:
        InvalidTokenError: it is longer than `LONGEST` or no text that UTF-8 can carry.
    """
    # A character has at least one byte: a text that is too long is rejected before it is encoded.
    if len(token) > LONGEST:
        raise InvalidTokenError(f"longer than {LONGEST} bytes")
    try:
        encoded = token.encode()
    except UnicodeEncodeError as error:
        raise InvalidTokenError("not text") from error
    if len(encoded) > LONGEST:
        raise InvalidTokenError(f"longer than {LONGEST} bytes")
    return encoded


def split_token(token: bytes) -> Compact:
    """Takes a token apart.

    Raises:
        InvalidTokenError: it does not have three parts in base64url.
    """
    parts = _COMPACT.fullmatch(token)
    if parts is None:
        raise InvalidTokenError("invalid JWT")
    try:
        header, payload, signature = (decode_segment(part) for part in parts.groups())
    except ValueError as error:
        raise InvalidTokenError("invalid JWT") from error
    return Compact(header, payload, signature, token[: parts.end(2)])


def decode_segment(segment: bytes) -> bytes:
    """Base64url without padding (RFC 7515, section 2), in the one spelling that an encoder has for these bytes.

    Others differ in bits of the last character that carry nothing (RFC 4648, section 3.5): with them one signature had
    several texts.

    Raises:
        ValueError: it is none.
    """
    decoded = b64decode(segment + b"=" * (-len(segment) % 4), altchars=b"-_", validate=True)
    if urlsafe_b64encode(decoded).rstrip(b"=") != segment:
        raise ValueError("unused bits are not zero")
    return decoded


def read_object(document: bytes) -> dict[str, Any]:
    """A JSON object without duplicate names: two readers might use different values.

    Raises:
        InvalidTokenError: it is none.
    """
    try:
        # Decoded here: of bytes, `json` takes UTF-16 and a byte order mark as well (RFC 8259, section 8.1, does not).
        read = json.loads(document.decode(), object_pairs_hook=_unique, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:  # of the former kind are those of encoding and of overlong numbers
        raise InvalidTokenError("invalid JWT") from error
    if not isinstance(read, dict):
        raise InvalidTokenError("invalid JWT")
    return read


def _unique(members: list[tuple[str, Any]]) -> dict[str, Any]:
    read = dict(members)
    if len(read) != len(members):
        raise ValueError("a duplicate name")
    return read


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")

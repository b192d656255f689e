"""HTTP/2 header lists: checked (RFC 9113, 8.2 and 8.3) and encoded (RFC 7541). No IO."""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import chain
from typing import Final

from .limits import FIELD_BYTES

Header = tuple[bytes, bytes]

_PSEUDO: Final = frozenset({b":method", b":scheme", b":path", b":authority"})
_REQUIRED: Final = frozenset({b":method", b":scheme", b":path"})
# RFC 9113, 8.2.2: headers between two hops of HTTP/1.1.
_OF_CONNECTIONS: Final = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"}
)
# RFC 9113, 8.2.1: neither NUL, CR nor LF anywhere, nor blanks at either end. A search for these takes six times as long
# for a long value, which a peer repeats by a reference of one byte.
_VALUE: Final = re.compile(rb"(?![ \t])[^\0\r\n]*+(?<![ \t])").fullmatch
# RFC 9110, 5.6.2: a token, in lower case.
_NAME: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+").fullmatch
# 2^63 - 1 has 19 digits, and `int` raises ValueError for more than some thousands.
_LENGTH: Final = re.compile(rb"[0-9]{1,19}").fullmatch


class MalformedHeadersError(Exception):
    """Header list that HTTP/2 forbids."""


def check_request(headers: Iterable[Header], *, ended: bool) -> int | None:
    """Checks the header list that opens a stream; returns its content-length, if there is one.

    Args:
        headers: as received.
        ended: true if nothing follows it.

    Raises:
        MalformedHeadersError: it breaks a rule of RFC 9113, 8.1.1, 8.2 or 8.3.1.
    """
    pseudo: dict[bytes, bytes] = {}
    host = length = None
    regular = False
    for name, value in headers:
        if not _VALUE(value):
            raise MalformedHeadersError("a forbidden byte in a header's value")
        if name.startswith(b":"):
            if regular or name in pseudo or name not in _PSEUDO:
                raise MalformedHeadersError("a pseudo-header that is unknown, repeated or late")
            pseudo[name] = value
            continue
        regular = True
        _check_regular(name, value)
        if name == b"host":
            host = value
        elif name == b"content-length":
            if not _LENGTH(value) or length not in {None, int(value)}:
                raise MalformedHeadersError("a content-length that is not a number or too long, or two that differ")
            length = int(value)
    _check_pseudo(pseudo, host)
    if ended and length:
        raise MalformedHeadersError("a body was announced but is missing")
    return length


def check_trailers(headers: Iterable[Header], *, ended: bool) -> None:
    """Checks the header list that ends a request.

    Args:
        headers: as received.
        ended: true if nothing follows it, and nothing that was announced is missing.

    Raises:
        MalformedHeadersError: it breaks a rule of RFC 9113, 8.1 or 8.2.
    """
    if not ended:
        raise MalformedHeadersError("trailers that are not the end, or come before it")
    for name, value in headers:
        if not _VALUE(value):
            raise MalformedHeadersError("a forbidden byte in a trailer's value")
        _check_regular(name, value)  # a pseudo-header's name is not a token


def _check_regular(name: bytes, value: bytes) -> None:
    if not _NAME(name):
        raise MalformedHeadersError("a header's name that is not a lower-case token")
    if name in _OF_CONNECTIONS or (name == b"te" and value != b"trailers"):
        raise MalformedHeadersError("a header that belongs to a connection of HTTP/1.1")


def _check_pseudo(pseudo: dict[bytes, bytes], host: bytes | None) -> None:
    authority = pseudo.get(b":authority")
    if pseudo.get(b":method") == b"CONNECT":  # RFC 9113, 8.5
        right = pseudo.keys() == {b":method", b":authority"}
    else:
        right = pseudo.keys() >= _REQUIRED and bool(pseudo[b":path"])
    if not right:
        raise MalformedHeadersError("a pseudo-header is missing, empty or out of place")
    if (authority if authority is not None else host) is None or host not in {None, authority or host}:
        raise MalformedHeadersError("no authority, or a host that contradicts it")


@lru_cache(maxsize=64)
def compose(headers: tuple[Header, ...]) -> bytes:
    """Composes a header block, the same on every connection: it neither uses nor changes the dynamic table.

    That costs some bytes of an answer, and saves the work and the memory of a table per connection. Most header lists
    of a server are always the same, so blocks are cached.
    """
    return b"".join(map(_field, headers))


def _field(header: Header) -> bytes:
    name, value = header
    if header == (b":status", b"200"):
        return b"\x88"  # RFC 7541, 6.1: entry 8 of the static table
    # RFC 7541, 6.2.2: literal without indexing, new name; neither is Huffman-coded.
    return b"\0" + _length(name) + name + _length(value) + value


def _length(text: bytes) -> bytes:
    """Encodes an integer with a prefix of seven bits (RFC 7541, 5.1)."""
    size = len(text)
    if size < 127:
        return bytes((size,))
    octets = bytearray(b"\x7f")
    size -= 127
    while size >= 128:
        octets.append(size & 127 | 128)
        size >>= 7
    octets.append(size)
    return bytes(octets)


def weight(headers: Sequence[Header]) -> int:
    """Returns the approximate bytes that a header list takes in memory."""
    return FIELD_BYTES * len(headers) + sum(map(len, chain.from_iterable(headers)))

"""HTTP/2 header lists: decoded, checked (RFC 9113, 8.2 and 8.3) and encoded (RFC 7541). No IO."""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final, cast

from hpack import Decoder, HPACKError, OversizedHeaderListError

from . import frames
from .cpu_budget import USUAL_BLOCK_BYTES, USUAL_HEADERS, head_price
from .frames import ErrorCode, ViolationError
from .limits import FIELD_BYTES, HEADER_FRAMES

Header = tuple[bytes, bytes]

_PSEUDO: Final = frozenset({b":method", b":scheme", b":path", b":authority"})
_REQUIRED: Final = frozenset({b":method", b":scheme", b":path"})
# RFC 9113, 8.2.2: what was said between two hops of HTTP/1.1.
_OF_CONNECTIONS: Final = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"}
)
# RFC 9110, 5.6.2: a token, in lower case.
_NAME: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+").fullmatch
# RFC 9113, 8.2.1: neither NUL, CR nor LF anywhere, nor blanks at either end.
# 2^63 - 1 has 19 digits, and `int` raises ValueError for more than some thousands.
_LENGTH: Final = re.compile(rb"[0-9]{1,19}").fullmatch
_UPDATES: Final = frozenset(bytes((octet,)) for octet in range(0x20, 0x40))
# RFC 7541, 4.2 and 6.3: two updates of the table's size at most begin a block; hpack would read thousands.
_TOO_MANY_UPDATES: Final = re.compile(rb"(?:[\x20-\x3e]|\x3f[\x80-\xff]*[\0-\x7f]){3}").match
_BAD_VALUE: Final = re.compile(rb"[\0\r\n]|^[ \t]|[ \t]\Z").search


class MalformedHeadersError(Exception):
    """A header list that HTTP/2 forbids."""


class HeaderBlocks:
    """Reads the header blocks of one connection, one at a time.

    Args:
        limit: bytes of a block, and of the header list in it as HTTP/2 counts it.

    Attributes:
        stream_id: of the block that is coming in; 0 if none is.
        ends_stream: flag of its HEADERS.
        size: bytes of the block that is coming in.
        price: of the last complete block, in control frames that cause as much work; 0 for a usual one.
    """

    __slots__ = ("_decoder", "_limit", "_parts", "ends_stream", "price", "size", "stream_id")

    def __init__(self, limit: int) -> None:
        self.stream_id = 0
        self.ends_stream = False
        self.price = 0
        self._decoder = Decoder(max_header_list_size=limit)
        self._decoder.max_allowed_table_size = frames.HEADER_TABLE_BYTES
        self._limit = limit
        self._parts: list[bytes] = []
        self.size = 0

    def begin(self, stream_id: int, *, ends_stream: bool) -> None:
        """A HEADERS frame has come."""
        self.stream_id = stream_id
        self.ends_stream = ends_stream

    def add(self, part: bytes, *, last: bool) -> list[Header] | None:
        """Takes a part of the block that has begun; returns the header list with the last.

        Raises:
            ViolationError: the block is too large or in too many parts, or cannot be read.
        """
        self._parts.append(part)
        self.size += len(part)
        if self.size > self._limit or len(self._parts) > HEADER_FRAMES:
            raise ViolationError(ErrorCode.ENHANCE_YOUR_CALM)
        if not last:
            return None
        block = b"".join(self._parts)
        self._parts.clear()
        self.size = self.stream_id = 0
        if block[:1] in _UPDATES and _TOO_MANY_UPDATES(block):
            raise ViolationError(ErrorCode.COMPRESSION_ERROR)
        try:
            headers = cast("list[Header]", self._decoder.decode(block, raw=True))
        except OversizedHeaderListError as error:
            raise ViolationError(ErrorCode.ENHANCE_YOUR_CALM) from error
        except (HPACKError, IndexError, TypeError, UnicodeError) as error:  # the last three: bytes that it trips over
            raise ViolationError(ErrorCode.COMPRESSION_ERROR) from error
        # A usual one is part of its frame: a call for it would take longer.
        usual = len(block) <= USUAL_BLOCK_BYTES and len(headers) <= USUAL_HEADERS
        self.price = 0 if usual else head_price(len(block), len(headers))
        return headers


def check_request(headers: Iterable[Header], *, ended: bool) -> int | None:
    """Checks the header list that opens a stream; returns its content-length, if it has one.

    Args:
        headers: as received.
        ended: nothing follows it.

    Raises:
        MalformedError: it breaks a rule of RFC 9113, 8.1.1, 8.2 or 8.3.1.
    """
    pseudo: dict[bytes, bytes] = {}
    host = length = None
    regular = False
    for name, value in headers:
        if _BAD_VALUE(value):
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
        ended: nothing follows it, and nothing that was announced is missing.

    Raises:
        MalformedError: it breaks a rule of RFC 9113, 8.1 or 8.2.
    """
    if not ended:
        raise MalformedHeadersError("trailers that are not the end, or come before it")
    for name, value in headers:
        if _BAD_VALUE(value):
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
    """A header block, the same on every connection: nothing in it refers to the dynamic table or enters it.

    That costs some bytes of an answer, and spares the work and the memory of a table per connection. Most header lists
    of a server are always the same, so blocks are kept.
    """
    return b"".join(map(_field, headers))


def _field(header: Header) -> bytes:
    name, value = header
    if header == (b":status", b"200"):
        return b"\x88"  # RFC 7541, 6.1: entry 8 of the static table
    # RFC 7541, 6.2.2: literal without indexing, new name; neither is Huffman-coded.
    return b"\0" + _length(name) + name + _length(value) + value


def _length(text: bytes) -> bytes:
    """RFC 7541, 5.1: an integer with a prefix of seven bits."""
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
    return sum([len(name) + len(value) + FIELD_BYTES for name, value in headers])

"""Header blocks of requests: joined and decoded (RFC 7541). No IO.

The static table and the Huffman code are hpack's. Its decoder takes six times as long for a usual block, more than all
other work on frames: it logs each integer and each field, and copies the rest of the block for each field.
"""

from collections import deque
from functools import lru_cache
from typing import Final

from hpack import HPACKError
from hpack.huffman_table import decode_huffman
from hpack.table import HeaderTable

from .cpu_budget import USUAL_BLOCK_BYTES, USUAL_HEADERS, head_price
from .frames import HEADER_TABLE_BYTES, ErrorCode, ViolationError
from .headers import Header
from .limits import ENTRY_BYTES, HEADER_FRAMES, USUAL_ENTRIES

_STATIC: Final[tuple[Header, ...]] = HeaderTable.STATIC_TABLE
_DYNAMIC_AT: Final = len(_STATIC) + 1  # index of the newest entry of the dynamic table
# RFC 9113, 6.5.2 and RFC 7541, 4.1: an entry's and a field's size, beyond that of name and value.
_ENTRY_BYTES: Final = 32
# RFC 7541, 6: prefix of the first octet of a representation, and the bits of it in which an integer begins.
_INDEXED: Final = 0x80
_INCREMENTAL: Final = 0x40
_SIZE_UPDATE: Final = 0x20
_INDEX_MASK: Final = 0x7F
_INCREMENTAL_MASK: Final = 0x3F
_LITERAL_MASK: Final = 0x0F
_UPDATE_MASK: Final = 0x1F
_HUFFMAN: Final = 0x80
_LENGTH_MASK: Final = 0x7F
_MOST_UPDATES: Final = 2  # RFC 7541, 4.2
_MOST_BITS: Final = 28  # of an integer; nothing in a block needs as many
_SHORT: Final = 64  # bytes of a Huffman-coded string


class HeaderBlocks:
    """Reads the header blocks of one connection, one at a time.

    Args:
        limit: bytes of a block, and of its header list as HTTP/2 counts it.

    Attributes:
        stream_id: stream of the incomplete block; 0 if there is none.
        ends_stream: flag of its HEADERS.
        size: bytes of the incomplete block.
        price: price of the last complete block, in control frames that cause as much work; 0 for a usual one.
        table_bytes: approximate bytes of memory for the dynamic table beyond a usual one.
    """

    __slots__ = ("_decoder", "_limit", "_parts", "ends_stream", "price", "size", "stream_id", "table_bytes")

    def __init__(self, limit: int) -> None:
        self.stream_id = 0
        self.ends_stream = False
        self.price = 0
        self.table_bytes = 0
        self._decoder = HeaderDecoder(limit)
        self._limit = limit
        self._parts: list[bytes] = []
        self.size = 0

    def begin(self, stream_id: int, *, ends_stream: bool) -> None:
        """Begins a block with a HEADERS frame."""
        self.stream_id = stream_id
        self.ends_stream = ends_stream

    def add(self, part: bytes, *, last: bool) -> list[Header] | None:
        """Adds a part of the block; returns the header list with the last part.

        Raises:
            ViolationError: the block is too large or in too many parts, or cannot be read; `price` is to be paid.
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
        self.price = head_price(len(block), 0)  # if it cannot be read
        headers = self._decoder.decode(block)
        entries = len(self._decoder.entries)
        self.table_bytes = ENTRY_BYTES * (entries - USUAL_ENTRIES) if entries > USUAL_ENTRIES else 0
        # A usual one is part of its frame: a call for it would take longer.
        usual = len(block) <= USUAL_BLOCK_BYTES and len(headers) <= USUAL_HEADERS
        self.price = 0 if usual else head_price(len(block), len(headers))
        return headers


class HeaderDecoder:
    """Decodes the header blocks of one connection, in their order.

    Args:
        limit: bytes of a header list as HTTP/2 counts it.

    Attributes:
        entries: entries of the dynamic table, the newest first.
    """

    __slots__ = ("_entries_bytes", "_limit", "_table_bytes", "entries")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.entries: deque[Header] = deque()
        self._entries_bytes = 0
        self._table_bytes = HEADER_TABLE_BYTES

    def decode(self, block: bytes) -> list[Header]:
        """Decodes a complete block.

        Raises:
            ViolationError: the block cannot be read (COMPRESSION_ERROR), or its list is over the limit
                (ENHANCE_YOUR_CALM). The decoder cannot be used any more.
        """
        try:
            return self._decode(block)
        except (HPACKError, IndexError) as error:  # a Huffman code, the end of the block, or an index is wrong
            raise ViolationError(ErrorCode.COMPRESSION_ERROR) from error

    def _decode(self, block: bytes) -> list[Header]:
        headers: list[Header] = []
        left = self._limit
        at, end = self._update_size(block), len(block)
        while at < end:
            octet = block[at]
            if octet & _INDEXED:
                index, at = _integer(block, at, _INDEX_MASK)
                header = self._entry(index)
            elif octet & _INCREMENTAL:
                header, at = self._literal(block, at, _INCREMENTAL_MASK)
                self._add(header)
            elif octet & _SIZE_UPDATE:
                raise ViolationError(ErrorCode.COMPRESSION_ERROR)  # RFC 7541, 4.2: only at the beginning
            else:
                header, at = self._literal(block, at, _LITERAL_MASK)
            headers.append(header)
            left -= len(header[0]) + len(header[1]) + _ENTRY_BYTES
            if left < 0:
                raise ViolationError(ErrorCode.ENHANCE_YOUR_CALM)
        return headers

    def _literal(self, block: bytes, at: int, mask: int) -> tuple[Header, int]:
        index, at = _integer(block, at, mask)
        if index:
            name = self._entry(index)[0]
        else:
            name, at = _text(block, at)
        value, at = _text(block, at)
        return (name, value), at

    def _entry(self, index: int) -> Header:
        if index >= _DYNAMIC_AT:
            return self.entries[index - _DYNAMIC_AT]
        if index:
            return _STATIC[index - 1]
        raise ViolationError(ErrorCode.COMPRESSION_ERROR)

    def _add(self, header: Header) -> None:
        """Adds an entry; one that is larger than the table empties it (RFC 7541, 4.4)."""
        self.entries.appendleft(header)
        self._entries_bytes += len(header[0]) + len(header[1]) + _ENTRY_BYTES
        if self._entries_bytes > self._table_bytes:
            self._evict()

    def _evict(self) -> None:
        while self._entries_bytes > self._table_bytes:
            name, value = self.entries.pop()
            self._entries_bytes -= len(name) + len(value) + _ENTRY_BYTES

    def _update_size(self, block: bytes) -> int:
        """Reads the size updates that may begin a block; returns the begin of the fields."""
        at = updates = 0
        while at < len(block) and block[at] & 0xE0 == _SIZE_UPDATE:
            size, at = _integer(block, at, _UPDATE_MASK)
            updates += 1
            if size > HEADER_TABLE_BYTES or updates > _MOST_UPDATES:
                raise ViolationError(ErrorCode.COMPRESSION_ERROR)
            self._table_bytes = size
            self._evict()
        return at


def _integer(block: bytes, at: int, mask: int) -> tuple[int, int]:
    """Returns an integer and its end (RFC 7541, 5.1)."""
    number = block[at] & mask
    at += 1
    if number < mask:
        return number, at
    for shift in range(0, _MOST_BITS, 7):
        octet = block[at]
        at += 1
        number += (octet & 0x7F) << shift
        if octet < 0x80:
            return number, at
    raise ViolationError(ErrorCode.COMPRESSION_ERROR)


def _text(block: bytes, at: int) -> tuple[bytes, int]:
    """Returns a string and its end (RFC 7541, 5.2)."""
    huffman = block[at] & _HUFFMAN
    size, at = _integer(block, at, _LENGTH_MASK)
    end = at + size
    if end > len(block):
        raise ViolationError(ErrorCode.COMPRESSION_ERROR)
    text = block[at:end]
    if huffman:
        text = _decoded_short(text) if size <= _SHORT else decode_huffman(text)
    return text, end


# Clients are alike: most strings at the begin of a connection were in others.
_decoded_short = lru_cache(maxsize=256)(decode_huffman)

"""DER: a bounded reader and a writer for the structures of X.509 (X.690).

The reader accepts what Go's cryptobyte accepts, with which Go's crypto/x509 reads every certificate of the mesh: tags
below 31, and definite lengths of at most four octets in their shortest form. It reads no bytes beyond the input and
nests only as deep as the caller's code, so no input can exhaust stack or memory.
"""

import datetime as dt
import re
from contextlib import suppress
from enum import IntEnum
from functools import lru_cache

_UTC_TIME = re.compile(rb"(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)(\d\d|)(?:Z|([+-])(\d\d)(\d\d))")
_GENERALIZED_TIME = re.compile(rb"(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)(?:Z|([+-])(\d\d)(\d\d))")

# Arcs in their shortest form, each below 2^31.
_ARCS = re.compile(rb"[\x00-\x7f]*(?:(?:[\x81-\xff][\x80-\xff]{0,2}|[\x81-\x87][\x80-\xff]{3})[\x00-\x7f]+)*")
_LONGEST_IN_USE = 32  # octets of an object identifier


class MalformedError(ValueError):
    """A field of a certificate or request is malformed; the text names the field."""


class Tag(IntEnum):
    """Tags of the universal class that X.509 uses; those of constructed types have the constructed bit set."""

    BOOLEAN = 0x01
    INTEGER = 0x02
    BIT_STRING = 0x03
    OCTET_STRING = 0x04
    NULL = 0x05
    OBJECT_IDENTIFIER = 0x06
    UTF8_STRING = 0x0C
    NUMERIC_STRING = 0x12
    PRINTABLE_STRING = 0x13
    T61_STRING = 0x14
    IA5_STRING = 0x16
    UTC_TIME = 0x17
    GENERALIZED_TIME = 0x18
    BMP_STRING = 0x1E
    SEQUENCE = 0x30
    SET = 0x31


def context(number: int, *, constructed: bool = False) -> int:
    """Returns the tag of the context-specific class with a number below 31."""
    return (0xA0 if constructed else 0x80) | number


class Reader:
    """Cursor over consecutive DER elements.

    Each reading method consumes one element. It raises `MalformedError`, whose text begins with the name of the field,
    if there is no element, if its tag is another one, or if its content is not valid DER.

    Args:
        der: the bytes.
        start: offset of the first byte to read.
        end: offset behind the last byte to read; the end of `der` if omitted.
    """

    __slots__ = ("_der", "_end", "_position")

    def __init__(self, der: bytes, start: int = 0, end: int | None = None) -> None:
        self._der = der
        self._position = start
        self._end = len(der) if end is None else end

    def __bool__(self) -> bool:
        """Returns whether bytes are left to read."""
        return self._position < self._end

    def next_is(self, tag: int) -> bool:
        """Returns whether the next element has this tag; consumes nothing."""
        return self._position < self._end and self._der[self._position] == tag

    def element(self, field: str, tag: int | None = None) -> bytes:
        """Reads an element with this tag, or with any tag, and returns tag, length and content."""
        start = self._position
        return self._der[start : self._bounds(field, tag)[1]]

    def content(self, field: str, tag: int) -> bytes:
        """Reads an element and returns its content."""
        start, end = self._bounds(field, tag)
        return self._der[start:end]

    def inside(self, field: str, tag: int = Tag.SEQUENCE) -> "Reader":
        """Reads an element and returns a reader of its content."""
        return Reader(self._der, *self._bounds(field, tag))

    def any_content(self, field: str) -> tuple[int, bytes]:
        """Reads an element with any tag and returns tag and content."""
        position = self._position
        start, end = self._bounds(field, None)
        return self._der[position], self._der[start:end]

    def expect(self, field: str, der: bytes) -> None:
        """Reads exactly these bytes: one or more elements whose encoding is known."""
        end = self._position + len(der)
        if end > self._end or not self._der.startswith(der, self._position):
            raise MalformedError(f"wrong {field}")
        self._position = end

    def skip_optional(self, field: str, tag: int) -> None:
        """Reads an element if it has this tag."""
        if self.next_is(tag):
            self._bounds(field, tag)

    def integer(self, field: str, tag: int = Tag.INTEGER) -> int:
        """Reads an integer of any size in its shortest form."""
        content = self.content(field, tag)
        if not content or (len(content) > 1 and content[0] in (0x00, 0xFF) and (content[0] ^ content[1]) < 0x80):
            raise MalformedError(f"{field} is not an integer in its shortest form")
        return int.from_bytes(content, "big", signed=True)

    def boolean(self, field: str) -> bool:
        """Reads a boolean: 00 or FF."""
        content = self.content(field, Tag.BOOLEAN)
        if content not in (b"\x00", b"\xff"):
            raise MalformedError(f"{field} is not a boolean")
        return content == b"\xff"

    def object_identifier(self, field: str) -> str:
        """Reads an object identifier in dotted form; each arc is below 2^31, as in Go."""
        return dotted(self.content(field, Tag.OBJECT_IDENTIFIER), field)

    def algorithm(self, field: str) -> str:
        """Reads the object identifier of an algorithm; "of <number> octets" if it is longer than all in use.

        A client may send one of thousands of arcs, and the dotted form of these would take milliseconds.
        """
        content = self.content(field, Tag.OBJECT_IDENTIFIER)
        if len(content) <= _LONGEST_IN_USE:
            return dotted(content, field)
        if not _ARCS.fullmatch(content):
            raise _not_an_identifier(field)
        return f"of {len(content)} octets"

    def bit_string(self, field: str) -> tuple[bytes, int]:
        """Reads a bit string and returns its octets and the number of unused bits in the last one, which are zero."""
        content = self.content(field, Tag.BIT_STRING)
        unused = content[0] if content else 8
        octets = content[1:]
        if unused > 7 or (unused and (not octets or octets[-1] & ((1 << unused) - 1))):
            raise MalformedError(f"{field} is not a bit string")
        return octets, unused

    def octets_of_bits(self, field: str) -> bytes:
        """Reads a bit string without unused bits: a signature or a public key."""
        octets, unused = self.bit_string(field)
        if unused:
            raise MalformedError(f"{field} has unused bits")
        return octets

    def time(self, field: str) -> dt.datetime:
        """Reads a UTCTime or GeneralizedTime as Go does: seconds are optional in the first, offsets from UTC allowed.

        Returns:
            An aware datetime in UTC; two-digit years are 1950 to 2049 (RFC 5280, 4.1.2.5.1).
        """
        tag = Tag.UTC_TIME if self.next_is(Tag.UTC_TIME) else Tag.GENERALIZED_TIME
        pattern = _UTC_TIME if tag is Tag.UTC_TIME else _GENERALIZED_TIME
        text = self.content(field, tag)
        if len(text) == 13 and tag is Tag.UTC_TIME and text[:12].isdigit() and text[12:] == b"Z":
            century = b"20" if text < b"5" else b"19"
            with suppress(ValueError):
                # Fast path for the usual form, parsed in C.
                return dt.datetime.fromisoformat((century + text[:6] + b"T" + text[6:]).decode())
        found = pattern.fullmatch(text)
        if found is None:
            raise MalformedError(f"{field} is not a time")
        year, month, day, hour, minute, second = (int(each or 0) for each in found.group(1, 2, 3, 4, 5, 6))
        if tag is Tag.UTC_TIME:
            year += 2000 if year < 50 else 1900
        try:
            local = dt.datetime(year, month, day, hour, minute, second, tzinfo=dt.UTC)
            return local - _offset(*found.group(7, 8, 9)) if found[7] else local
        except (ValueError, OverflowError) as error:
            raise MalformedError(f"{field} is not a time: {error}") from error

    def _bounds(self, field: str, tag: int | None) -> tuple[int, int]:
        """Moves past an element and returns where its content begins and ends."""
        der, position, limit = self._der, self._position, self._end
        if position + 2 > limit:
            raise MalformedError(f"{field} is missing" if position >= limit else f"{field} is cut short")
        found = der[position]
        if (tag is not None and found != tag) or found & 0x1F == 0x1F:
            raise MalformedError(f"{field} has an unexpected type (tag 0x{found:02x})")
        length = der[position + 1]
        start = position + 2
        if length >= 0x80:
            octets = length & 0x7F
            start += octets
            if not 1 <= octets <= 4 or start > limit:
                raise MalformedError(f"{field} has a length that cannot be read")
            length = int.from_bytes(der[start - octets : start], "big")
            if length < 0x80 or not der[start - octets]:
                raise MalformedError(f"{field} has a length that is not in its shortest form")
        end = start + length
        if end > limit:
            raise MalformedError(f"{field} is cut short")
        self._position = end
        return start, end


def dotted(content: bytes, field: str = "object identifier") -> str:
    """Returns the dotted form of an object identifier's content.

    Raises:
        MalformedError: an arc is not in its shortest form, is 2^31 or more, or is cut short.
    """
    # The bytes are untrusted, so nothing longer than the identifiers in use is kept in memory.
    return _remembered_dotted(content, field) if len(content) <= _LONGEST_IN_USE else _dotted(content, field)


def _dotted(content: bytes, field: str) -> str:
    arcs: list[int] = []
    value = octets = 0
    for octet in content:
        value = (value << 7) | (octet & 0x7F)
        octets += 1
        if value >= 1 << 31 or (octets == 1 and octet == 0x80):
            break
        if octet < 0x80:
            arcs += [value] if arcs else [min(value // 40, 2), value - 40 * min(value // 40, 2)]
            value = octets = 0
    if octets or not arcs:
        raise _not_an_identifier(field)
    return ".".join(map(str, arcs))


_remembered_dotted = lru_cache(maxsize=256)(_dotted)


def _not_an_identifier(field: str) -> MalformedError:
    return MalformedError(f"{field} is not an object identifier")


def _offset(sign: bytes, hours: bytes, minutes: bytes) -> dt.timedelta:
    """Returns an offset from UTC; Go accepts zero only as Z, and no more than 24 hours and 59 minutes."""
    offset = dt.timedelta(hours=int(hours), minutes=int(minutes))
    if not offset or int(hours) > 24 or int(minutes) > 59:
        raise ValueError("its offset from UTC is not valid")
    return offset if sign == b"+" else -offset


def encode(tag: int, *contents: bytes) -> bytes:
    """Returns an element with the contents one after another; its length is in the shortest form."""
    content = b"".join(contents)
    length = len(content)
    if length < 0x80:
        return bytes((tag, length)) + content
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(octets))) + octets + content


NULL = encode(Tag.NULL)
"""Parameters of an algorithm that has none."""


def encode_integer(value: int) -> bytes:
    """Returns an INTEGER."""
    return encode(Tag.INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))


def encode_object_identifier(text: str) -> bytes:
    """Returns an OBJECT IDENTIFIER from its dotted form."""
    first, second, *rest = map(int, text.split("."))
    octets = bytearray()
    for arc in (40 * first + second, *rest):
        group = [arc & 0x7F]
        while arc := arc >> 7:
            group.append(0x80 | (arc & 0x7F))
        octets += bytes(reversed(group))
    return encode(Tag.OBJECT_IDENTIFIER, bytes(octets))


def encode_bit_string(octets: bytes) -> bytes:
    """Returns a BIT STRING without unused bits."""
    return encode(Tag.BIT_STRING, b"\x00", octets)


@lru_cache(maxsize=16)
def encode_time(moment: dt.datetime) -> bytes:
    """Returns a UTCTime until 2049 and a GeneralizedTime later, in whole seconds (RFC 5280, 4.1.2.5).

    Args:
        moment: an aware datetime; fractions of a second are dropped.

    Raises:
        ValueError: it is before 1950, where X.509 has no times.
    """
    year, month, day, hour, minute, second, *_ = moment.utctimetuple()
    text = f"{year:04d}{month:02d}{day:02d}{hour:02d}{minute:02d}{second:02d}Z".encode()
    if year < 1950:
        raise ValueError(f"X.509 has no times before 1950, such as {moment:%Y-%m-%d}")
    return encode(Tag.UTC_TIME, text[2:]) if year < 2050 else encode(Tag.GENERALIZED_TIME, text)

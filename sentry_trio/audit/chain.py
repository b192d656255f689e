"""Format of an audit log: lines that carry the hash of the one before and their own. No IO.

A line is one JSON object in ASCII. It begins with `{"audit":1,` and ends with its place in the chain: `seq`, one more
than the line before; `prev`, that line's hash; and `hash`, the SHA-256 of everything before `,"hash":`.

A full disk or a crash may leave a partial line. It is never overwritten or truncated, since the file is only appended
to: it is ended with a newline, and the next line has its length and hash in `cut`.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

if TYPE_CHECKING:
    from _hashlib import HASH

BEGINNING: Final = b'{"audit":1,'
"""Beginning of every line, and of no log line; 1 is the version of the format."""

MAX_LINE: Final = 16 * 1024
"""Bytes of a line, including its newline. The bounds on its texts keep it well below."""

_ANY_VERSION: Final = re.compile(rb'\{"audit":\d+,')
_END: Final = re.compile(rb',"hash":"([0-9a-f]{64})"\}')
_END_BYTES: Final = len(',"hash":""}') + 64
_HASH: Final = re.compile(r"[0-9a-f]{64}")
_TIME: Final = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.\d+)?Z")
_encode: Final = json.JSONEncoder(ensure_ascii=True, separators=(",", ":")).encode


class InvalidLineError(Exception):
    """A line is not part of a chain; the text completes a sentence that begins with the line's number."""


class LaterVersionError(Exception):
    """A line has the format of a later release."""


class ChainPosition(msgspec.Struct, frozen=True):
    """Place of a line in its chain.

    Attributes:
        seq: the number of the line; 0 before the first.
        hash: hash of the line, in hexadecimal.
    """

    seq: int
    hash: str


START: Final = ChainPosition(0, "0" * 64)
"""Position before the first line of a chain."""


class Line(msgspec.Struct, frozen=True):
    """A valid line, whose hash matches its content.

    Attributes:
        link: its place in the chain.
        prev: the hash of the line that it was written after.
        time: when, in RFC 3339.
        members: the whole JSON object but its hash.
    """

    link: ChainPosition
    prev: str
    time: str
    members: Mapping[str, Any]


def encode_members(members: Mapping[str, Any]) -> bytes:
    """The JSON members of a line, without its place in the chain: ASCII in which control characters are escaped."""
    # DEL is the only control character that JSON does not escape; it occurs in strings only.
    return _encode(members)[1:-1].replace("\x7f", "\\u007f").encode("ascii")


def make_line(members: bytes, after: ChainPosition) -> tuple[bytes, ChainPosition]:
    """Makes the line with these members that follows another; returns it, newline included, and its place."""
    seq = after.seq + 1
    body = b'%b%b,"seq":%d,"prev":"%b"' % (BEGINNING, members, seq, after.hash.encode("ascii"))
    link = ChainPosition(seq, hashlib.sha256(body).hexdigest())
    return b'%b,"hash":"%b"}\n' % (body, link.hash.encode("ascii")), link


def read_line(line: bytes) -> Line:
    """Reads a line, given without its newline.

    Raises:
        InvalidLineError: the line is invalid or was altered.
        LaterVersionError: its format is not known here.
    """
    if not _ANY_VERSION.match(line):
        raise InvalidLineError("is not a line of an audit log")
    end = _END.fullmatch(line, max(0, len(line) - _END_BYTES)) if len(line) < MAX_LINE else None
    if end is None:
        raise InvalidLineError("is incomplete: it does not end with a hash")
    body, found = line[: end.start()], end[1].decode("ascii")
    if hashlib.sha256(body).hexdigest() != found:
        raise InvalidLineError("was altered: its hash does not match its content")
    if not line.startswith(BEGINNING):
        raise LaterVersionError
    try:
        members = json.loads(body + b"}")
    except (ValueError, RecursionError) as error:
        raise InvalidLineError("is not JSON") from error
    seq, prev, time = members.get("seq"), members.get("prev"), members.get("time")
    if type(seq) is not int or not _matches(_HASH, prev) or not _matches(_TIME, time):
        raise InvalidLineError("has no valid seq, prev or time")
    return Line(ChainPosition(seq, found), prev, time, members)


def _matches(pattern: re.Pattern[str], value: object) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


# --- writes that were cut short


class PartialLine:
    """Length and hash of bytes that are not a whole line; the bytes are not kept.

    Args:
        data: the bytes.
        after: the partial line that they extend.

    Attributes:
        length: number of bytes.
        hash: over all of them.
    """

    def __init__(self, data: bytes, after: "PartialLine | None" = None) -> None:
        self.length: int = len(data) + (0 if after is None else after.length)
        self.hash: HASH = hashlib.sha256() if after is None else after.hash.copy()
        self.hash.update(data)

    @property
    def cut(self) -> dict[str, object]:
        """The member `cut` of the line after it."""
        return {"bytes": self.length, "sha256": self.hash.hexdigest()}


class ChainEnd(msgspec.Struct, frozen=True):
    """End of the chain so far.

    Attributes:
        link: the last whole line.
        partial: the bytes after it.
        newline_due: the last byte is not a newline.
        is_damaged: there is a last line, and it is not as it was written. No crash leaves a file so, and the chain
            cannot continue: another one begins.
    """

    link: ChainPosition = START
    partial: PartialLine | None = None
    newline_due: bool = False
    is_damaged: bool = False

    def extended(self, data: bytes, *, newline_due: bool) -> "ChainEnd":
        """This end with more bytes that are not a whole line."""
        return ChainEnd(self.link, PartialLine(data, self.partial), newline_due)


class Batches:
    """Composes batches of lines; after each, `settle` records the written part.

    Args:
        end: end of the existing chain.

    Attributes:
        end: end of the chain, with the lines since then.
    """

    def __init__(self, end: ChainEnd) -> None:
        self.end = end
        self._newline = b""
        self._lines: list[tuple[bytes, ChainPosition]] = []

    def compose(self, members: Sequence[bytes]) -> bytes:
        """The bytes of lines with these members."""
        end = self.end
        self._newline = b"\n" if end.newline_due else b""
        self._lines = []
        link, cut = end.link, b""
        if end.partial is not None:
            cut = b"," + encode_members({"cut": PartialLine(self._newline, end.partial).cut})
        for each in members:
            line, link = make_line(each + cut, link)
            cut = b""
            self._lines.append((line, link))
        return self._newline + b"".join(line for line, _ in self._lines)

    def settle(self, taken: int) -> int:
        """Records that `taken` bytes of the batch were written; returns the number of its lines in the file."""
        newline, rest = self._newline[:taken], taken - len(self._newline)
        end = self.end
        if newline:
            end = ChainEnd(end.link) if end.partial is None else end.extended(newline, newline_due=False)
        whole = 0
        for line, link in self._lines:
            if rest < len(line) - 1:
                break
            # All but the newline is enough: the next write begins with that.
            end = ChainEnd(link, newline_due=rest < len(line))
            rest -= len(line)
            whole += 1
        if rest > 0:
            end = end.extended(self._lines[whole][0][:rest], newline_due=True)
        self.end, self._lines = end, []
        return whole

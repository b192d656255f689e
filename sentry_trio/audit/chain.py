"""Lines that carry the hash of the one before, and their own.

A line is one JSON object in ASCII. It begins with `{"audit":1,` and ends with its place in the chain: `seq`, one more
than the line before; `prev`, that line's hash; and `hash`, the SHA-256 of everything that stands before `,"hash":`.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

BEGINNING: Final = b'{"audit":1,'
"""How every line begins, and no line of a log; 1 is the version of the form."""

LONGEST: Final = 16 * 1024
"""Bytes of a line, its newline included. All that is written into one is bounded well below."""

_ANY_VERSION: Final = re.compile(rb'\{"audit":\d+,')
_END: Final = re.compile(rb',"hash":"([0-9a-f]{64})"\}')
_END_BYTES: Final = len(',"hash":""}') + 64
_HASH: Final = re.compile(r"[0-9a-f]{64}")
_TIME: Final = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.\d+)?Z")
_encode: Final = json.JSONEncoder(ensure_ascii=True, separators=(",", ":")).encode


class InvalidLineError(Exception):
    """This is no line of a chain; the text says why, as the end of a sentence that begins with the line."""


class LaterVersionError(Exception):
    """This is a line, in a form that a later release has introduced."""


@dataclass(frozen=True, slots=True)
class Link:
    """Where a chain has come to.

    Attributes:
        seq: the number of its last line; 0 for a chain without lines.
        hash: of that line, in hexadecimal.
    """

    seq: int
    hash: str


START: Final = Link(0, "0" * 64)
"""What the first line of a chain follows."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line that is as it was written, or was made anew with its hash.

    Attributes:
        link: where the chain is with it.
        prev: the hash of the line that it was written after.
        time: when, in RFC 3339.
        members: all that it says.
    """

    link: Link
    prev: str
    time: str
    members: Mapping[str, Any]


def encode_members(members: Mapping[str, Any]) -> bytes:
    """The members of a line, without what makes it one: ASCII in which every control character is an escape."""
    # DEL is the one control character that JSON leaves alone; it can only stand inside strings.
    return _encode(members)[1:-1].replace("\x7f", "\\u007f").encode("ascii")


def make_line(members: bytes, after: Link) -> tuple[bytes, Link]:
    """The line with these members that follows another, newline included, and where the chain is with it."""
    seq = after.seq + 1
    body = b'%b%b,"seq":%d,"prev":"%b"' % (BEGINNING, members, seq, after.hash.encode("ascii"))
    link = Link(seq, hashlib.sha256(body).hexdigest())
    return b'%b,"hash":"%b"}\n' % (body, link.hash.encode("ascii")), link


def read_line(line: bytes) -> Line:
    """Reads a line, given without its newline.

    Raises:
        InvalidLineError: it is none, or not as it was written.
        LaterVersionError: its form is not known here.
    """
    if not _ANY_VERSION.match(line):
        raise InvalidLineError("is no line of an audit log")
    end = _END.fullmatch(line, max(0, len(line) - _END_BYTES)) if len(line) < LONGEST else None
    if end is None:
        raise InvalidLineError("is not whole: it does not end with a hash")
    body, found = line[: end.start()], end[1].decode("ascii")
    if hashlib.sha256(body).hexdigest() != found:
        raise InvalidLineError("was altered: its hash is not that of what it says")
    if not line.startswith(BEGINNING):
        raise LaterVersionError
    try:
        members = json.loads(body + b"}")
    except (ValueError, RecursionError) as error:
        raise InvalidLineError("is no JSON") from error
    seq, prev, time = members.get("seq"), members.get("prev"), members.get("time")
    if type(seq) is not int or not _matches(_HASH, prev) or not _matches(_TIME, time):
        raise InvalidLineError("has no seq, prev or time")
    return Line(Link(seq, found), prev, time, members)


def _matches(pattern: re.Pattern[str], value: object) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None

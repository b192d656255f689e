"""Where the chain of a file ends, so that a process can go on with it."""

import os
from dataclasses import dataclass
from typing import Final

from sentry_trio.audit.batch import End
from sentry_trio.audit.chain import BEGINNING, START, InvalidLineError, LaterVersionError, Link, read_line
from sentry_trio.errors import AuditLogError

MOST: Final = 1024 * 1024
"""Bytes at the end of a file in which a whole line has to be, for the chain to go on."""


@dataclass(frozen=True, slots=True)
class Found:
    """How a file ends.

    Attributes:
        end: what to go on from.
        is_damaged: there is a last line, and it is not as it was written. No crash leaves a file so, and the chain
            cannot go on from it: another one begins.
    """

    end: End
    is_damaged: bool = False


def find_end(descriptor: int) -> Found:
    """Reads the end of a file, at most 1 MiB, from the last line backwards.

    What a crash leaves is whole lines and then a piece of one, or several, where more was tried to write. Anything else
    is damage.

    Raises:
        AuditLogError: the file is something else than an audit log.
        OSError: it cannot be read.
    """
    size = os.fstat(descriptor).st_size
    head = os.pread(descriptor, len(BEGINNING), 0)
    if not BEGINNING.startswith(head):
        raise AuditLogError("it is something else than an audit log")
    lines = _read(descriptor, max(0, size - MOST), size).split(b"\n")
    torn = lines.pop()
    if (whole := _read_link(torn)) is not None:
        return Found(End(whole, newline_due=True))
    pieces = [torn]
    last = None
    while lines and (last := _read_link(lines[-1])) is None:
        pieces.append(lines.pop())
    if last is None and size > MOST:
        return Found(End(START, newline_due=bool(torn)), is_damaged=True)
    if not torn and len(pieces) > 1:
        return Found(End(START), is_damaged=True)
    left = b"\n".join(reversed(pieces))
    end = End(last or START)
    return Found(end.and_torn(left, newline_due=True) if left else end)


def _read(descriptor: int, start: int, end: int) -> bytes:
    chunks = []
    while start < end and (chunk := os.pread(descriptor, end - start, start)):
        chunks.append(chunk)
        start += len(chunk)
    return b"".join(chunks)


def _read_link(line: bytes) -> Link | None:
    try:
        return read_line(line).link
    except (InvalidLineError, LaterVersionError):
        return None

"""Sinks that the lines of an audit log are appended to, and the end of its chain. All block: call in a thread."""

import contextlib
import errno
import fcntl
import os
import select
import stat
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import Final

from sentry_trio.audit.chain import BEGINNING, ChainEnd, ChainPosition, InvalidLineError, LaterVersionError, read_line
from sentry_trio.errors import AuditLogError
from sentry_trio.reasons import reason_of

MAX_TAIL: Final = 1024 * 1024
"""Bytes at the end of a file among which there has to be a whole line for the chain to continue."""

_FLAGS: Final = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_NO_LOCKS: Final = {errno.EINVAL, errno.ENOLCK, errno.ENOTSUP}  # file systems without locks


class Sink:
    """A file that only this process appends to, or standard output.

    Args:
        descriptor: descriptor of the file or of standard output.
        end: end of the chain in it.
        path: path of the file; None for standard output, which stays open.
        exclusive: returns a context that keeps out other writers to the descriptor.
    """

    def __init__(
        self,
        descriptor: int,
        end: ChainEnd,
        *,
        path: Path | None = None,
        exclusive: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self.end = end
        self._descriptor = descriptor
        self._path = path
        self._exclusive = exclusive

    def append(self, data: bytes, *, sync: bool) -> tuple[int, OSError | None]:
        """Appends bytes, and if required waits until they are on the medium.

        Returns:
            How many bytes were written, and the error if not all were, or if they may not survive a power failure.
        """
        taken = 0
        try:
            with self._exclusive():
                while taken < len(data):
                    taken += self._write(data[taken:])
            if sync and self._path is not None:  # a pipe has no medium
                os.fsync(self._descriptor)
        except OSError as error:
            return taken, error
        return taken, None

    def _write(self, data: bytes) -> int:
        try:
            return os.write(self._descriptor, data)
        except BlockingIOError:  # the parent process has made standard output non-blocking
            select.select([], [self._descriptor], [])
            return 0

    def moved(self) -> bool:
        """Returns True if the path names another file by now, or none."""
        if self._path is None:
            return False
        try:
            return not os.path.samestat(self._path.lstat(), os.fstat(self._descriptor))
        except OSError:
            return True

    def close(self) -> None:
        """Closes the file, which releases its lock."""
        if self._path is not None:
            # A failed write was reported by the sync; some file systems report it again here.
            with contextlib.suppress(OSError):
                os.close(self._descriptor)


def open_file(path: Path) -> Sink:
    """Opens a file to append to, created with mode 0600 if absent, and finds the end of its chain.

    A symbolic link is not followed, so that write access to the directory cannot redirect the log.

    Raises:
        AuditLogError: the file cannot be opened, another process appends to it, or it is not an audit log.
    """
    try:
        descriptor = os.open(path, _FLAGS, 0o600)
    except OSError as error:
        link = error.errno == errno.ELOOP
        reason = "symbolic links are not followed" if link else reason_of(error)
        raise AuditLogError(f"{path}: {reason}") from error
    try:
        return Sink(descriptor, _lock(path, descriptor), path=path)
    except (AuditLogError, OSError) as error:
        os.close(descriptor)
        reason = str(error) if isinstance(error, AuditLogError) else reason_of(error)
        raise AuditLogError(f"{path}: {reason}") from error


def _lock(path: Path, descriptor: int) -> ChainEnd:
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        raise AuditLogError("not a regular file")
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise AuditLogError("another process writes to it; each process needs its own file") from error
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
    if found.st_size == 0:
        _sync_directory(path.parent)
    return find_end(descriptor)


def _sync_directory(path: Path) -> None:
    """Makes the name of a new file survive a power failure, if the file system can."""
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def find_end(descriptor: int) -> ChainEnd:
    """Finds the end of the chain in a file; reads at most 1 MiB, from the last line backwards.

    A crash leaves whole lines followed by a partial one, or by several if a later write failed too. Anything else is
    damage.

    Raises:
        AuditLogError: the file is not an audit log.
        OSError: it cannot be read.
    """
    size = os.fstat(descriptor).st_size
    head = os.pread(descriptor, len(BEGINNING), 0)
    if not BEGINNING.startswith(head):
        raise AuditLogError("not an audit log")
    lines = _read(descriptor, max(0, size - MAX_TAIL), size).split(b"\n")
    partial = lines.pop()
    if (whole := _read_link(partial)) is not None:
        return ChainEnd(whole, newline_due=True)
    pieces = [partial]
    last = None
    while lines and (last := _read_link(lines[-1])) is None:
        pieces.append(lines.pop())
    if last is None and size > MAX_TAIL:
        return ChainEnd(newline_due=bool(partial), is_damaged=True)
    if not partial and len(pieces) > 1:
        return ChainEnd(is_damaged=True)
    left = b"\n".join(reversed(pieces))
    end = ChainEnd() if last is None else ChainEnd(last)
    return end.extended(left, newline_due=True) if left else end


def _read(descriptor: int, start: int, end: int) -> bytes:
    chunks = []
    while start < end and (chunk := os.pread(descriptor, end - start, start)):
        chunks.append(chunk)
        start += len(chunk)
    return b"".join(chunks)


def _read_link(line: bytes) -> ChainPosition | None:
    try:
        return read_line(line).link
    except (InvalidLineError, LaterVersionError):
        return None

"""Where the lines of an audit log go. Everything here blocks, and is called in a worker thread."""

import errno
import fcntl
import os
import select
import stat
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from sentry_trio.audit.batch import End
from sentry_trio.audit.chain import START
from sentry_trio.audit.tail import Found, find_end
from sentry_trio.errors import AuditLogError

STDOUT: Final = "stdout"
"""What names standard output in place of a path."""

_FLAGS: Final = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_NO_LOCKS: Final = {errno.EINVAL, errno.ENOLCK, errno.ENOTSUP}  # file systems that have none


class Sink(Protocol):
    """What lines are written to, and only ever appended to."""

    def write(self, data: bytes) -> int:
        """Takes bytes; returns how many. Raises OSError where it can take none."""

    def sync(self) -> None:
        """Returns when all that was taken will outlast a loss of power, where that can be had. Raises OSError."""

    def moved(self) -> bool:
        """Whether what was opened is found under its name no more."""

    def close(self) -> None:
        """Gives it up."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A sink that is ready to be appended to.

    Attributes:
        sink: the sink.
        found: how what is there ends.
    """

    sink: Sink
    found: Found


class FileSink:
    """A file that only this process appends to; see `open_file`."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor

    def write(self, data: bytes) -> int:
        """Appends bytes; returns how many."""
        return os.write(self._descriptor, data)

    def sync(self) -> None:
        """Waits until the file is on the medium."""
        os.fsync(self._descriptor)

    def moved(self) -> bool:
        """Whether the path names another file by now, or none."""
        try:
            found = self._path.lstat()
        except OSError:
            return True
        return not os.path.samestat(found, os.fstat(self._descriptor))

    def close(self) -> None:
        """Closes it, which gives the lock back."""
        os.close(self._descriptor)


class StandardOutput:
    """Standard output, between whose log lines audit lines stand whole.

    Args:
        descriptor: of standard output.
        alone: holds back, for a block, whoever else writes there.
    """

    def __init__(self, descriptor: int, alone: Callable[[], AbstractContextManager[None]]) -> None:
        self._descriptor = descriptor
        self._alone = alone

    def write(self, data: bytes) -> int:
        """Writes all bytes; fewer where that fails on the way."""
        taken = 0
        with self._alone():
            while taken < len(data):
                try:
                    taken += os.write(self._descriptor, data[taken:])
                except BlockingIOError:  # the parent process has made it non-blocking
                    select.select([], [self._descriptor], [])
                except OSError:
                    if taken:
                        return taken
                    raise
        return taken

    def sync(self) -> None:
        """A pipe has no medium: what was written is its reader's."""

    def moved(self) -> bool:
        """It is always there."""
        return False

    def close(self) -> None:
        """It stays open, for the log."""


def open_stdout(descriptor: int, alone: Callable[[], AbstractContextManager[None]]) -> Opened:
    """Standard output, where every process begins a chain of its own."""
    return Opened(StandardOutput(descriptor, alone), Found(End(START)))


def open_file(path: Path) -> Opened:
    """Opens a file to append to, made with mode 0600 if it is not there, and finds out where its chain ends.

    A symbolic link is not followed, so that nobody who may write to the directory can have another file appended to.

    Raises:
        AuditLogError: it cannot be opened, another process appends to it, or it is something else.
    """
    try:
        descriptor = os.open(path, _FLAGS, 0o600)
    except OSError as error:
        link = error.errno == errno.ELOOP
        reason = "it is a symbolic link, which is not followed" if link else error.strerror or str(error)
        raise AuditLogError(f"{path}: {reason}") from error
    try:
        return _opened(path, descriptor)
    except (AuditLogError, OSError) as error:
        os.close(descriptor)
        reason = str(error) if isinstance(error, AuditLogError) else str(error.strerror)
        raise AuditLogError(f"{path}: {reason}") from error


def _opened(path: Path, descriptor: int) -> Opened:
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        raise AuditLogError("it is not a regular file")
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise AuditLogError("another process appends to it; every process needs a file of its own") from error
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
    if found.st_size == 0:
        _sync_directory(path.parent)
    return Opened(FileSink(path, descriptor), find_end(descriptor))


def _sync_directory(path: Path) -> None:
    """Has the name of a new file outlast a loss of power, where the file system can."""
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

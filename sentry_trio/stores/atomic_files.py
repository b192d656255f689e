"""Single file operations, each of which a crash leaves done or not done, and reads that never hang.

The store of files uses one `FileOperations` object for everything it does to a file system, one operation per call, so
that a test can count the operations and end the process between any two of them.
"""

import contextlib
import enum
import errno
import fcntl
import os
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, TypeAlias, TypeVar

import msgspec

from sentry_trio.reasons import reason_of

LIMIT: Final = 1024 * 1024
"""The most bytes of a file that are read: 1 MiB, about a thousand certificates."""

PASSES: Final = 10
"""Most readings of files until two agree: within about 0.9 s."""

_PAUSE: Final = 0.02  # s, grows with every pass
_LOCK_STEP: Final = 0.05  # s between two attempts at a lock that another process holds
_NO_DIRECTORY_SYNC: Final = {errno.EINVAL, errno.ENOTSUP}  # file systems where a directory cannot be flushed

T = TypeVar("T")


class Unreadable(msgspec.Struct, frozen=True):
    """File that exists, or may exist, and cannot be read; `reason` is the operating system's or ours."""

    reason: str


Content: TypeAlias = bytes | Unreadable | None
"""Content of a path: its bytes, why they cannot be read, or None if nothing is there."""


class Lock(enum.Enum):
    """Result of an attempt to lock a directory."""

    HELD = enum.auto()
    TAKEN = enum.auto()
    UNAVAILABLE = enum.auto()


def os_reason(error: OSError) -> str:
    """Returns `reasons.reason_of` as Go writes it, e.g. `permission denied`."""
    text = reason_of(error)
    return text[:1].lower() + text[1:]


class FileOperations:
    """File operations of the store. All block; all but `read` and `is_link` raise OSError."""

    def read(self, path: Path) -> Content:
        """Reads a whole regular file, through symbolic links; never waits for a FIFO's writer.

        An empty file is `b""`, thus present. A dangling link is unreadable: something was meant to be there.
        """
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        except FileNotFoundError:
            return Unreadable("dangling symbolic link") if self.is_link(path) else None
        except OSError as error:
            return Unreadable(os_reason(error))
        try:
            return self._read_regular(descriptor)
        except OSError as error:
            return Unreadable(os_reason(error))
        finally:
            os.close(descriptor)

    @staticmethod
    def _read_regular(descriptor: int) -> Content:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            return Unreadable("is a directory")
        if not stat.S_ISREG(mode):
            return Unreadable("not a regular file")
        chunks: list[bytes] = []
        left = LIMIT + 1
        while left and (chunk := os.read(descriptor, left)):
            chunks.append(chunk)
            left -= len(chunk)
        return b"".join(chunks) if left else Unreadable(f"larger than {LIMIT} bytes")

    def is_link(self, path: Path) -> bool:
        """Returns true if the last component of a path is itself a symbolic link; false if it cannot be inspected."""
        return path.is_symlink()

    def exists(self, path: Path) -> bool:
        """Returns true if anything, even a dangling link, has this name."""
        return os.path.lexists(path)

    def create(self, path: Path) -> int:
        """Creates a file of mode 0600 under any umask, and opens it for writing; never follows links or reuses one."""
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        os.fchmod(descriptor, 0o600)
        return descriptor

    def inherit(self, descriptor: int, replaced: Path, otherwise: Path, *, keeps_readers: bool) -> None:
        """Gives a new file the owner and group of the one that it will replace, as far as this process may.

        A command that root runs would else leave files that the server cannot read.

        Args:
            descriptor: the new file.
            replaced: the file that it will replace, if it exists.
            otherwise: the file whose owner and group count if it does not.
            keeps_readers: users that can read the replaced file can read the new one; no other user can write it.
        """
        before = _status(replaced)
        if keeps_readers and before is not None:
            os.fchmod(descriptor, before.st_mode & 0o644 | 0o600)
        if owner := before or _status(otherwise):
            # One by one: without privileges a group of the process's own can be given, but no owner.
            for uid, gid in ((-1, owner.st_gid), (owner.st_uid, -1)):
                with contextlib.suppress(OSError):
                    os.fchown(descriptor, uid, gid)

    def write(self, descriptor: int, data: bytes) -> None:
        """Writes all bytes."""
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]

    def sync(self, descriptor: int) -> None:
        """Waits until written data is on the medium."""
        os.fsync(descriptor)

    def close(self, descriptor: int) -> None:
        """Closes a file that `create` opened."""
        os.close(descriptor)

    def rename(self, source: Path, target: Path) -> None:
        """Renames a file within its directory, replacing any file of that name, in one step."""
        source.replace(target)

    def unlink(self, path: Path) -> None:
        """Removes a file, if it exists."""
        path.unlink(missing_ok=True)

    def sync_directory(self, path: Path) -> None:
        """Waits until the names in a directory are on the medium, if the file system supports that."""
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno not in _NO_DIRECTORY_SYNC:
                raise
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def lock(self, directory: Path, patience: float) -> Iterator[Lock]:
        """Holds an advisory lock (flock) on a directory itself, so that no lock file is left behind.

        The kernel releases the lock when its holder dies. It excludes threads of one process as well as processes.

        Args:
            directory: directory to lock.
            patience: seconds to wait for another holder; after that `Lock.TAKEN` is yielded.

        Yields:
            `Lock.UNAVAILABLE` if the directory cannot be opened or its file system has no such locks.
        """
        try:
            descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            yield Lock.UNAVAILABLE
            return
        try:
            yield _try_lock(descriptor, time.monotonic() + patience)
        finally:
            os.close(descriptor)


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.lstat()
    except OSError:
        return None


def _try_lock(descriptor: int, deadline: float) -> Lock:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return Lock.TAKEN
            time.sleep(_LOCK_STEP)
        except OSError:
            return Lock.UNAVAILABLE
        else:
            return Lock.HELD


def read_settled(read: Callable[[], T]) -> T | None:
    """Calls `read` until two results in a row are equal, with growing pauses; None if they keep changing."""
    previous = read()
    for attempt in range(PASSES):
        current = read()
        if current == previous:
            return current
        previous = current
        time.sleep(_PAUSE * attempt)
    return None

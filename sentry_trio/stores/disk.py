"""Single file operations: what a crash can fall between, and a reading that neither hangs nor mistakes.

Everything that the file store does to a file system goes through one object of `Disk`, one operation per call, so that
a test can count the operations and end the process between any two of them.
"""

import contextlib
import enum
import errno
import fcntl
import os
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

LIMIT: Final = 1024 * 1024
"""The most bytes of a file that are read: 1 MiB, about a thousand certificates."""

_LOCK_STEP: Final = 0.05  # s between two attempts at a lock that another process holds
_NO_DIRECTORY_SYNC: Final = {errno.EINVAL, errno.ENOTSUP}  # file systems where a directory cannot be flushed


@dataclass(frozen=True, slots=True)
class Trouble:
    """A file that is there, or may be there, and cannot be read; `reason` is the operating system's or ours."""

    reason: str


Content: TypeAlias = bytes | Trouble | None
"""What stands at a path: its bytes, why they cannot be read, or None when nothing is there."""


class Lock(enum.Enum):
    """How an attempt to lock a directory ended."""

    HELD = enum.auto()
    TAKEN = enum.auto()
    UNAVAILABLE = enum.auto()


def reason_of(error: OSError) -> str:
    """What the operating system says, without errno and path, e.g. ``permission denied``."""
    text = error.strerror or type(error).__name__
    return text[:1].lower() + text[1:]


class Disk:
    """The file operations of the store. All block; all but `read` and `is_link` raise OSError."""

    def read(self, path: Path) -> Content:
        """Read a whole regular file, through symbolic links; never waits for a FIFO's writer.

        A file that is empty is `b""`, thus present. A link that leads nowhere is trouble: something was meant to be
        there.
        """
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        except FileNotFoundError:
            return Trouble("dangling symbolic link") if self.is_link(path) else None
        except OSError as error:
            return Trouble(reason_of(error))
        try:
            return self._read_regular(descriptor)
        except OSError as error:
            return Trouble(reason_of(error))
        finally:
            os.close(descriptor)

    @staticmethod
    def _read_regular(descriptor: int) -> Content:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            return Trouble("is a directory")
        if not stat.S_ISREG(mode):
            return Trouble("not a regular file")
        chunks: list[bytes] = []
        left = LIMIT + 1
        while left and (chunk := os.read(descriptor, left)):
            chunks.append(chunk)
            left -= len(chunk)
        return b"".join(chunks) if left else Trouble(f"larger than {LIMIT} bytes")

    def is_link(self, path: Path) -> bool:
        """Whether the last component of a path is itself a symbolic link; False when it cannot be looked at."""
        return path.is_symlink()

    def exists(self, path: Path) -> bool:
        """Whether anything, even a dangling link, has this name."""
        return os.path.lexists(path)

    def create(self, path: Path) -> int:
        """Make a new file of mode 0600, whatever the umask, and open it for writing; never follows or reuses."""
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        os.fchmod(descriptor, 0o600)
        return descriptor

    def write(self, descriptor: int, data: bytes) -> None:
        """Write all bytes."""
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]

    def sync(self, descriptor: int) -> None:
        """Wait until what was written is on the medium."""
        os.fsync(descriptor)

    def close(self, descriptor: int) -> None:
        """Close a file that `create` opened."""
        os.close(descriptor)

    def rename(self, source: Path, target: Path) -> None:
        """Give a file another name in its directory, taking the place of what had it, in one step."""
        source.replace(target)

    def unlink(self, path: Path) -> None:
        """Remove a name; none there is fine."""
        path.unlink(missing_ok=True)

    def sync_directory(self, path: Path) -> None:
        """Wait until the names in a directory are on the medium, where the file system can tell."""
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
        """Hold an advisory lock (flock) on a directory itself, so that no lock file is left behind.

        The kernel gives the lock back when its holder dies. It excludes threads of one process as well as processes.

        Args:
            directory: what to lock.
            patience: seconds to wait for another holder; after that `Lock.TAKEN` is yielded.

        Yields:
            `Lock.UNAVAILABLE` where the directory cannot be opened or its file system has no such locks.
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

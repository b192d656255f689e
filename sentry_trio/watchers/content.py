"""Known content of watched files, as a fingerprint of each."""

import hashlib
import os
import stat
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Final, Self, TypeAlias

import trio

LIMIT: Final = 4 * 1024 * 1024
"""The most bytes of a file that are hashed: 4 MiB, above the limit of every watched file."""

_CHUNK: Final = 128 * 1024
_ABSENT: Final = "absent"

Look: TypeAlias = Callable[[frozenset[Path]], Awaitable[Mapping[Path, str]]]
"""Makes a fingerprint of each file."""


def fingerprint(path: Path) -> str:
    """Returns the SHA-256 of a regular file, else its state, e.g. absent or unreadable.

    Blocks, but never waits for the writer of a FIFO. The fingerprint of a file beyond `LIMIT` is its size and
    modification time, in case an option names a log.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except FileNotFoundError:
        return _ABSENT
    except OSError as error:
        return f"unreadable: {error.errno}"
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            return f"not a file: {stat.S_IFMT(status.st_mode)}"
        return _digest(descriptor) or f"large: {status.st_size} {status.st_mtime_ns}"
    except OSError as error:
        return f"unreadable: {error.errno}"
    finally:
        os.close(descriptor)


def _digest(descriptor: int) -> str | None:
    sha256 = hashlib.sha256()
    left = LIMIT + 1
    while left and (chunk := os.read(descriptor, min(left, _CHUNK))):
        sha256.update(chunk)
        left -= len(chunk)
    return _content(sha256.hexdigest()) if left else None


def _content(hexdigest: str) -> str:
    return f"sha256: {hexdigest}"


async def look(paths: frozenset[Path]) -> Mapping[Path, str]:
    """Returns the fingerprints of files, taken in a thread.

    Cancellation: at once; the thread, which changes nothing, ends by itself.
    """
    return await trio.to_thread.run_sync(lambda: {path: fingerprint(path) for path in paths}, abandon_on_cancel=True)


class ContentTracker:
    """Watched files and the known content of each: loaded, written, or already reported.

    Create one before the files are loaded: the watch then finds changes between loading and its start. After loading,
    `accept` the loaded bytes: then no change before, during or after loading is missed or reported twice.

    Args:
        known: fingerprint of each watched file.
        look: makes fingerprints.
    """

    def __init__(self, known: Mapping[Path, str], *, look: Look = look) -> None:
        self._known = dict(known)
        self._look = look
        self._turn = trio.Lock()

    @classmethod
    async def start(cls, paths: Collection[Path]) -> Self:
        """Makes a tracker that knows the current contents of files, which need not exist.

        Cancellation: at once.
        """
        return cls(await look(frozenset(paths)))

    @property
    def paths(self) -> frozenset[Path]:
        """The watched files."""
        return frozenset(self._known)

    def accept(self, contents: Mapping[Path, bytes | None]) -> None:
        """Marks these contents as known, e.g. those just loaded; None for no file. Ignores paths not watched."""
        for path in self._known.keys() & contents.keys():
            content = contents[path]
            self._known[path] = _ABSENT if content is None else _content(hashlib.sha256(content).hexdigest())

    def own_write(self) -> AbstractAsyncContextManager[None]:
        """Pauses the watch while its own process writes; the block marks what it has written by `accept`."""
        return self._turn

    async def changed(self) -> frozenset[Path]:
        """Returns the files whose content is not the known one, which stays as it is.

        Cancellation: at once.
        """
        async with self._turn:
            return self._differences(await self._look(self.paths))

    async def take_changed(self) -> frozenset[Path]:
        """Returns the changed files, and marks the current contents as known.

        Cancellation: at once; the known contents stay as they are.
        """
        async with self._turn:
            present = await self._look(self.paths)
            differences = self._differences(present)
            self._known = dict(present)
            return differences

    def _differences(self, present: Mapping[Path, str]) -> frozenset[Path]:
        return frozenset(path for path, content in present.items() if content != self._known[path])

"""Saves that are killed: run as a process of its own, it forks a child per crash point and kills it there.

    python -m testkit.crashing DIRECTORY old|none

For each N, DIRECTORY/N is made, filled with the old set or nothing, and a child saves the new set into it until, for
real, SIGKILL ends it before its Nth file operation (a write is torn in the middle). The last N is the one whose child
finished. A fork is safe here, and only here: this process has one thread.
"""

import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sentry_trio.ca.bundle import StoredBundle
from sentry_trio.ca.parts import BUNDLE, bundle_of, bundle_parts
from sentry_trio.errors import Part
from sentry_trio.stores.atomic_files import FileOperations
from sentry_trio.stores.directory import PATIENCE
from sentry_trio.stores.file_transaction import FileTransaction
from testkit.stores import by_part

OLD = StoredBundle(anchors=b"old anchors\n", chain=b"old chain\n", key=b"old key\n")
NEW = StoredBundle(anchors=b"new anchors\n", chain=b"new chain\n", key=b"new key\n")
NEXT = StoredBundle(anchors=b"next anchors\n", chain=b"next chain\n", key=b"next key\n")

OPERATIONS = frozenset({"create", "write", "sync", "close", "rename", "unlink", "sync_directory"})


def paths(directory: Path) -> tuple[Path, Path, Path]:
    """The key in a directory of its own: two directories then have to be flushed."""
    (directory / "private").mkdir(exist_ok=True)
    return directory / "ca.crt", directory / "issuer.crt", directory / "private" / "issuer.key"


def transaction(files: Sequence[Path], operations: FileOperations | None = None) -> FileTransaction:
    """The files of the trust bundle, to be replaced as one."""
    return FileTransaction(by_part(files), Part.KEY, operations or FileOperations(), PATIENCE)


def read(files: FileTransaction) -> StoredBundle | None:
    """The trust bundle; it is not there in part."""
    parts = files.read(BUNDLE)
    return bundle_of(parts) if parts else None


def write(files: FileTransaction, bundle: StoredBundle) -> None:
    """Replaces any trust bundle."""
    assert files.replace(bundle_parts(bundle), expected={})


class ObservedFiles(FileOperations):
    """Reports each operation that changes something, before (with its number) and after (with its result)."""

    def __init__(
        self,
        before: Callable[[int, str, tuple[Any, ...]], None] = lambda *_: None,
        after: Callable[[str, tuple[Any, ...], Any], None] = lambda *_: None,
    ) -> None:
        self.count = 0
        self._before = before
        self._after = after

    def __getattribute__(self, name: str) -> Any:
        attribute = super().__getattribute__(name)
        if name not in OPERATIONS:
            return attribute

        def observed(*arguments: Any) -> Any:
            number = self.count
            self.count += 1
            self._before(number, name, arguments)
            result = attribute(*arguments)
            self._after(name, arguments, result)
            return result

        return observed


def kill_at(point: int) -> ObservedFiles:
    def before(number: int, name: str, arguments: tuple[Any, ...]) -> None:
        if number == point:
            if name == "write":
                descriptor, data = arguments
                os.write(descriptor, data[: len(data) // 2])
            os.kill(os.getpid(), signal.SIGKILL)

    return ObservedFiles(before)


def main(directory: Path, before: str) -> None:
    point = 0
    while True:
        here = directory / str(point)
        here.mkdir()
        if before == "old":
            write(transaction(paths(here)), OLD)
        child = os.fork()
        if child == 0:
            write(transaction(paths(here), kill_at(point)), NEW)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):
            sys.exit(os.WEXITSTATUS(status))
        assert os.WTERMSIG(status) == signal.SIGKILL
        point += 1


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])

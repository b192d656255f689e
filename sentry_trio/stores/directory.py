"""Store of standalone mode: a file per part."""

import os
from collections.abc import Collection, Mapping
from functools import partial
from pathlib import Path
from typing import Final

import trio

from sentry_trio.ca.parts import BUNDLE, BUNDLE_AND_RENEWAL, JWT_KEYS, RENEWAL, Changes, Parts
from sentry_trio.errors import IncompleteBundleError, Part, StoreError
from sentry_trio.stores.atomic_files import FileOperations, Unreadable, read_settled
from sentry_trio.stores.file_transaction import FileTransaction, write_error
from sentry_trio.stores.part_store import PublicParts

PATIENCE: Final = 5.0
"""Seconds that a replacement waits for another process that is writing the same files."""


class DirectoryStore:
    """Files that are read and replaced as one; see `PartStore` and `file_transaction`.

    Dapr Sentry 1.18 regenerates the whole certificate authority if any one file is missing, and writes by truncating,
    unsynced and keeping wide modes. Here only an empty store counts as absent, and a set survives a crash at any moment
    as the old or the new one. Written files have mode 0600, but certificates and JWKS stay readable for those who
    could read the replaced file. Owner and group are kept as far as the process may.

    The files are read until two readings agree, so a swap by another writer is seen as a whole. A file may be up to
    1 MiB. Symbolic links are read through, but never written through or replaced: their owner would put the old
    content back. Directories are not created.

    The trust bundle, with what its renewal keeps beside it, is one set of files and the JWT keys are another, each with
    a journal and a lock of its own: they may be in different directories, and one never prevents the other from being
    read. Beside the files there are, only during a replacement or after a crash, `.<name>.sentry-trio-new` and
    `.<key's name>.sentry-trio-commit`.

    Cancellation: all operations run in a thread and are finished once begun; they return normally even if cancelled.

    Args:
        paths: path of each part's file, the issuer key's among them.
        operations: the file operations; for tests.
        patience: seconds that a replacement waits for another process that is writing.

    Attributes:
        paths: see above.
    """

    def __init__(
        self, paths: Mapping[Part, Path], *, operations: FileOperations | None = None, patience: float = PATIENCE
    ) -> None:
        self.paths = paths
        self._sets = [
            FileTransaction(
                {part: paths[part] for part in parts if part in paths}, key, operations or FileOperations(), patience
            )
            for parts, key in ((BUNDLE_AND_RENEWAL, Part.KEY), (JWT_KEYS, Part.JWT_KEY))
            if key in paths
        ]

    @property
    def place(self) -> str:
        """Directory of the issuer key."""
        return str(self.paths[Part.KEY].parent)

    async def read(self, parts: Collection[Part]) -> Parts:
        """Reads parts; see `PartStore.read`. First completes a replacement that a crash has interrupted.

        Raises:
            StoreError: a file cannot be read, is not a regular file, is too large or a dangling link (texts begin as
                Dapr Sentry's do, e.g. `failed to read issuer key:`); the files keep changing for about 0.9 s; or a
                crash and later edits have left a mixed set.
        """
        return await trio.to_thread.run_sync(self._read, parts, abandon_on_cancel=False)

    def _read(self, parts: Collection[Part]) -> Parts:
        found: dict[Part, bytes] = {}
        for files in self._sets:
            if own := [part for part in parts if part in files]:
                found.update(files.read(own))
        return found

    def _read_bundle(self) -> Parts:
        files = self._bundle_files
        # A file of the trust bundle with the name of another part is not that part.
        renewal = [part for part in RENEWAL if part in files and len(self._sharing(part)) == 1]
        return files.read([*BUNDLE, *renewal], optional=renewal)

    async def read_bundle(self) -> Parts:
        """Reads the trust bundle and the parts of its renewal; see `PartStore.read_bundle`.

        Beside a whole trust bundle, what its renewal keeps is left out, with a warning, if it cannot be read:
        certificates can be issued without it. `replace` fails until it is readable, so nothing is lost.

        Raises:
            IncompleteBundleError: a file of the trust bundle is missing while others exist.
            StoreError: as `read`.
        """
        found = await trio.to_thread.run_sync(self._read_bundle, abandon_on_cancel=False)
        missing = tuple(self.paths[part] for part in BUNDLE if part not in found)
        if found and missing:
            raise IncompleteBundleError(missing, tuple(self.paths[part] for part in found))
        return found

    @property
    def unreadable(self) -> Collection[str]:
        """Reasons why the last `read_bundle` left out parts, with their files."""
        return self._bundle_files.unreadable

    @property
    def _bundle_files(self) -> FileTransaction:
        return next(files for files in self._sets if Part.KEY in files)

    async def replace(self, changes: Changes, *, expected: Changes) -> bool:
        """Replaces parts of one set, durably when this returns; see `PartStore.replace`.

        Raises:
            StoreError: `failed to write file <path>: <reason>`, after `failed to store CA bundle: ` if that is written.
                The set is the old one, or, if the failure came after the commit, the new one: `read` returns it.
        """
        (files,) = (files for files in self._sets if any(part in files for part in changes))
        for part in self.paths:
            if part in files:
                self._check_unshared(part)
        replace = partial(files.replace, changes, expected=expected)
        return await trio.to_thread.run_sync(replace, abandon_on_cancel=False)

    def _check_unshared(self, part: Part) -> None:
        """Raises StoreError if another part has the same file, which this one would overwrite."""
        *others, last = self._sharing(part)
        if others:
            raise write_error([part], self.paths[part], f"{', '.join(others)} and {last} must be different files")

    def _sharing(self, part: Part) -> list[str]:
        """Returns the names of the parts that have the file of this one, its own name among them."""
        return [other.value for other, path in self.paths.items() if path == self.paths[part]]

    async def read_only_reason(self) -> str | None:
        """See `PartStore.read_only_reason`."""
        return await trio.to_thread.run_sync(self._read_only_reason, abandon_on_cancel=True)

    def _read_only_reason(self) -> str | None:
        for path in (self.paths[part] for part in BUNDLE):
            if path.is_symlink():
                return f"{path} is a symbolic link"
            if not os.access(path.parent, os.W_OK):
                return f"directory {path.parent} is not writable"
        return None

    def locate(self, *parts: Part) -> str:
        """See `PartStore.locate`."""
        return ", ".join(f"{part.value} {self.paths[part]}" for part in parts)

    def sources(self, parts: Collection[Part]) -> tuple[str, ...]:
        """See `PartStore.sources`."""
        return tuple(str(self.paths[part]) for part in self.paths if part in parts)


async def read_public_files(anchors: Path, chain: Path) -> PublicParts:
    """Reads two files until two readings agree; the issuer key is not opened, and nothing is written or completed.

    Raises:
        StoreError: a file is missing, cannot be read or is larger than 1 MiB, or they keep changing.

    Cancellation: at once; a reading under way in its thread is left to end by itself.
    """

    def read() -> PublicParts | None:
        return read_settled(lambda: PublicParts(_read(anchors), _read(chain)))

    if parts := await trio.to_thread.run_sync(read, abandon_on_cancel=True):
        return parts
    raise StoreError(f"the files keep changing while they are read: {anchors}, {chain}")


def _read(path: Path) -> bytes:
    content = FileOperations().read(path)
    if content is None:
        raise StoreError(f"{path}: no such file")
    if isinstance(content, Unreadable):
        raise StoreError(f"{path}: {content.reason}")
    return content

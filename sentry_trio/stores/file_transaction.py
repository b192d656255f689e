"""Files at fixed paths that are read and replaced as one.

No system call renames several files together, and the paths may be in different directories, so a replacement is a
small transaction:

1. the new files are written beside the old ones and flushed, and so are the names in their directories. They have mode
   0600, or, if public, the replaced file's readers; owner and group are the replaced file's or else the issuer key's;
2. a journal with the digests of old and new files appears beside the issuer key, by one rename, flushed. This is the
   commit: a crash before it leaves the old set, a crash after it the new one;
3. the new files are renamed into place and old ones removed, the directories flushed, and the journal is removed.

A process that finds a journal completes step 3 first. If that cannot be written, e.g. on a read-only file system or
while another process does it, the new set is read from both places and the files are left alone. Leftovers of step 1
without a journal mean nothing and are removed. `journal.decide` handles files that were edited in between.

Processes take turns by a lock on the issuer key's directory. If the file system has no locks, one writer at a time is
the operator's duty.
"""

import contextlib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Final

from sentry_trio.ca.parts import BUNDLE, PUBLIC, RENEWAL, Changes
from sentry_trio.discreet import Discreet
from sentry_trio.errors import Part, StoreError, UnreadablePartError
from sentry_trio.stores import journal as journals
from sentry_trio.stores.atomic_files import Content, FileOperations, Lock, Unreadable, os_reason, read_settled
from sentry_trio.stores.journal import FileChange, Journal
from sentry_trio.telemetry.logs import get_logger

# Beginnings of error texts; three are Dapr Sentry's.
_READ_PREFIXES: Final = {
    Part.ANCHORS: "failed to read root certificate",
    Part.CHAIN: "failed to read issuer certificate",
    Part.KEY: "failed to read issuer key",
    **{part: f"failed to read {part.value}" for part in RENEWAL},
    Part.JWKS: "error reading JWKS",
    Part.JWT_KEY: "error reading JWT signing key",
}

_log: Final = get_logger("dapr.sentry.ca")


class _Snapshot(Discreet, frozen=True):
    """One reading of everything that matters; two equal ones in a row are taken for the truth."""

    UNSHOWN = frozenset({"files", "temporaries"})

    journal: Journal | None
    files: Mapping[Part, Content]  # the requested ones, and those of the journal
    temporaries: Mapping[Part, Content]  # those of the journal
    has_litter: bool  # leftovers of a transaction that was not committed


def write_error(parts: Collection[Part], path: Path, reason: str) -> StoreError:
    """Returns the error of a file that cannot be written while parts are replaced; its beginning is Dapr Sentry's."""
    prefix = "failed to store CA bundle: " if set(parts) & set(BUNDLE) else ""
    return StoreError(f"{prefix}failed to write file {path}: {reason}")


class FileTransaction:
    """A file per part. All methods block; they are safe against other processes and threads that use this class.

    Args:
        paths: path of each part's file.
        key: the part beside whose file the journal is, and whose directory is locked.
        operations: the file operations.
        patience: seconds that a writer waits for another process that is writing.
    """

    def __init__(self, paths: Mapping[Part, Path], key: Part, operations: FileOperations, patience: float) -> None:
        self._paths = paths
        self._what = "trust bundle" if key is Part.KEY else "JWT signing key"
        self._temporaries = {part: _beside(path, "new") for part, path in paths.items()}
        self._key = paths[key]
        self._journal = _beside(paths[key], "commit")
        self._journal_tmp = _beside(paths[key], "commit-new")
        self._patience = patience
        self.unreadable: frozenset[str] = frozenset()  # reasons why the last reading left out optional parts
        self._litter = (*self._temporaries.values(), self._journal_tmp)
        self._operations = operations

    def __contains__(self, part: object) -> bool:
        return part in self._paths

    # --- reading

    def read(self, parts: Collection[Part], *, optional: Collection[Part] = ()) -> dict[Part, bytes]:
        """Reads those of the parts that exist, after completing or discarding an interrupted transaction.

        Args:
            parts: parts to read.
            optional: those of them that are left out, with a warning, if they cannot be read and all others exist.

        Raises:
            StoreError: a file cannot be read, files keep changing, or a crash and later edits have left a mixed set.
        """
        snapshot = self._settled(parts)
        # A committed transaction has yet to move these into place.
        pending = self._pending(snapshot) or ()
        contents = {part: (snapshot.temporaries if part in pending else snapshot.files)[part] for part in parts}
        if snapshot.journal is not None or snapshot.has_litter:
            self._tidy()
        if all(isinstance(contents[part], bytes) for part in parts if part not in optional):
            self._warn_unreadable({part: contents[part] for part in optional})
        else:
            self._check_readable(contents)
        return {part: content for part in parts if isinstance(content := contents[part], bytes)}

    def _settled(self, parts: Collection[Part]) -> _Snapshot:
        """Reads until two readings agree, so that no swap by another writer falls between two files.

        Both the kubelet (which renames one directory link) and this class change a set in one step that one reading
        may straddle; the next then differs. A writer that takes its time over separate files can still be caught
        half-way, and verification rejects what it left.
        """
        if snapshot := read_settled(lambda: self._snapshot(parts)):
            return snapshot
        raise StoreError(f"the {self._what} keeps changing while it is read: {self._listed(parts)}")

    def _snapshot(self, parts: Collection[Part]) -> _Snapshot:
        # The journal first: if one vanishes after this was read it was completed, and the next reading differs.
        journal = self._read_journal(parts)
        changing = journal or {}
        has_litter = journal is None and any(map(self._operations.exists, self._litter))
        return _Snapshot(
            journal,
            {part: self._operations.read(self._paths[part]) for part in Part if part in {*parts, *changing}},
            {part: self._operations.read(self._temporaries[part]) for part in changing},
            has_litter,
        )

    def _read_journal(self, parts: Collection[Part]) -> Journal | None:
        content = self._operations.read(self._journal)
        if content is None:
            return None
        if isinstance(content, Unreadable):
            # If the directory is the reason, the files that people know are named.
            self._check_readable({part: self._operations.read(self._paths[part]) for part in parts})
            raise StoreError(f"failed to read commit record: {self._journal}: {content.reason}")
        try:
            return journals.decode(content, self._paths)
        except journals.InvalidJournalError as error:
            raise StoreError(
                f"failed to read commit record: {self._journal}: {error}; "
                f"check that the {self._what} beside it is complete, then remove this file"
            ) from error

    def _pending(self, snapshot: _Snapshot) -> frozenset[Part] | None:
        if snapshot.journal is None:
            return None
        self._check_readable({part: snapshot.files[part] for part in snapshot.journal})
        try:
            return journals.decide(snapshot.journal, snapshot.files, snapshot.temporaries)
        except journals.MixedSetError as error:
            raise StoreError(
                f"the {self._what} is a mixed set: a crash interrupted its last change, and files were edited or "
                f"removed since; restore {self._listed(snapshot.journal)} from one set, then remove {self._journal}"
            ) from error

    def _check_readable(self, contents: Mapping[Part, Content]) -> None:
        for reason in self._unreadable_reasons(contents):
            raise UnreadablePartError(reason)

    def _warn_unreadable(self, contents: Mapping[Part, Content]) -> None:
        reasons = frozenset(self._unreadable_reasons(contents))
        for reason in sorted(reasons - self.unreadable):
            _log.warning(f"{reason}; it is treated as missing, and nothing is renewed until it is readable or removed")
        self.unreadable = reasons

    def _unreadable_reasons(self, contents: Mapping[Part, Content]) -> Iterator[str]:
        for part, content in contents.items():
            if isinstance(content, Unreadable):
                yield f"{_READ_PREFIXES[part]}: {self._paths[part]}: {content.reason}"

    def _listed(self, parts: Collection[Part]) -> str:
        return ", ".join(str(path) for part, path in self._paths.items() if part in parts)

    # --- after a crash

    def _tidy(self) -> None:
        """Finishes the transaction that `read` has taken into account; a failed write is left to the next writer."""
        with contextlib.suppress(OSError), self._operations.lock(self._journal.parent, patience=0) as lock:
            if lock is Lock.HELD:
                self._finish()

    def _finish(self) -> None:
        # Under the lock the files are read again: the process that held it before may have finished meanwhile.
        snapshot = self._settled(())
        pending = self._pending(snapshot)
        if snapshot.journal is None:
            if snapshot.has_litter:
                self._discard()
        elif pending is None:
            # The journal goes first: temporaries without it are litter, but a journal without them may be a mixed set.
            self._drop_journal()
            self._discard()
        else:
            self._move_into_place(snapshot.journal, pending)

    def _move_into_place(self, journal: Journal, pending: Collection[Part]) -> None:
        # In the order of `Part`: a key set knows a key before that signs, also to readers that know no journal.
        for part in (each for each in Part if each in pending):
            if journal[part].new is None:
                self._operations.unlink(self._paths[part])
            else:
                self._operations.rename(self._temporaries[part], self._paths[part])
        self._sync_directories(journal)
        self._drop_journal()

    def _drop_journal(self) -> None:
        # Flushed, so that it does not turn up again after a power cut, when files may have been edited since.
        self._operations.unlink(self._journal)
        self._operations.sync_directory(self._journal.parent)

    def _discard(self) -> None:
        for path in self._litter:
            self._operations.unlink(path)

    def _sync_directories(self, parts: Collection[Part]) -> None:
        for directory in dict.fromkeys(self._paths[part].parent for part in parts):
            self._operations.sync_directory(directory)

    # --- writing

    def replace(self, changes: Changes, *, expected: Changes) -> bool:
        """Replaces files as one and durably, if the files are as expected; see `PartStore.replace`.

        Raises:
            StoreError: nothing was changed, unless the failure came after the commit; then the next reading, by any
                process, completes the transaction.
        """
        key = next(self._paths[part] for part in (Part.KEY, *changes) if part in changes)
        directory = self._journal.parent
        try:
            with self._operations.lock(directory, patience=self._patience) as lock:
                if lock is Lock.TAKEN:
                    raise write_error(changes, key, f"another process is writing to {directory}")
                self._finish()
                return self._compare_and_replace(changes, expected)
        except OSError as error:
            path = Path(error.filename) if isinstance(error.filename, str) else key
            raise write_error(changes, path, os_reason(error)) from error

    def _compare_and_replace(self, changes: Changes, expected: Changes) -> bool:
        files = self._settled({*changes, *expected}).files
        different = {part: changes[part] for part in Part if part in changes and changes[part] != files[part]}
        for path, reason in self._obstacles(different, files):
            raise write_error(changes, path, reason)
        if not different:
            return True
        if any(files[part] != content for part, content in expected.items()):
            return False
        self._commit(different, files)
        return True

    def _obstacles(self, changes: Changes, files: Mapping[Part, Content]) -> Iterator[tuple[Path, str]]:
        """Yields the files that make a replacement impossible, and why."""
        for path in (self._paths[part] for part in changes):
            if not path.parent.is_dir():
                yield path, f"directory {path.parent} does not exist; directories are not created"
            if self._operations.is_link(path):
                yield path, "it is a symbolic link, whose target another program manages"
        for part, content in files.items():
            if isinstance(content, Unreadable):
                yield self._paths[part], content.reason

    def _commit(self, changes: Changes, files: Mapping[Part, Content]) -> None:
        digest = journals.digest
        journal = {part: FileChange(digest(files[part]), digest(new)) for part, new in changes.items()}
        try:
            for part, content in changes.items():
                if content is not None:
                    self._write_file(self._temporaries[part], self._paths[part], content, is_public=part in PUBLIC)
            self._sync_directories(changes)
            self._write_file(self._journal_tmp, self._journal, journals.encode(journal))
            self._operations.rename(self._journal_tmp, self._journal)
        except OSError:
            with contextlib.suppress(OSError):  # litter is harmless, and the first error is the one to report
                self._discard()
            raise
        self._operations.sync_directory(self._journal.parent)
        self._move_into_place(journal, changes.keys())

    def _write_file(self, path: Path, replaced: Path, content: bytes, *, is_public: bool = False) -> None:
        descriptor = self._operations.create(path)
        try:
            self._operations.inherit(descriptor, replaced, self._key, keeps_readers=is_public)
            self._operations.write(descriptor, content)
            self._operations.sync(descriptor)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(path)) from error
        finally:
            self._operations.close(descriptor)


def _beside(path: Path, purpose: str) -> Path:
    return path.with_name(f".{path.name}.sentry-trio-{purpose}")

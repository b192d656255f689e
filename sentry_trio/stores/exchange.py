"""Three files at three fixed paths, read and exchanged as one.

No system call renames three files together, and the paths may be in different directories, so an exchange is a small
transaction:

1. the new files are written beside the old ones, mode 0600, and flushed, and so are the names in their directories;
2. a commit record with the digests of old and new files appears beside the key, by one rename, flushed. This is the
   commit: a crash before it leaves the old set, a crash after it the new one;
3. the new files are renamed into place, the directories flushed, and the record is removed.

Whoever finds a record completes step 3 first. Where that cannot be written down, e.g. on a read-only file system or
while another process is at it, the new set is read from both places and the files are left alone. Leftovers of step 1
without a record mean nothing and are removed. `record.decide` says what happens when somebody edits files in between.

Processes take turns by a lock on the key's directory. Where the file system has no locks, one writer at a time is
the operator's duty.

One previous generation is not kept: it would be a second set of private keys to guard, for no reader.
"""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sentry_trio.ca.bundle import StoredBundle
from sentry_trio.errors import IncompleteBundleError, StoreError
from sentry_trio.stores.disk import Content, Disk, Lock, Trouble, reason_of
from sentry_trio.stores.record import (
    Change,
    Completion,
    InvalidRecordError,
    MixedSetError,
    Record,
    decide,
    decode,
    digest,
    encode,
)

PASSES: Final = 10
"""How often the files are read at most until two readings agree: within about 0.7 s."""

PATIENCE: Final = 5.0
"""Seconds that a writer waits for another process that is writing the same files."""

_PAUSE: Final = 0.02  # s, grows with every pass
_Three = tuple[Content, Content, Content]


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """One reading of everything that matters; two equal ones in a row are taken for the truth."""

    record: Content
    targets: _Three
    temporaries: _Three  # looked at only beside a record
    litter: bool  # leftovers of an exchange that was not committed


class Exchange:
    """The three files. All methods block; they are safe against other processes and threads that use this class.

    Args:
        anchors: path of the trust anchors.
        chain: path of the issuer chain.
        key: path of the issuer key.
        disk: the file operations.
    """

    def __init__(self, anchors: Path, chain: Path, key: Path, disk: Disk) -> None:
        self._paths = (anchors, chain, key)
        self._temporaries = (_beside(anchors, "new"), _beside(chain, "new"), _beside(key, "new"))
        self._record = _beside(key, "commit")
        self._unborn_record = _beside(key, "commit-new")
        self._disk = disk

    # --- reading

    def read(self) -> StoredBundle | None:
        """The set that stands, completing or clearing away what a crash has left.

        Returns:
            None when none of the three files is there.

        Raises:
            IncompleteBundleError: one or two files are missing.
            StoreError: a file cannot be read, or the set is not to be made whole.
        """
        snapshot = self._settled()
        contents = self._contents(snapshot)
        if snapshot.record is not None or snapshot.litter:
            self._tidy()
        return self._bundle(contents)

    def _settled(self) -> _Snapshot:
        """Read until two readings agree, so that no atomic swap by another writer falls between the three files.

        Both the kubelet (which renames one directory link) and this class change the set in one step that one
        reading may straddle; the next then differs. A writer that takes its time over three separate files can still
        be caught half-way, and verification refuses what it left.
        """
        previous = self._snapshot()
        for attempt in range(PASSES):
            current = self._snapshot()
            if current == previous:
                return current
            previous = current
            time.sleep(_PAUSE * attempt)
        listed = ", ".join(str(path) for path in self._paths)
        raise StoreError(f"the trust bundle keeps changing while it is read: {listed}")

    def _snapshot(self) -> _Snapshot:
        # The record first: if one vanishes after this was read it was completed, and the next reading differs.
        record = self._disk.read(self._record)
        temporaries: _Three = (None, None, None)
        litter = False
        if record is None:
            litter = any(self._disk.exists(path) for path in (*self._temporaries, self._unborn_record))
        else:
            temporaries = self._read_all(self._temporaries)
        return _Snapshot(record, self._read_all(self._paths), temporaries, litter)

    def _read_all(self, paths: tuple[Path, Path, Path]) -> _Three:
        first, second, third = (self._disk.read(path) for path in paths)
        return first, second, third

    def _contents(self, snapshot: _Snapshot) -> _Three:
        """The files as they count: those in place, or those that a committed exchange has yet to move there."""
        _raise_first_trouble(self._paths, snapshot.targets)
        completion = self._completion(snapshot)
        if completion is None:
            return snapshot.targets
        choices = zip(completion.pending, snapshot.temporaries, snapshot.targets, strict=True)
        first, second, third = (waiting if pending else standing for pending, waiting, standing in choices)
        return first, second, third

    def _completion(self, snapshot: _Snapshot) -> Completion | None:
        if snapshot.record is None:
            return None
        if isinstance(snapshot.record, Trouble):
            raise StoreError(f"failed to read commit record: {self._record}: {snapshot.record.reason}")
        try:
            return decide(decode(snapshot.record), snapshot.targets, snapshot.temporaries)
        except InvalidRecordError as error:
            raise StoreError(
                f"failed to read commit record: {self._record}: {error}; "
                "check that the trust bundle beside it is whole, then remove this file"
            ) from error
        except MixedSetError as error:
            listed = ", ".join(str(path) for path in self._paths)
            raise StoreError(
                f"the trust bundle is a mixture: a crash cut its last change short and files were edited or removed "
                f"since; restore {listed} from one set, then remove {self._record}"
            ) from error

    def _bundle(self, contents: _Three) -> StoredBundle | None:
        _raise_first_trouble(self._paths, contents)
        pairs = tuple(zip(self._paths, contents, strict=True))
        missing = tuple(path for path, content in pairs if content is None)
        anchors, chain, key = contents
        if isinstance(anchors, bytes) and isinstance(chain, bytes) and isinstance(key, bytes):
            return StoredBundle(anchors=anchors, chain=chain, key=key)
        if len(missing) == len(pairs):
            return None
        raise IncompleteBundleError(missing, tuple(path for path, content in pairs if content is not None))

    # --- after a crash

    def _tidy(self) -> None:
        """Finish on the medium what `read` has already seen through; left to the next one if that cannot be done now.

        Not being able to write (OSError) is no failure of a reader: what counts was read, and still stands.
        """
        with contextlib.suppress(OSError), self._disk.lock(self._record.parent, patience=0) as lock:
            if lock is Lock.HELD:
                self._finish()

    def _finish(self) -> None:
        # Under the lock the files are read again: whoever held it before may have finished meanwhile.
        snapshot = self._settled()
        if snapshot.record is None:
            if snapshot.litter:
                self._discard()
            return
        _raise_first_trouble(self._paths, snapshot.targets)
        completion = self._completion(snapshot)
        if completion is None:
            # The record goes first: temporaries without it are litter, but a record without them may be a riddle.
            self._drop_record()
            self._discard()
        else:
            self._move_into_place(completion)

    def _move_into_place(self, completion: Completion) -> None:
        for pending, temporary, path in zip(completion.pending, self._temporaries, self._paths, strict=True):
            if pending:
                self._disk.rename(temporary, path)
        self._sync_directories()
        self._drop_record()

    def _drop_record(self) -> None:
        # Flushed, so that it does not turn up again after a power cut, when files may have been edited since.
        self._disk.unlink(self._record)
        self._disk.sync_directory(self._record.parent)

    def _discard(self) -> None:
        for path in (*self._temporaries, self._unborn_record):
            self._disk.unlink(path)

    def _sync_directories(self) -> None:
        for directory in dict.fromkeys(path.parent for path in self._paths):
            self._disk.sync_directory(directory)

    # --- writing

    def write(self, bundle: StoredBundle) -> None:
        """Put a set in the place of the present one, as a whole and durably.

        Raises:
            StoreError: nothing was changed, unless the failure came after the commit; then the next reading, by
                whomever, completes the exchange. A reading tells which.
        """
        self._refuse_what_cannot_be_replaced()
        try:
            with self._disk.lock(self._record.parent, patience=PATIENCE) as lock:
                if lock is Lock.TAKEN:
                    raise _write_error(self._paths[2], f"another process is writing to {self._record.parent}")
                self._finish()
                self._replace((bundle.anchors, bundle.chain, bundle.key))
        except OSError as error:
            where = Path(error.filename) if isinstance(error.filename, str) else self._paths[2]
            raise _write_error(where, reason_of(error)) from error

    def _refuse_what_cannot_be_replaced(self) -> None:
        if len(set(self._paths)) < len(self._paths):
            raise _write_error(self._paths[0], "trust anchors, issuer chain and issuer key need a file each")
        for path in self._paths:
            if not path.parent.is_dir():
                raise _write_error(path, f"directory {path.parent} does not exist; directories are not created")
            if self._disk.is_link(path):
                raise _write_error(path, "it is a symbolic link, whose owner would put the old content back")

    def _replace(self, contents: tuple[bytes, bytes, bytes]) -> None:
        old = self._settled().targets
        for path, content in zip(self._paths, old, strict=True):
            if isinstance(content, Trouble):
                raise _write_error(path, content.reason)
        anchors, chain, key = (
            Change(old=digest(before) if isinstance(before, bytes) else None, new=digest(after))
            for before, after in zip(old, contents, strict=True)
        )
        with self._discarding_on_failure():
            for temporary, content in zip(self._temporaries, contents, strict=True):
                self._write_file(temporary, content)
            self._sync_directories()
            self._write_file(self._unborn_record, encode(Record(anchors, chain, key)))
            self._disk.rename(self._unborn_record, self._record)
        self._disk.sync_directory(self._record.parent)
        self._move_into_place(Completion((True, True, True)))

    @contextlib.contextmanager
    def _discarding_on_failure(self) -> Iterator[None]:
        try:
            yield
        except OSError:
            with contextlib.suppress(OSError):  # litter is harmless, and the first error is the one to tell
                self._discard()
            raise

    def _write_file(self, path: Path, content: bytes) -> None:
        descriptor = self._disk.create(path)
        try:
            self._disk.write(descriptor, content)
            self._disk.sync(descriptor)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(path)) from error
        finally:
            self._disk.close(descriptor)


def _beside(path: Path, purpose: str) -> Path:
    return path.with_name(f".{path.name}.sentry-trio-{purpose}")


def _write_error(path: Path, reason: str) -> StoreError:
    return StoreError(f"failed to store CA bundle: failed to write file {path}: {reason}")


_READ_PREFIXES: Final = (
    "failed to read root certificate",
    "failed to read issuer certificate",
    "failed to read issuer key",
)


def _raise_first_trouble(paths: tuple[Path, Path, Path], contents: _Three) -> None:
    for prefix, path, content in zip(_READ_PREFIXES, paths, contents, strict=True):
        if isinstance(content, Trouble):
            raise StoreError(f"{prefix}: {path}: {content.reason}")

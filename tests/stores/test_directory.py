"""The file store: one set, three files."""

import errno
import os
import stat
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import trio

from sentry_trio.ca.bundle import StoredBundle
from sentry_trio.errors import IncompleteBundleError, StoreError
from sentry_trio.stores import atomic_files
from sentry_trio.stores.atomic_files import Content, FileOperations, Unreadable
from sentry_trio.stores.directory import PATIENCE, DirectoryStore
from testkit.crashing import NEW, NEXT, OLD, ObservedFiles, read, transaction, write
from testkit.stores import by_part, load, save

NAMES = ("ca.crt", "issuer.crt", "issuer.key")


def files_in(directory: Path) -> list[Path]:
    return [directory / name for name in NAMES]


def store_in(
    directory: Path, operations: FileOperations | None = None, *, patience: float = PATIENCE
) -> DirectoryStore:
    return DirectoryStore(by_part(files_in(directory)), operations=operations, patience=patience)


def put(directory: Path, bundle: StoredBundle) -> None:
    for name, content in zip(NAMES, (bundle.anchors, bundle.chain, bundle.key), strict=True):
        (directory / name).write_bytes(content)


def names_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def cut_short(directory: Path, name: str, occurrence: int = 1) -> None:
    """Save NEW and fail for good at the nth operation of a name, as a crash would, leaving all as it is."""
    left = occurrence

    class Crash(BaseException):
        pass

    def before(_number: int, operation: str, _arguments: object) -> None:
        nonlocal left
        left -= operation == name
        if not left:
            raise Crash

    with pytest.raises(Crash):
        write(transaction(files_in(directory), ObservedFiles(before)), NEW)


class Failing(FileOperations):
    """Every operation that changes something fails."""

    def __init__(self, number: int = errno.EROFS) -> None:
        self.error = OSError(number, os.strerror(number))

    def create(self, path: Path) -> int:
        raise self.error

    def rename(self, source: Path, target: Path) -> None:
        raise self.error

    def unlink(self, path: Path) -> None:
        raise self.error


# --- loading


async def test_an_empty_store_is_none(tmp_path: Path) -> None:
    assert await load(store_in(tmp_path)) is None
    assert await load(store_in(tmp_path / "not made yet")) is None


async def test_a_set_is_loaded_unchanged(tmp_path: Path) -> None:
    put(tmp_path, OLD)
    assert await load(store_in(tmp_path)) == OLD
    assert names_in(tmp_path) == list(NAMES)


@pytest.mark.parametrize("missing", [{0}, {1}, {2}, {0, 1}, {0, 2}, {1, 2}], ids=str)
async def test_a_part_of_a_set_is_an_error_and_is_left_alone(tmp_path: Path, missing: set[int]) -> None:
    put(tmp_path, OLD)
    for number in missing:
        (tmp_path / NAMES[number]).unlink()
    with pytest.raises(IncompleteBundleError) as caught:
        await load(store_in(tmp_path))
    assert caught.value.missing == tuple(tmp_path / NAMES[number] for number in sorted(missing))
    assert caught.value.present == tuple(tmp_path / name for name in NAMES if (tmp_path / name).exists())


async def test_empty_files_are_present(tmp_path: Path) -> None:
    empty = StoredBundle(anchors=b"", chain=b"", key=b"")
    put(tmp_path, empty)
    assert await load(store_in(tmp_path)) == empty


@pytest.mark.parametrize("others", [True, False], ids=["others present", "others missing"])
@pytest.mark.parametrize(
    ("number", "prefix"),
    [
        (0, "failed to read root certificate"),
        (1, "failed to read issuer certificate"),
        (2, "failed to read issuer key"),
    ],
)
@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: path.mkdir(), "is a directory"),
        (os.mkfifo, "not a regular file"),
        (lambda path: path.symlink_to("gone"), "dangling symbolic link"),
        (lambda path: path.write_bytes(b"x" * (atomic_files.LIMIT + 1)), "larger than 1048576 bytes"),
    ],
    ids=["directory", "fifo", "dangling", "large"],
)
async def test_unreadable_files_are_errors_and_nothing_is_generated(
    tmp_path: Path, make: Callable[[Path], object], reason: str, number: int, prefix: str, *, others: bool
) -> None:
    if others:
        put(tmp_path, OLD)
        (tmp_path / NAMES[number]).unlink()
    make(tmp_path / NAMES[number])
    with pytest.raises(StoreError) as caught:
        await load(store_in(tmp_path))
    assert str(caught.value) == f"{prefix}: {tmp_path / NAMES[number]}: {reason}"
    assert not isinstance(caught.value, IncompleteBundleError)


async def test_permission_denied_is_reported(tmp_path: Path) -> None:
    class Denied(FileOperations):
        def read(self, path: Path) -> Content:
            return Unreadable("permission denied") if path.name == "issuer.key" else super().read(path)

    put(tmp_path, OLD)
    with pytest.raises(StoreError, match=r"failed to read issuer key: .*/issuer\.key: permission denied"):
        await load(store_in(tmp_path, Denied()))


class Meddled(FileOperations):
    """Runs an action just before the nth reading of a file of the set."""

    def __init__(self, nth: int, action: Callable[[], None]) -> None:
        self.left = nth
        self.action = action

    def read(self, path: Path) -> Content:
        if path.name in NAMES:
            self.left -= 1
            if self.left == 0:
                self.action()
        return super().read(path)


@pytest.mark.parametrize("nth", range(1, 8))
async def test_a_swap_by_the_kubelet_is_never_seen_half_done(tmp_path: Path, nth: int) -> None:
    """The files are links through `..data`, and that link is replaced between any two readings."""
    for version, bundle in (("..1", OLD), ("..2", NEW)):
        (tmp_path / version).mkdir()
        put(tmp_path / version, bundle)
    (tmp_path / "..data").symlink_to("..1")
    for name in NAMES:
        (tmp_path / name).symlink_to(f"..data/{name}")

    def swap() -> None:
        (tmp_path / "..data_tmp").symlink_to("..2")
        (tmp_path / "..data_tmp").replace(tmp_path / "..data")

    # The seventh reading comes after two equal ones: too late to matter.
    assert await load(store_in(tmp_path, Meddled(nth, swap))) == (NEW if nth < 7 else OLD)


@pytest.mark.parametrize("nth", range(1, 7))
async def test_a_save_by_another_process_is_never_seen_half_done(tmp_path: Path, nth: int) -> None:
    put(tmp_path, OLD)
    other = transaction(files_in(tmp_path))
    assert await load(store_in(tmp_path, Meddled(nth, lambda: write(other, NEW)))) == NEW


async def test_files_that_keep_changing_are_an_error_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Restless(FileOperations):
        count = 0

        def read(self, path: Path) -> Content:
            self.count += 1
            return str(self.count).encode() if path.name in NAMES else None

    monkeypatch.setattr(atomic_files, "PASSES", 3)
    with pytest.raises(StoreError, match="the trust bundle keeps changing while it is read"):
        await load(store_in(tmp_path, Restless()))


# --- saving


@pytest.mark.parametrize("before", [None, OLD], ids=["first", "replacing"])
async def test_a_saved_bundle_is_loaded_unchanged(tmp_path: Path, before: StoredBundle | None) -> None:
    store = store_in(tmp_path)
    if before is not None:
        put(tmp_path, before)
        for name in NAMES:
            (tmp_path / name).chmod(0o666)
    await save(store, NEW)
    assert await load(store) == NEW
    assert names_in(tmp_path) == list(NAMES)
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in NAMES]
    assert modes == ([0o600] * 3 if before is None else [0o644, 0o644, 0o600])


@pytest.mark.parametrize(("before", "after"), [(0o444, 0o644), (0o640, 0o640), (0o777, 0o644), (0o004, 0o604)])
async def test_public_files_keep_their_readers(tmp_path: Path, before: int, after: int) -> None:
    put(tmp_path, OLD)
    for name in NAMES:
        (tmp_path / name).chmod(before | 0o400)
    await save(store_in(tmp_path), NEW)
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in NAMES]
    assert modes == [after | 0o400, after | 0o400, 0o600]


@pytest.mark.parametrize("error", [None, PermissionError(errno.EPERM, "not permitted")], ids=["root", "no privileges"])
async def test_files_keep_their_owner_as_far_as_permitted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError | None
) -> None:
    owners = {"ca.crt": (101, 201), "issuer.key": (103, 203)}
    given: dict[str, list[tuple[int, int]]] = {}
    real = Path.lstat

    def lstat(path: Path) -> os.stat_result:
        fields = list(real(path))
        if path.name in owners:
            fields[4:6] = owners[path.name]
        return os.stat_result(fields)

    def fchown(descriptor: int, uid: int, gid: int) -> None:
        given.setdefault(Path(f"/proc/self/fd/{descriptor}").readlink().name, []).append((uid, gid))
        if error is not None:
            raise error

    put(tmp_path, OLD)
    (tmp_path / "issuer.crt").unlink()
    monkeypatch.setattr(Path, "lstat", lstat)
    monkeypatch.setattr(os, "fchown", fchown)
    await save(store_in(tmp_path), NEW)
    assert await load(store_in(tmp_path)) == NEW
    assert given == {
        ".ca.crt.sentry-trio-new": [(-1, 201), (101, -1)],
        ".issuer.crt.sentry-trio-new": [(-1, 203), (103, -1)],
        ".issuer.key.sentry-trio-new": [(-1, 203), (103, -1)],
        ".issuer.key.sentry-trio-commit-new": [(-1, 203), (103, -1)],
    }


async def test_a_part_of_a_set_can_be_replaced_by_a_whole_one(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_bytes(b"left over")
    await save(store_in(tmp_path), NEW)
    assert await load(store_in(tmp_path)) == NEW


async def test_directories_are_not_created(tmp_path: Path) -> None:
    with pytest.raises(StoreError) as caught:
        await save(store_in(tmp_path / "none"), NEW)
    assert str(caught.value) == (
        f"failed to store CA bundle: failed to write file {tmp_path}/none/ca.crt: "
        f"directory {tmp_path}/none does not exist; directories are not created"
    )


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (
            lambda path: path.symlink_to("elsewhere"),
            "it is a symbolic link, whose target another program manages",
        ),
        (lambda path: path.mkdir(), "is a directory"),
        (os.mkfifo, "not a regular file"),
    ],
    ids=["link", "directory", "fifo"],
)
async def test_only_regular_files_are_replaced(tmp_path: Path, make: Callable[[Path], object], reason: str) -> None:
    put(tmp_path, OLD)
    (tmp_path / "issuer.crt").unlink()
    make(tmp_path / "issuer.crt")
    before = names_in(tmp_path)
    with pytest.raises(StoreError) as caught:
        await save(store_in(tmp_path), NEW)
    assert str(caught.value).endswith(f"failed to write file {tmp_path}/issuer.crt: {reason}")
    assert names_in(tmp_path) == before
    assert (tmp_path / "ca.crt").read_bytes() == OLD.anchors


async def test_one_file_cannot_hold_two_things(tmp_path: Path) -> None:
    path = tmp_path / "all.pem"
    with pytest.raises(StoreError, match="must be different files"):
        await save(DirectoryStore(by_part([path, path, tmp_path / "issuer.key"])), NEW)
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("name", ["create", "write", "sync", "rename"])
async def test_a_full_disk_changes_nothing(tmp_path: Path, name: str) -> None:
    def refuse(_number: int, operation: str, _arguments: object) -> None:
        if operation == name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    put(tmp_path, OLD)
    with pytest.raises(StoreError, match=r"failed to write file .*: no space left on device"):
        await save(store_in(tmp_path, ObservedFiles(refuse)), NEW)
    assert names_in(tmp_path) == list(NAMES)
    assert await load(store_in(tmp_path)) == OLD


async def test_a_write_error_names_the_file(tmp_path: Path) -> None:
    def refuse(number: int, operation: str, _arguments: object) -> None:
        if operation == "write" and number > 4:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    with pytest.raises(StoreError, match=r"failed to write file .*/\.issuer\.crt\.sentry-trio-new: input/output error"):
        await save(store_in(tmp_path, ObservedFiles(refuse)), NEW)


async def test_a_failure_after_the_commit_leaves_the_new_set(tmp_path: Path) -> None:
    def refuse(_number: int, operation: str, arguments: tuple[Path, ...]) -> None:
        if operation == "rename" and arguments[1].name == "issuer.crt":
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    put(tmp_path, OLD)
    with pytest.raises(StoreError, match="input/output error"):
        await save(store_in(tmp_path, ObservedFiles(refuse)), NEW)
    assert await load(store_in(tmp_path)) == NEW
    assert names_in(tmp_path) == list(NAMES)


async def test_a_read_only_directory_cannot_be_saved_to(tmp_path: Path) -> None:
    put(tmp_path, OLD)
    with pytest.raises(StoreError, match="read-only file system"):
        await save(store_in(tmp_path, Failing()), NEW)
    assert await load(store_in(tmp_path)) == OLD


async def test_two_writers_take_turns(tmp_path: Path) -> None:
    async with trio.open_nursery() as nursery:
        for bundle in (OLD, NEW, NEXT):
            nursery.start_soon(save, store_in(tmp_path), bundle)
    assert await load(store_in(tmp_path)) in (OLD, NEW, NEXT)
    with FileOperations().lock(tmp_path, patience=0), pytest.raises(StoreError, match="another process is writing to"):
        await save(store_in(tmp_path, patience=0.01), NEW)


async def test_a_save_is_not_abandoned_when_cancelled(tmp_path: Path) -> None:
    begun = trio.Event()
    go_on = threading.Event()

    def before(number: int, _operation: str, _arguments: object) -> None:
        if number == 3:
            trio.from_thread.run_sync(begun.set)
            go_on.wait(5)

    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(save, store_in(tmp_path, ObservedFiles(before)), NEW)
            await begun.wait()
            scope.cancel()
            go_on.set()
    assert await load(store_in(tmp_path)) == NEW
    assert names_in(tmp_path) == list(NAMES)


# --- after a crash


@pytest.mark.parametrize("occurrence", [2, 3, 4], ids=["none moved", "one moved", "two moved"])
async def test_a_committed_set_is_read_whole_where_nothing_can_be_written(tmp_path: Path, occurrence: int) -> None:
    put(tmp_path, OLD)
    cut_short(tmp_path, "rename", occurrence)
    left = names_in(tmp_path)
    assert await load(store_in(tmp_path, Failing())) == NEW
    assert names_in(tmp_path) == left
    assert await load(store_in(tmp_path)) == NEW
    assert names_in(tmp_path) == list(NAMES)


async def test_while_another_process_is_at_it_its_files_are_left_alone(tmp_path: Path) -> None:
    put(tmp_path, OLD)
    cut_short(tmp_path, "write", 3)
    left = names_in(tmp_path)
    with FileOperations().lock(tmp_path, patience=0):
        assert await load(store_in(tmp_path)) == OLD
    assert names_in(tmp_path) == left
    assert await load(store_in(tmp_path)) == OLD
    assert names_in(tmp_path) == list(NAMES)


async def test_an_exchange_completed_by_another_process_is_left_alone(tmp_path: Path) -> None:
    put(tmp_path, OLD)
    cut_short(tmp_path, "rename", 3)

    class Overtaken(FileOperations):
        def lock(self, directory: Path, patience: float) -> object:  # type: ignore[override]  # only delayed
            read(transaction(files_in(tmp_path)))
            return super().lock(directory, patience)

    assert await load(store_in(tmp_path, Overtaken())) == NEW
    assert names_in(tmp_path) == list(NAMES)


async def test_edits_after_a_crash_win(tmp_path: Path) -> None:
    put(tmp_path, OLD)
    cut_short(tmp_path, "rename", 3)
    put(tmp_path, NEXT)
    assert await load(store_in(tmp_path)) == NEXT
    assert names_in(tmp_path) == list(NAMES)


async def test_a_set_that_was_taken_away_after_a_crash_is_gone(tmp_path: Path) -> None:
    put(tmp_path, OLD)
    cut_short(tmp_path, "rename", 3)
    for name in NAMES:
        (tmp_path / name).unlink()
    assert await load(store_in(tmp_path)) is None
    assert names_in(tmp_path) == []


async def test_a_mixed_set_is_an_error_and_nothing_is_lost(tmp_path: Path) -> None:
    put(tmp_path, OLD)
    cut_short(tmp_path, "rename", 3)
    (tmp_path / ".issuer.key.sentry-trio-new").unlink()
    left = names_in(tmp_path)
    for attempt in (partial(load, store_in(tmp_path)), partial(save, store_in(tmp_path), NEXT)):
        with pytest.raises(StoreError, match=r"mixed set.* then remove .*/\.issuer\.key\.sentry-trio-commit"):
            await attempt()
    assert names_in(tmp_path) == left


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: path.write_bytes(b"{"), "truncated"),
        (lambda path: path.mkdir(), "is a directory"),
        (lambda path: path.write_bytes(b'{"jwks": {"old": null, "new": null}}'), "it names JWKS, which are stored"),
    ],
    ids=["torn", "directory", "of other files"],
)
async def test_a_record_that_cannot_be_read_is_an_error(
    tmp_path: Path, make: Callable[[Path], object], reason: str
) -> None:
    put(tmp_path, OLD)
    make(tmp_path / ".issuer.key.sentry-trio-commit")
    with pytest.raises(
        StoreError, match=rf"failed to read commit record: .*/\.issuer\.key\.sentry-trio-commit: .*{reason}"
    ):
        await load(store_in(tmp_path))

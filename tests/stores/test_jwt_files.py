"""Signing key of JWTs and its key set in files, beside the trust bundle."""

from pathlib import Path

import pytest

from sentry_trio.ca.parts import BUNDLE, JWT_KEYS, Parts, bundle_parts, merged
from sentry_trio.errors import Part, StoreError
from sentry_trio.stores.atomic_files import FileOperations
from sentry_trio.stores.directory import PATIENCE, DirectoryStore
from testkit.crashing import NEW, OLD, ObservedFiles
from testkit.stores import NAMES, load, save

NOTHING = dict.fromkeys(JWT_KEYS)


def pair(key: bytes, jwks: bytes) -> dict[Part, bytes]:
    return {Part.JWKS: jwks, Part.JWT_KEY: key}


STORED = pair(b"the key", b"the set")
NEXT = pair(b"the next key", b"the next set")


def store_in(
    directory: Path, operations: FileOperations | None = None, *, patience: float = PATIENCE
) -> DirectoryStore:
    paths = {part: directory / name for part, name in NAMES.items()}
    return DirectoryStore(paths, operations=operations, patience=patience)


def put(directory: Path, parts: Parts) -> None:
    for part, content in parts.items():
        (directory / NAMES[part]).write_bytes(content)


def names_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


async def test_nothing_is_there(tmp_path: Path) -> None:
    assert await store_in(tmp_path).read(JWT_KEYS) == {}


async def test_stored_keys_are_read_unchanged(tmp_path: Path) -> None:
    (tmp_path / ".jwt.key.sentry-trio-new").write_text("left by a crash")
    store = store_in(tmp_path)
    assert await store.replace(STORED, expected=NOTHING)
    assert await store.read(JWT_KEYS) == STORED
    assert names_in(tmp_path) == ["jwks.json", "jwt.key"]
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}


async def test_a_key_that_appeared_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "jwt.key").write_bytes(b"theirs")
    store = store_in(tmp_path)
    assert not await store.replace(STORED, expected=NOTHING)
    assert await store.read(JWT_KEYS) == {Part.JWT_KEY: b"theirs"}


async def test_unreadable_and_unwritable_files_are_errors(tmp_path: Path) -> None:
    (tmp_path / "jwt.key").mkdir()
    with pytest.raises(StoreError, match=r"error reading JWT signing key: .*jwt.key: is a directory"):
        await store_in(tmp_path).read(JWT_KEYS)
    with pytest.raises(StoreError, match=r"^failed to write file .*away/jwks.json: directory .* does not exist"):
        await store_in(tmp_path / "away").replace(STORED, expected=NOTHING)


async def test_parts_that_are_not_asked_for_are_not_looked_at(tmp_path: Path) -> None:
    (tmp_path / "jwt.key").mkdir()
    store = store_in(tmp_path)
    await save(store, OLD)
    assert await load(store) == OLD
    (tmp_path / "jwt.key").rmdir()
    (tmp_path / "issuer.key").unlink()
    (tmp_path / "issuer.key").mkdir()
    assert await store.read(JWT_KEYS) == {}


async def test_only_expected_content_is_replaced(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    assert await store.replace(STORED, expected=NOTHING)
    assert await store.replace(NEXT, expected=STORED)
    assert await store.read(JWT_KEYS) == NEXT
    assert await store.replace(NEXT, expected=STORED)  # it is there
    assert not await store.replace(pair(b"x", b"y"), expected=STORED)
    assert await store.read(JWT_KEYS) == NEXT
    (tmp_path / "jwt.key").unlink()
    assert not await store.replace(STORED, expected=NEXT)
    assert names_in(tmp_path) == ["jwks.json"]
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}


class CrashError(BaseException):
    pass


def crashing(point: int) -> FileOperations:
    """Ends, as a crash does, before the file operation of that number."""

    def before(number: int, _name: str, _arguments: object) -> None:
        if number == point:
            raise CrashError

    return ObservedFiles(before)


@pytest.mark.parametrize(
    "changes",
    [
        NEXT,
        {Part.JWKS: b"the next set"},
        {Part.JWKS: None, Part.JWT_KEY: None},
        {Part.ANCHORS: None, Part.CHAIN: NEW.chain},
    ],
    ids=["both", "set", "removed", "some of the bundle"],
)
async def test_each_crash_leaves_the_old_parts_or_the_new_ones(
    tmp_path: Path, changes: dict[Part, bytes | None]
) -> None:
    old = {**STORED, Part.ANCHORS: OLD.anchors, Part.CHAIN: OLD.chain, Part.KEY: OLD.key}
    new = merged(old, changes)
    seen = []
    for point in range(100):
        directory = tmp_path / str(point)
        directory.mkdir()
        put(directory, old)
        try:
            await store_in(directory, crashing(point)).replace(changes, expected={part: old[part] for part in changes})
        except CrashError:
            # The options of the next process may name no JWTs.
            await store_in(directory).read(BUNDLE)
            seen.append(await store_in(directory).read(list(Part)))
            assert names_in(directory) == sorted(NAMES[part] for part in seen[-1])
        else:
            break
    commit = seen.index(new)
    assert seen == [old] * commit + [new] * (len(seen) - commit)
    assert 0 < commit < len(seen) - 1
    assert await store_in(directory).read(list(Part)) == new


async def test_the_key_set_is_replaced_first(tmp_path: Path) -> None:
    """Programs that read it know no journal, and must know a key before it signs."""
    order = []

    def before(_number: int, name: str, arguments: tuple[Path, ...]) -> None:
        if name == "rename":
            order.append(arguments[1].name)

    assert await store_in(tmp_path, ObservedFiles(before)).replace(STORED, expected=NOTHING)
    assert order == [".jwt.key.sentry-trio-commit", "jwks.json", "jwt.key"]


async def test_a_linked_key_that_stays_needs_no_writing(tmp_path: Path) -> None:
    """As in a mounted secret, whose key set is missing."""
    (tmp_path / "mounted").write_bytes(b"the key")
    (tmp_path / "jwt.key").symlink_to("mounted")
    store = store_in(tmp_path)
    assert await store.replace(STORED, expected={Part.JWT_KEY: b"the key", Part.JWKS: None})
    assert (tmp_path / "jwt.key").is_symlink()
    assert await store.read(JWT_KEYS) == STORED


async def test_leftovers_of_one_set_do_not_affect_the_other(tmp_path: Path) -> None:
    put(tmp_path, bundle_parts(OLD))
    (tmp_path / ".jwt.key.sentry-trio-commit").write_text("no journal")
    store = store_in(tmp_path)
    assert await store.read_bundle() == bundle_parts(OLD)
    with pytest.raises(StoreError, match="failed to read commit record"):
        await store.read(JWT_KEYS)


async def test_the_issuer_key_is_never_taken_for_the_jwt_signing_key(tmp_path: Path) -> None:
    put(tmp_path, bundle_parts(OLD))
    paths = {part: tmp_path / name for part, name in NAMES.items()} | {Part.JWT_KEY: tmp_path / "issuer.key"}
    with pytest.raises(StoreError, match="must be different files"):
        await DirectoryStore(paths).replace(NEXT, expected={})
    assert (tmp_path / "issuer.key").read_bytes() == OLD.key


async def test_only_different_content_is_written(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    assert await store.replace(STORED, expected=NOTHING)
    key = tmp_path / "jwt.key"
    before = key.stat().st_mtime_ns, key.stat().st_ino
    assert await store.replace(pair(b"the key", b"another set"), expected=STORED)
    assert (key.stat().st_mtime_ns, key.stat().st_ino) == before
    assert (tmp_path / "jwks.json").read_bytes() == b"another set"


async def test_locked_directories_and_symbolic_links_are_not_replaced(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    assert await store.replace(STORED, expected=NOTHING)
    with FileOperations().lock(tmp_path, patience=0), pytest.raises(StoreError, match="another process is writing to"):
        await store_in(tmp_path, patience=0).replace(NEXT, expected=STORED)
    (tmp_path / "jwks.json").rename(tmp_path / "elsewhere")
    (tmp_path / "jwks.json").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="it is a symbolic link, whose target another program manages"):
        await store.replace(NEXT, expected=STORED)
    assert await store.read(JWT_KEYS) == STORED


@pytest.mark.parametrize("turns", [2, 100])
async def test_a_pair_that_is_being_swapped(tmp_path: Path, turns: int) -> None:
    class Restless(FileOperations):
        reads = 0

        def read(self, path: Path) -> bytes | None:
            if path.name.startswith("."):
                return None
            Restless.reads += 1
            return b"%d" % min(Restless.reads, turns)

    store = store_in(tmp_path, Restless())
    if turns == 2:
        assert await store.read(JWT_KEYS) == pair(b"2", b"2")
    else:
        with pytest.raises(StoreError, match="the JWT signing key keeps changing"):
            await store.read(JWT_KEYS)

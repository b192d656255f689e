"""The JWT signing key and its key set in files."""

from pathlib import Path

import pytest

from sentry_trio.ca.jwt_key import StoredJwtKey
from sentry_trio.errors import StoreError
from sentry_trio.stores.disk import Disk
from sentry_trio.stores.jwt_files import JwtFileStore

STORED = StoredJwtKey(b"the key", b"the set")


def compose(key: bytes) -> bytes:
    return b"set of " + key


@pytest.fixture
def store(tmp_path: Path) -> JwtFileStore:
    return JwtFileStore(tmp_path / "jwt.key", tmp_path / "jwks.json")


async def test_nothing_is_there(store: JwtFileStore) -> None:
    assert await store.load(compose) is None


async def test_what_is_saved_is_loaded(store: JwtFileStore) -> None:
    store.key.with_name(".jwt.key.sentry-trio-new").write_text("left by a crash")
    await store.save(STORED)
    assert await store.load(compose) == STORED
    assert store.contents(STORED) == {store.key: b"the key", store.jwks: b"the set"}
    assert sorted(path.name for path in store.key.parent.iterdir()) == ["jwks.json", "jwt.key"]
    assert {path.stat().st_mode & 0o777 for path in (store.key, store.jwks)} == {0o600}


async def test_a_key_without_a_set_keeps_its_key(store: JwtFileStore) -> None:
    store.key.write_bytes(b"mine")
    assert await store.load(compose) == StoredJwtKey(b"mine", b"set of mine")
    assert (store.key.read_bytes(), store.jwks.read_bytes()) == (b"mine", b"set of mine")


async def test_a_set_without_a_key_is_an_error(store: JwtFileStore) -> None:
    store.jwks.write_bytes(b"theirs")
    with pytest.raises(StoreError, match="put the key back, or remove the JWKS"):
        await store.load(compose)
    assert store.jwks.read_bytes() == b"theirs"
    assert not store.key.exists()


async def test_what_has_just_been_made_is_not_replaced(store: JwtFileStore) -> None:
    store.key.write_bytes(b"theirs")
    with pytest.raises(StoreError, match="has just been made by somebody else"):
        await store.save(STORED)
    assert store.key.read_bytes() == b"theirs"


async def test_what_cannot_be_read_or_written(store: JwtFileStore) -> None:
    store.key.mkdir()
    with pytest.raises(StoreError, match=r"error reading JWT signing key: .*jwt.key: is a directory"):
        await store.load(compose)
    away = JwtFileStore(store.key.parent / "away" / "jwt.key", store.jwks)
    with pytest.raises(StoreError, match=r"failed to write file .*away/jwt.key: no such file or directory"):
        await away.save(STORED)


NEXT = StoredJwtKey(b"the next key", b"the next set")


async def test_only_what_was_expected_is_replaced(store: JwtFileStore) -> None:
    await store.save(STORED)
    assert await store.replace(NEXT, expected=STORED)
    assert await store.load(compose) == NEXT
    assert not await store.replace(StoredJwtKey(b"x", b"y"), expected=STORED)
    assert await store.load(compose) == NEXT
    store.key.unlink()
    assert not await store.replace(STORED, expected=NEXT)
    assert not store.key.exists()
    assert {path.stat().st_mode & 0o777 for path in store.key.parent.iterdir()} == {0o600}


class Stopping(Disk):
    """Ends, as a crash does, before the file operation of that number."""

    def __init__(self, last: int) -> None:
        self.left = last

    def rename(self, source: Path, target: Path) -> None:
        self._count()
        super().rename(source, target)

    def sync(self, descriptor: int) -> None:
        self._count()
        super().sync(descriptor)

    def create(self, path: Path) -> int:
        self._count()
        return super().create(path)

    def _count(self) -> None:
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1


@pytest.mark.parametrize("last", range(7))
async def test_the_key_set_is_written_first(store: JwtFileStore, last: int) -> None:
    """Whatever a crash leaves undone, the set knows the keys that sign."""
    await store.save(STORED)
    torn = JwtFileStore(store.key, store.jwks, disk=Stopping(last))
    if last < 6:
        with pytest.raises(KeyboardInterrupt):
            await torn.replace(NEXT, expected=STORED)
    else:
        assert await torn.replace(NEXT, expected=STORED)
    expected = {0: STORED, 1: STORED, 2: STORED, 6: NEXT}.get(last, StoredJwtKey(STORED.key, NEXT.jwks))
    assert await store.load(compose) == expected
    assert await store.replace(NEXT, expected=expected)
    assert await store.load(compose) == NEXT


async def test_only_what_differs_is_written(store: JwtFileStore) -> None:
    await store.save(STORED)
    before = store.key.stat().st_mtime_ns, store.key.stat().st_ino
    assert await store.replace(StoredJwtKey(STORED.key, b"another set"), expected=STORED)
    assert (store.key.stat().st_mtime_ns, store.key.stat().st_ino) == before
    assert store.jwks.read_bytes() == b"another set"


async def test_what_cannot_be_replaced(store: JwtFileStore, tmp_path: Path) -> None:
    await store.save(STORED)
    with Disk().lock(tmp_path, patience=0):
        impatient = JwtFileStore(store.key, store.jwks, patience=0)
        with pytest.raises(StoreError, match="another process is writing to"):
            await impatient.replace(NEXT, expected=STORED)
    store.jwks.rename(tmp_path / "elsewhere")
    store.jwks.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="it is a symbolic link, whose owner would put the old content back"):
        await store.replace(NEXT, expected=STORED)
    assert await store.load(compose) == STORED


@pytest.mark.parametrize("turns", [2, 100])
async def test_a_pair_that_is_being_swapped(tmp_path: Path, turns: int) -> None:
    class Restless(Disk):
        reads = 0

        def read(self, path: Path) -> bytes:
            Restless.reads += 1
            return b"%d" % min(Restless.reads, turns)

    store = JwtFileStore(tmp_path / "a", tmp_path / "b", disk=Restless())
    if turns == 2:
        assert await store.load(compose) == StoredJwtKey(b"2", b"2")
    else:
        with pytest.raises(StoreError, match="keeps changing"):
            await store.load(compose)

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

"""The JWT signing key in the Secret of the trust bundle, on an API server in memory."""

from base64 import b64decode
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from sentry_trio.ca.jwt_key import StoredJwtKey
from sentry_trio.errors import ApiUnavailableError, InvalidOptionsError, StoreError
from sentry_trio.reload import ReloadCause, Trigger
from sentry_trio.stores.jwt_secret import JwtSecretStore, keys_of_paths
from testkit.crashing import OLD
from testkit.kube.fakes import CONFIG_MAP, NAMESPACE, SECRET, FakeApi, Fault, installed, unavailable
from testkit.log_capture import Line, capture_logs

from .test_secret import PARTS, PLACE, encoded, filled, held, store_of, warnings_in

BUNDLE = ("ca.crt", "issuer.crt", "issuer.key")
FIRST = StoredJwtKey(b"first key", b'{"keys": [1]}')
SECOND = StoredJwtKey(b"second key", b'{"keys": [1, 2]}')


def compose(key: bytes) -> bytes:
    return b"set of " + key


def jwt_store(api: FakeApi) -> JwtSecretStore:
    return JwtSecretStore(api, NAMESPACE, "jwt.key", "jwks.json")


def with_jwt(stored: StoredJwtKey = FIRST) -> FakeApi:
    api = filled()
    write(api, stored)
    api.edit(CONFIG_MAP, data=api.objects[CONFIG_MAP]["data"] | {"jwks.json": stored.jwks.decode()})
    return api


def write(api: FakeApi, stored: StoredJwtKey) -> None:
    """As somebody else does it."""
    parts = {"jwt.key": stored.key, "jwks.json": stored.jwks}
    api.edit(SECRET, data=(api.objects[SECRET].get("data") or {}) | encoded(parts))


def jwt_held(api: FakeApi) -> StoredJwtKey:
    data = held(api)
    return StoredJwtKey(data["jwt.key"], data["jwks.json"])


def published(api: FakeApi) -> object:
    return (api.objects[CONFIG_MAP].get("data") or {}).get("jwks.json")


@pytest.fixture
def lines() -> Iterator[list[Line]]:
    with capture_logs() as captured:
        yield captured


def test_keys_are_the_base_names_of_the_paths() -> None:
    assert keys_of_paths(Path("/a/jwt.pem"), Path("set.json"), taken=BUNDLE) == ("jwt.pem", "set.json")


@pytest.mark.parametrize(("key", "jwks"), [("a", "a"), ("issuer.key", "jwks.json"), ("jwt.key", "ca.crt")])
def test_keys_must_differ(key: str, jwks: str) -> None:
    with pytest.raises(
        InvalidOptionsError, match=r"must differ from each other and from ca\.crt, issuer\.crt, issuer\.key"
    ):
        keys_of_paths(Path(key), Path(jwks), taken=BUNDLE)


async def test_nothing_is_there() -> None:
    assert await jwt_store(filled()).load(compose) is None


async def test_what_is_made_is_loaded_and_the_trust_bundle_left_alone() -> None:
    api = filled()
    store = jwt_store(api)
    assert await store.create(FIRST) == FIRST
    assert await store.load(compose) == FIRST
    assert {name: b64decode(api.objects[SECRET]["data"][name]) for name in PARTS} == PARTS
    assert await store_of(api).load() == OLD


async def test_a_key_without_a_set_keeps_its_key() -> None:
    api = filled()
    api.edit(SECRET, data=api.objects[SECRET]["data"] | encoded({"jwt.key": b"mine"}))
    assert await jwt_store(api).load(compose) == StoredJwtKey(b"mine", b"set of mine")
    assert jwt_held(api) == StoredJwtKey(b"mine", b"set of mine")


async def test_a_set_without_a_key_is_an_error() -> None:
    api = filled()
    api.edit(SECRET, data=encoded({"jwks.json": b"theirs"}))
    with pytest.raises(StoreError, match=f"no JWT signing key jwt.key in Secret {PLACE}: put the key back, or remove"):
        await jwt_store(api).load(compose)
    assert held(api) == {"jwks.json": b"theirs"}


async def test_what_another_replica_made_first_is_used(lines: list[Line]) -> None:
    api = filled()
    api.faults.append(Fault("replace", "secrets", unavailable(), after=False))

    async def another(verb: str, _path: str) -> None:
        if verb == "replace":
            api.before = None
            write(api, SECOND)

    api.before = another
    assert await jwt_store(api).create(FIRST) == SECOND
    assert jwt_held(api) == SECOND
    assert any("Another replica was first" in line["event"] for line in lines)


async def test_a_write_whose_answer_was_lost_counts(autojump_clock: MockClock) -> None:
    api = filled()
    api.faults.append(Fault("replace", "secrets", unavailable(), after=True))
    assert await jwt_store(api).create(FIRST) == FIRST
    api.faults.append(Fault("replace", "secrets", unavailable(), after=True))
    assert await jwt_store(api).replace(SECOND, expected=FIRST)
    assert jwt_held(api) == SECOND


async def test_only_what_was_expected_is_replaced() -> None:
    api = with_jwt()
    store = jwt_store(api)
    assert await store.replace(SECOND, expected=FIRST)
    assert await store.replace(SECOND, expected=FIRST)  # it is there
    assert not await store.replace(StoredJwtKey(b"third", b""), expected=FIRST)
    assert jwt_held(api) == SECOND
    api.edit(SECRET, data={})
    assert not await store.replace(SECOND, expected=FIRST)
    assert held(api) == {}


async def test_an_api_server_that_is_away_for_long(autojump_clock: MockClock) -> None:
    api = with_jwt()
    api.down = True
    for attempt in (
        partial(jwt_store(api).load, compose),
        partial(jwt_store(api).create, FIRST),
        partial(jwt_store(api).replace, SECOND, expected=FIRST),
        partial(jwt_store(api).publish, FIRST),
    ):
        with pytest.raises(ApiUnavailableError):
            await attempt()


async def test_the_config_map_publishes_the_set_beside_the_anchors() -> None:
    api = with_jwt()
    store = jwt_store(api)
    assert not await store.publish(FIRST)
    api.edit(CONFIG_MAP, data={"ca.crt": "anchors"}, binaryData={"jwks.json": "AAAA", "other": "AAAA"})
    assert await store.publish(FIRST)
    assert api.objects[CONFIG_MAP]["data"] == {"ca.crt": "anchors", "jwks.json": FIRST.jwks.decode()}
    assert api.objects[CONFIG_MAP]["binaryData"] == {"other": "AAAA"}
    # Not once the Secret holds another.
    write(api, SECOND)
    api.edit(CONFIG_MAP, data={})
    assert not await store.publish(FIRST)
    assert published(api) is None


class Watcher:
    def __init__(self) -> None:
        self.calls: list[tuple[Trigger, ...]] = []

    async def changed(self, *causes: ReloadCause) -> None:
        assert all(cause.sources == (f"Secret {PLACE}",) for cause in causes)
        self.calls.append(tuple(cause.trigger for cause in causes))


@asynccontextmanager
async def watching(api: FakeApi, stored: StoredJwtKey = FIRST) -> AsyncIterator[Watcher]:
    """Trust bundle and signing key, as one watch of both objects."""
    watcher = Watcher()
    watch: Callable[..., Awaitable[None]] = partial(store_of(api).watch, beside=(jwt_store(api).guarded(stored),))
    async with trio.open_nursery() as nursery:
        await nursery.start(watch, OLD, watcher.changed)
        yield watcher
        nursery.cancel_scope.cancel()


async def test_changes_of_either_are_told_and_nothing_else(autojump_clock: MockClock) -> None:
    api = with_jwt()
    async with watching(api) as watcher:
        await trio.sleep(100)
        api.edit(SECRET, data=api.objects[SECRET]["data"] | encoded({"other": b"x"}))
        await trio.sleep(100)
        assert watcher.calls == []
        write(api, SECOND)
        await trio.sleep(100)
        assert watcher.calls == [(Trigger.JWT_KEY,)]
        api.edit(SECRET, data=api.objects[SECRET]["data"] | encoded({"issuer.key": b"x"}))
        await trio.sleep(100)
        assert watcher.calls[1:] == [(Trigger.TRUST_BUNDLE,)]
        api.edit(SECRET, data={name: part for name, part in api.objects[SECRET]["data"].items() if name != "jwt.key"})
        await trio.sleep(100)
        assert watcher.calls[2:] == [(Trigger.JWT_KEY,)]
        write(api, SECOND)
        api.edit(SECRET, data=api.objects[SECRET]["data"] | encoded({"issuer.key": b"y"}))
        await trio.sleep(100)
        assert watcher.calls[3:] == [(Trigger.TRUST_BUNDLE, Trigger.JWT_KEY)]


async def test_a_foreign_edit_of_the_published_set_is_undone(autojump_clock: MockClock, lines: list[Line]) -> None:
    api = with_jwt()
    async with watching(api) as watcher:
        await trio.sleep(1)
        api.edit(CONFIG_MAP, data=api.objects[CONFIG_MAP]["data"] | {"jwks.json": "{}"})
        await trio.sleep(10)
        assert published(api) == FIRST.jwks.decode()
        assert watcher.calls == []
    assert warnings_in(lines) == [f"ConfigMap {PLACE} no longer had the public keys of the Secret: restored"]


async def test_a_value_that_is_no_base64_is_told_of(autojump_clock: MockClock) -> None:
    api = with_jwt()
    async with watching(api) as watcher:
        await trio.sleep(1)
        api.edit(SECRET, data=api.objects[SECRET]["data"] | {"jwt.key": "?"})
        await trio.sleep(100)
        assert len(watcher.calls) == 1
    with pytest.raises(StoreError, match=r"jwt\.key: the value is not base64"):
        await jwt_store(api).load(compose)


async def test_an_empty_secret_has_no_jwt() -> None:
    assert await jwt_store(installed()).load(compose) is None

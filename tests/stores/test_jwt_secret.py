"""The JWT signing key in the Secret of the trust bundle, on an API server in memory."""

from base64 import b64decode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio
from trio.testing import MockClock

from sentry_trio.ca.parts import JWT_KEYS, Parts, bundle_parts
from sentry_trio.environments.run_inputs import causes_of
from sentry_trio.errors import ApiUnavailableError, Part, StoreError
from sentry_trio.reload import Trigger
from testkit.crashing import OLD
from testkit.kube.fakes import CONFIG_MAP, SECRET, FakeApi, Fault, installed, unavailable
from testkit.log_capture import Line
from testkit.stores import load

from .test_secret import PARTS, PLACE, encoded, filled, held, store_of, warnings_in


def pair(key: bytes, jwks: bytes) -> dict[Part, bytes]:
    return {Part.JWT_KEY: key, Part.JWKS: jwks}


FIRST = pair(b"first key", b'{"keys": [1]}')
SECOND = pair(b"second key", b'{"keys": [1, 2]}')
NOTHING = dict.fromkeys(JWT_KEYS)


def with_jwt(stored: Parts = FIRST) -> FakeApi:
    api = filled()
    write(api, stored)
    api.edit(CONFIG_MAP, data=api.objects[CONFIG_MAP]["data"] | {"jwks.json": stored[Part.JWKS].decode()})
    return api


def write(api: FakeApi, stored: Parts) -> None:
    """Like another writer it."""
    parts = {"jwt.key": stored[Part.JWT_KEY], "jwks.json": stored[Part.JWKS]}
    api.edit(SECRET, data=(api.objects[SECRET].get("data") or {}) | encoded(parts))


def jwt_held(api: FakeApi) -> Parts:
    data = held(api)
    return pair(data["jwt.key"], data["jwks.json"])


def published(api: FakeApi) -> object:
    return (api.objects[CONFIG_MAP].get("data") or {}).get("jwks.json")


async def test_nothing_is_there() -> None:
    assert await store_of(filled()).read(JWT_KEYS) == {}


async def test_stored_keys_are_read_and_the_trust_bundle_is_unchanged() -> None:
    api = filled()
    store = store_of(api)
    assert await store.replace(FIRST, expected=NOTHING)
    assert await store.read(JWT_KEYS) == FIRST
    assert {name: b64decode(api.objects[SECRET]["data"][name]) for name in PARTS} == PARTS
    assert await load(store_of(api)) == OLD


async def test_the_keys_of_a_replica_that_was_first_stay() -> None:
    api = filled()
    api.faults.append(Fault("replace", "secrets", unavailable(), after=False))

    async def another(verb: str, _path: str) -> None:
        if verb == "replace":
            api.before = None
            write(api, SECOND)

    api.before = another
    assert not await store_of(api).replace(FIRST, expected=NOTHING)
    assert jwt_held(api) == SECOND


async def test_parts_are_removed_and_all_else_stays() -> None:
    api = with_jwt()
    before = held(api)
    assert await store_of(api).replace({Part.JWT_KEY: None}, expected=FIRST)
    assert held(api) == {name: part for name, part in before.items() if name != "jwt.key"}


async def test_a_write_whose_answer_was_lost_counts(autojump_clock: MockClock) -> None:
    api = filled()
    api.faults.append(Fault("replace", "secrets", unavailable(), after=True))
    assert await store_of(api).replace(FIRST, expected=NOTHING)
    api.faults.append(Fault("replace", "secrets", unavailable(), after=True))
    assert await store_of(api).replace(SECOND, expected=FIRST)
    assert jwt_held(api) == SECOND


async def test_only_expected_content_is_replaced() -> None:
    api = with_jwt()
    store = store_of(api)
    assert await store.replace(SECOND, expected=FIRST)
    assert await store.replace(SECOND, expected=FIRST)  # it is there
    assert not await store.replace(pair(b"third", b""), expected=FIRST)
    assert jwt_held(api) == SECOND
    api.edit(SECRET, data={})
    assert not await store.replace(SECOND, expected=FIRST)
    assert held(api) == {}


async def test_an_api_server_that_is_away_for_long(autojump_clock: MockClock) -> None:
    api = with_jwt()
    api.down = True
    for attempt in (
        partial(store_of(api).read, JWT_KEYS),
        partial(store_of(api).replace, FIRST, expected=NOTHING),
        partial(store_of(api).replace, SECOND, expected=FIRST),
        partial(store_of(api).publish, Part.JWKS, FIRST),
    ):
        with pytest.raises(ApiUnavailableError):
            await attempt()


async def test_the_config_map_publishes_the_set_beside_the_anchors() -> None:
    api = with_jwt()
    store = store_of(api)
    assert not await store.publish(Part.JWKS, FIRST)
    api.edit(CONFIG_MAP, data={"ca.crt": "anchors"}, binaryData={"jwks.json": "AAAA", "other": "AAAA"})
    assert await store.publish(Part.JWKS, FIRST)
    assert api.objects[CONFIG_MAP]["data"] == {"ca.crt": "anchors", "jwks.json": FIRST[Part.JWKS].decode()}
    assert api.objects[CONFIG_MAP]["binaryData"] == {"other": "AAAA"}
    # Not once the Secret holds another.
    write(api, SECOND)
    api.edit(CONFIG_MAP, data={})
    assert not await store.publish(Part.JWKS, FIRST)
    assert published(api) is None


async def test_a_withdrawn_set_is_removed_and_not_guarded(autojump_clock: MockClock, lines: list[Line]) -> None:
    """Writes of the ConfigMap are counted: each uses up a change that control planes of Dapr 1.16 to 1.18 notice."""
    api = with_jwt()
    store = store_of(api, withdrawn=(Part.JWKS,))
    assert await store.publish(Part.JWKS, FIRST)
    assert not await store.publish(Part.JWKS, FIRST)
    assert api.objects[CONFIG_MAP]["data"] == {"ca.crt": PARTS["ca.crt"].decode()}
    for former, present in ((FIRST, SECOND), (SECOND, FIRST)) * 5:
        assert await store.replace(present, expected=former)
        assert not await store.publish(Part.JWKS, present)
    assert api.count("replace", "configmaps") == 1
    async with trio.open_nursery() as nursery:
        await nursery.start(store.watch, bundle_parts(OLD) | FIRST, Watcher().changed)
        api.edit(CONFIG_MAP, data=api.objects[CONFIG_MAP]["data"] | {"jwks.json": "theirs"})
        await trio.sleep(100)
        nursery.cancel_scope.cancel()
    assert (published(api), api.count("replace", "configmaps")) == ("theirs", 1)
    assert warnings_in(lines) == []


async def test_a_withdrawn_set_stays_once_the_secret_holds_another() -> None:
    api = with_jwt()
    write(api, SECOND)
    assert not await store_of(api, withdrawn=(Part.JWKS,)).publish(Part.JWKS, FIRST)
    assert published(api) == FIRST[Part.JWKS].decode()


class Watcher:
    def __init__(self) -> None:
        self.calls: list[tuple[Trigger, ...]] = []

    async def changed(self, parts: frozenset[Part]) -> None:
        causes = causes_of(parts, store_of(installed()))
        assert all(cause.sources == (f"Secret {PLACE}",) for cause in causes)
        self.calls.append(tuple(cause.trigger for cause in causes))


@asynccontextmanager
async def watching(api: FakeApi, stored: Parts = FIRST) -> AsyncIterator[Watcher]:
    """Trust bundle and signing key, as one watch of both objects."""
    watcher = Watcher()
    async with trio.open_nursery() as nursery:
        await nursery.start(store_of(api).watch, bundle_parts(OLD) | dict(stored), watcher.changed)
        yield watcher
        nursery.cancel_scope.cancel()


async def test_changes_of_either_are_reported_and_nothing_else(autojump_clock: MockClock) -> None:
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
        assert published(api) == FIRST[Part.JWKS].decode()
        assert watcher.calls == []
    assert warnings_in(lines) == [f"ConfigMap {PLACE} no longer had the public keys of the Secret: restored"]


async def test_a_value_that_is_not_base64_is_named(autojump_clock: MockClock) -> None:
    api = with_jwt()
    async with watching(api) as watcher:
        await trio.sleep(1)
        api.edit(SECRET, data=api.objects[SECRET]["data"] | {"jwt.key": "?"})
        await trio.sleep(100)
        assert len(watcher.calls) == 1
    with pytest.raises(StoreError, match=r"jwt\.key: the value is not base64"):
        await store_of(api).read(JWT_KEYS)


async def test_an_empty_secret_has_no_jwt() -> None:
    assert await store_of(installed()).read(JWT_KEYS) == {}

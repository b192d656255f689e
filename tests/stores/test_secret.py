"""The Secret and the ConfigMap of the trust bundle, on an API server in memory."""

import itertools
import math
import re
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from sentry_trio.ca.bundle import StoredBundle
from sentry_trio.ca.parts import bundle_parts
from sentry_trio.conditions import Conditions
from sentry_trio.environments.run_inputs import causes_of
from sentry_trio.errors import (
    ApiRejectedError,
    ApiUnavailableError,
    IncompleteBundleError,
    InvalidOptionsError,
    Part,
    StoreError,
)
from sentry_trio.stores.secret import SecretStore
from sentry_trio.stores.secret_content import Names, names_of_paths
from testkit.crashing import NEW, NEXT, OLD
from testkit.kube.fakes import CONFIG_MAP, NAMESPACE, SECRET, FakeApi, Fault, installed, refused, unavailable
from testkit.log_capture import Line
from testkit.stores import NAMES, create, load, publish

PLACE = f"{NAMESPACE}/dapr-trust-bundle"
PARTS = {"ca.crt": OLD.anchors, "issuer.crt": OLD.chain, "issuer.key": OLD.key}


def store_of(
    api: FakeApi, names: Names = NAMES, conditions: Conditions | None = None, withdrawn: Collection[Part] = ()
) -> SecretStore:
    return SecretStore(api, NAMESPACE, names, withdrawn=withdrawn, conditions=conditions)


def named(anchors: str, chain: str, key: str) -> Names:
    return {**NAMES, Part.ANCHORS: anchors, Part.CHAIN: chain, Part.KEY: key}


def encoded(parts: dict[str, bytes]) -> dict[str, str]:
    return {name: b64encode(part).decode() for name, part in parts.items()}


def parts_of(bundle: StoredBundle) -> dict[str, bytes]:
    return dict(zip(PARTS, (bundle.anchors, bundle.chain, bundle.key), strict=True))


def write(api: FakeApi, bundle: StoredBundle) -> None:
    """Like another writer it, all else untouched."""
    api.edit(SECRET, data=(api.objects[SECRET].get("data") or {}) | encoded(parts_of(bundle)))


def held(api: FakeApi) -> dict[str, bytes]:
    return {name: b64decode(value) for name, value in (api.objects[SECRET].get("data") or {}).items()}


def published(api: FakeApi) -> object:
    return (api.objects[CONFIG_MAP].get("data") or {}).get("ca.crt")


def filled(bundle: StoredBundle = OLD) -> FakeApi:
    api = installed()
    write(api, bundle)
    api.edit(CONFIG_MAP, data={"ca.crt": bundle.anchors.decode()})
    return api


def warnings_in(lines: list[Line]) -> list[str]:
    return [line["event"] for line in lines if line["log_level"] == "warning"]


# --- keys


def test_keys_are_the_base_names_of_the_paths() -> None:
    paths = {part: Path("/a") / name for part, name in NAMES.items()} | {Part.ANCHORS: Path("root.pem")}
    assert names_of_paths(paths, with_jwt=True) == NAMES | {Part.ANCHORS: "root.pem"}


def test_keys_must_differ() -> None:
    paths = {part: Path(name) for part, name in NAMES.items()}
    with pytest.raises(InvalidOptionsError, match=r"must differ, got tls\.pem, issuer\.crt, tls\.pem"):
        names_of_paths(paths | {Part.ANCHORS: Path("/a/tls.pem"), Part.KEY: Path("/b/tls.pem")}, with_jwt=False)


def test_keys_of_a_renewal_are_not_for_the_trust_bundle() -> None:
    paths = {part: Path(name) for part, name in NAMES.items()} | {Part.CHAIN: Path("issuer.next.crt")}
    with pytest.raises(InvalidOptionsError, match=r"renewal needs issuer\.next\.crt for itself"):
        names_of_paths(paths, with_jwt=False)


@pytest.mark.parametrize(("key", "jwks"), [("a", "a"), ("issuer.key", "jwks.json"), ("jwt.key", "ca.crt")])
def test_keys_of_jwts_must_differ_if_there_are_jwts(key: str, jwks: str) -> None:
    paths = {part: Path(name) for part, name in NAMES.items()} | {Part.JWT_KEY: Path(key), Part.JWKS: Path(jwks)}
    with pytest.raises(
        InvalidOptionsError,
        match=rf"must differ from each other and from ca\.crt, issuer\.crt, issuer\.key, got {key}, {jwks}$",
    ):
        names_of_paths(paths, with_jwt=True)
    assert names_of_paths(paths, with_jwt=False)[Part.JWKS] == jwks


async def test_other_keys_are_used_when_asked_for() -> None:
    api = installed()
    store = store_of(api, named("root", "chain", "key"))
    await create(store, NEW)
    assert held(api) == {"root": NEW.anchors, "chain": NEW.chain, "key": NEW.key}
    await publish(store, NEW)
    assert api.objects[CONFIG_MAP]["data"] == {"root": NEW.anchors.decode()}


# --- loading


@pytest.mark.parametrize("data", [None, {}, {"jwt.key": "aGk=", "other": "aGk="}])
async def test_a_secret_without_any_of_the_three_keys_is_none(data: dict[str, str] | None) -> None:
    api = installed()
    api.edit(SECRET, data=data)
    assert await load(store_of(api)) is None


async def test_a_set_is_loaded_unchanged_for_any_config_map() -> None:
    api = installed()
    write(api, OLD)
    assert await load(store_of(api)) == OLD
    api.edit(CONFIG_MAP, data={"ca.crt": "other"})
    assert await load(store_of(api)) == OLD
    api.remove(CONFIG_MAP)
    assert await load(store_of(api)) == OLD


async def test_empty_values_are_present() -> None:
    api = installed()
    write(api, StoredBundle(b"", b"", b""))
    assert await load(store_of(api)) == StoredBundle(b"", b"", b"")


PARTIAL = [some for size in (1, 2) for some in itertools.combinations(PARTS, size)]


@pytest.mark.parametrize("present", PARTIAL, ids=" ".join)
@pytest.mark.parametrize("operation", ["load", "create"])
async def test_a_part_of_a_set_is_an_error_and_is_left_alone(present: tuple[str, ...], operation: str) -> None:
    api = installed()
    api.edit(SECRET, data=encoded({name: PARTS[name] for name in present}))
    before = api.objects[SECRET]
    store = store_of(api)
    operations: dict[str, Callable[[], Awaitable[object]]] = {
        "load": partial(load, store),
        "create": partial(create, store, NEW),
    }
    with pytest.raises(IncompleteBundleError) as caught:
        await operations[operation]()
    missing = [name for name in PARTS if name not in present]
    text = str(caught.value)
    assert text.startswith(
        f"incomplete trust bundle: Secret {NAMESPACE}/dapr-trust-bundle lacks {' and '.join(missing)} "
    )
    assert "; restore the missing keys, or remove the others" in text
    assert [str(path) for path in caught.value.missing] == missing
    assert [str(path) for path in caught.value.present] == list(present)
    assert api.objects[SECRET] is before


@pytest.mark.parametrize(
    ("path", "kind", "command"),
    [(SECRET, "Secret", "secret generic"), (CONFIG_MAP, "ConfigMap", "configmap")],
    ids=["secret", "configmap"],
)
async def test_a_missing_object_is_an_error_with_its_remedy_and_nothing_is_written(
    path: str, kind: str, command: str
) -> None:
    api = installed()
    api.remove(path)
    before = dict(api.objects)
    with pytest.raises(StoreError) as caught:
        await create(store_of(api), NEW)
    assert str(caught.value) == (
        f"failed to get trust bundle {kind.lower()}: there is no {kind} {PLACE}: install the chart, which creates it "
        f"empty, or run 'kubectl create {command} dapr-trust-bundle --namespace {NAMESPACE}'"
    )
    assert not isinstance(caught.value, IncompleteBundleError)
    assert api.objects == before


@pytest.mark.parametrize(
    ("verb", "part", "operation", "text"),
    [
        ("get", "secrets", "load", "failed to get trust bundle secret: 403 Forbidden: grant get on secrets dapr-trust"),
        (
            "replace",
            "secrets",
            "create",
            "failed to update trust bundle secret: 403 Forbidden: grant update on secrets",
        ),
        (
            "get",
            "configmaps",
            "publish",
            "failed to get trust bundle configmap: 403 Forbidden: grant get on configmaps",
        ),
        ("replace", "configmaps", "publish", "failed to update trust bundle configmap: 403 Forbidden: grant update on"),
    ],
)
async def test_a_missing_permission_is_reported_immediately(verb: str, part: str, operation: str, text: str) -> None:
    api = installed()
    if operation == "publish":
        write(api, NEW)
    api.faults.append(Fault(verb, part, refused(403, "Forbidden")))
    store = store_of(api)
    operations: dict[str, Callable[[], Awaitable[object]]] = {
        "load": partial(load, store),
        "create": partial(create, store, NEW),
        "publish": partial(publish, store, NEW),
    }
    with pytest.raises(StoreError) as caught:
        await operations[operation]()
    assert str(caught.value).startswith(text)


async def test_other_refusals_name_the_object() -> None:
    api = installed()
    api.faults.append(Fault("replace", "secrets", refused(422, "Invalid")))
    with pytest.raises(StoreError, match=r"^failed to update trust bundle secret: Secret dapr-system/.*: 422 Invalid$"):
        await create(store_of(api), NEW)


@pytest.mark.parametrize("value", ["!", "a", 3, None])
async def test_the_error_for_invalid_base64_omits_the_value(value: object) -> None:
    api = installed()
    api.edit(SECRET, data=encoded(PARTS) | {"issuer.key": value})
    with pytest.raises(StoreError, match=r"dapr-trust-bundle: issuer\.key: the value is not base64$") as caught:
        await load(store_of(api))
    assert caught.value.__suppress_context__


FOREIGN = {
    "cert-manager": (
        {"tls.crt": b"", "tls.key": b""},
        "it has tls.crt, tls.key, as cert-manager writes them: use these",
    ),
    "other names": (
        {"root.pem": b"# a root\n-----BEGIN CERTIFICATE-----\n", "notes": b"x"},
        "it has root.pem: if these",
    ),
}


@pytest.mark.parametrize("name", FOREIGN)
@pytest.mark.parametrize("operation", ["load", "create"])
async def test_nothing_is_generated_beside_other_certificates_and_keys(name: str, operation: str) -> None:
    parts, text = FOREIGN[name]
    api = installed()
    api.edit(SECRET, data=encoded(parts))
    before = dict(api.objects)
    store = store_of(api)
    operations: dict[str, Callable[[], Awaitable[object]]] = {
        "load": partial(load, store),
        "create": partial(create, store, NEW),
    }
    with pytest.raises(StoreError) as caught:
        await operations[operation]()
    said = str(caught.value)
    assert said.startswith(f"Secret {PLACE} has none of ca.crt, issuer.crt, issuer.key, but {text}")
    assert "--issuer-certificate-filename" in said
    assert said.endswith("; no certificate authority is generated beside them: remove them if one should be generated")
    assert api.objects == before


async def test_the_error_for_a_secret_of_cert_manager_names_the_flags() -> None:
    api = installed()
    api.edit(SECRET, data=encoded({"ca.crt": b"anchors", "tls.crt": b"chain", "tls.key": b"key"}))
    with pytest.raises(IncompleteBundleError) as caught:
        await load(store_of(api))
    assert str(caught.value) == (
        f"incomplete trust bundle: Secret {PLACE} lacks issuer.crt and issuer.key while ca.crt is there; it has "
        "tls.crt, tls.key, as cert-manager writes them: use these with --issuer-certificate-filename=tls.crt and "
        "--issuer-key-filename=tls.key (in the chart global.issuerFilenames.cert and .key)"
    )
    assert await load(store_of(api, named("ca.crt", "tls.crt", "tls.key"))) == StoredBundle(
        b"anchors", b"chain", b"key"
    )


async def test_the_keys_of_jwts_are_nothing_foreign() -> None:
    api = installed()
    api.edit(SECRET, data=encoded({"jwt.pem": b"-----BEGIN PRIVATE KEY-----\n"}))
    assert await load(store_of(api, {**NAMES, Part.JWT_KEY: "jwt.pem"})) is None
    with pytest.raises(StoreError, match=r"has jwt\.pem"):
        await load(store_of(api))


@pytest.mark.parametrize("kind", ["Secret", "ConfigMap"])
async def test_the_error_for_an_immutable_object_has_its_remedy(kind: str) -> None:
    api = installed()
    write(api, NEW)
    if kind == "Secret":
        api.edit(SECRET, data={})
    error = refused(422, "Invalid: data: Forbidden: field is immutable when `immutable` is set")
    api.faults.append(Fault("replace", f"{kind.lower()}s", error))
    with pytest.raises(StoreError) as caught:
        await (create(store_of(api), NEW) if kind == "Secret" else publish(store_of(api), NEW))
    save = "save its values, " if kind == "Secret" else ""
    assert f"{kind} {PLACE} is immutable: {save}delete it with 'kubectl delete {kind.lower()} " in str(caught.value)


# --- patience


async def test_failures_that_pass_are_waited_for(autojump_clock: MockClock) -> None:
    api = filled()
    api.faults.append(Fault("get", "secrets", unavailable(), left=5))
    assert await load(store_of(api)) == OLD
    times = [time for _, _, time in api.requests]
    pauses = [after - before for before, after in itertools.pairwise(times)]
    assert [0.05 * 2**n <= pause <= 0.1 * 2**n for n, pause in enumerate(pauses)] == [True] * 5


async def test_patience_ends(autojump_clock: MockClock) -> None:
    api = filled()
    api.down = True
    started = trio.current_time()
    with pytest.raises(ApiUnavailableError, match=r"^failed to get trust bundle secret: connection refused$"):
        await load(store_of(api))
    assert 24 <= trio.current_time() - started <= 30


async def test_retry_after_is_respected(autojump_clock: MockClock) -> None:
    api = filled()
    api.faults.append(Fault("get", "secrets", ApiUnavailableError("429", retry_after=7)))
    started = trio.current_time()
    assert await load(store_of(api)) == OLD
    assert trio.current_time() - started == pytest.approx(7)


# --- creating


async def test_an_empty_secret_is_filled_and_all_else_stays() -> None:
    api = installed()
    api.edit(SECRET, data={"jwt.key": "aGk=", "jwks.json": "e30="}, metadata={"labels": {"app": "dapr-sentry"}})
    assert await create(store_of(api), NEW) == NEW
    assert held(api) == parts_of(NEW) | {"jwt.key": b"hi", "jwks.json": b"{}"}
    assert api.objects[SECRET]["metadata"]["labels"] == {"app": "dapr-sentry"}
    assert api.objects[SECRET]["type"] == "Opaque"
    assert published(api) is None


async def test_an_existing_bundle_is_adopted() -> None:
    api = filled()
    assert await create(store_of(api), NEW) == OLD
    assert api.count("replace") == 0


@pytest.mark.parametrize("data", [None, {"ca.crt": ""}, {"ca.crt": "anchors of somebody whose key is lost"}], ids=str)
async def test_anchors_whose_key_is_lost_are_replaced_with_a_warning(
    lines: list[Line], data: dict[str, str] | None
) -> None:
    api = installed()
    api.edit(CONFIG_MAP, data=data)
    assert await create(store_of(api), NEW) == NEW
    expected = 1 if data and data["ca.crt"] else 0
    assert [text.startswith(f"Secret {PLACE} was empty although") for text in warnings_in(lines)] == [True] * expected


async def test_a_bundle_that_is_restored_beside_its_published_anchors_is_no_loss(lines: list[Line]) -> None:
    api = installed()
    api.edit(CONFIG_MAP, data={"ca.crt": NEW.anchors.decode()})
    assert await create(store_of(api), NEW) == NEW
    assert warnings_in(lines) == []


@pytest.mark.parametrize("attempt", range(50))
async def test_the_bundle_of_one_replica_is_used_by_all_that_start_at_once(
    autojump_clock: MockClock, attempt: int
) -> None:
    api = installed(pause=0.01 if attempt % 2 else 0)
    bundles = [OLD, NEW, NEXT]
    results: list[StoredBundle] = []

    async def start(bundle: StoredBundle) -> None:
        results.append(await create(store_of(api), bundle))

    async with trio.open_nursery() as nursery:
        for bundle in bundles:
            nursery.start_soon(start, bundle)
    assert len(results) == 3
    assert results[0] in bundles
    assert results == [results[0]] * 3
    assert held(api) == parts_of(results[0])
    # Each has seen an empty Secret: none came too late to try.
    assert api.count("replace", "secrets") == 3


@pytest.mark.parametrize("foreign", [NEXT, None], ids=["filled meanwhile", "labelled meanwhile"])
async def test_a_conflict_is_read_again(autojump_clock: MockClock, foreign: StoredBundle | None) -> None:
    api = installed()
    meddled = False

    async def meddle(verb: str, _path: str) -> None:
        nonlocal meddled
        if verb == "replace" and not meddled:
            meddled = True
            write(api, foreign) if foreign else api.edit(SECRET, metadata={"labels": {"a": "b"}})

    api.before = meddle
    assert await create(store_of(api), NEW) == (foreign or NEW)
    assert held(api) == parts_of(foreign or NEW)


@pytest.mark.parametrize("after", [True, False], ids=["done", "not done"])
async def test_a_write_whose_answer_was_lost_is_read_before_another(autojump_clock: MockClock, after: bool) -> None:
    api = installed()
    api.faults.append(Fault("replace", "secrets", unavailable(), after=after))
    assert await create(store_of(api), NEW) == NEW
    verbs = [verb for verb, path, _ in api.requests if path == SECRET]
    assert verbs == ["get", "replace", "get", *["replace"] * (not after)]
    assert held(api) == parts_of(NEW)


async def test_a_write_that_lands_late_wins_over_its_own_retry(autojump_clock: MockClock) -> None:
    """The first write's answer is lost, it lands only after the Secret has been read again."""
    api = installed()
    late: list[dict[str, Any]] = []
    replace = api.replace

    async def delayed(path: str, body: Any) -> dict[str, Any]:
        if not late:
            late.append(dict(body))
            raise unavailable()
        api.put(path, late[0])
        return await replace(path, body)

    api.replace = delayed  # type: ignore[method-assign]
    assert await create(store_of(api), NEW) == NEW
    assert held(api) == parts_of(NEW)


async def test_endless_conflicts_are_an_error(autojump_clock: MockClock) -> None:
    api = installed()
    api.faults.append(Fault("replace", "secrets", refused(409, "Conflict"), left=float("inf")))
    with pytest.raises(
        ApiUnavailableError, match=r"^failed to update trust bundle secret: 409 Conflict: .*kubectl get secret dapr"
    ):
        await create(store_of(api), NEW)


@pytest.mark.parametrize("request_number", range(3))
async def test_cancelled_anywhere_it_has_written_all_or_nothing(autojump_clock: MockClock, request_number: int) -> None:
    api = installed(pause=1)
    with trio.move_on_after(request_number + 0.5):
        await create(store_of(api), NEW)
    assert held(api) in ({}, parts_of(NEW))
    api.pause = 0
    assert await create(store_of(api), NEW) == NEW


# --- publishing


@pytest.mark.parametrize("data", [None, {}, {"ca.crt": "old anchors"}, {"ca.crt": "old anchors\n "}], ids=str)
async def test_a_config_map_that_differs_is_repaired(data: dict[str, str] | None) -> None:
    api = filled(OLD)
    api.edit(CONFIG_MAP, data=data and data | {"jwks.json": "{}"})
    secret = api.objects[SECRET]
    assert await publish(store_of(api), OLD)
    assert published(api) == "old anchors\n"
    assert (api.objects[CONFIG_MAP]["data"] or {}).get("jwks.json") == ("{}" if data else None)
    assert api.objects[SECRET] is secret


async def test_anchors_among_the_binary_data_are_moved() -> None:
    api = filled(OLD)
    api.edit(CONFIG_MAP, data=None, binaryData={"ca.crt": "aGk=", "other": "aGk="})
    assert await publish(store_of(api), OLD)
    assert published(api) == "old anchors\n"
    assert api.objects[CONFIG_MAP]["binaryData"] == {"other": "aGk="}


async def test_a_published_bundle_is_not_written_again() -> None:
    api = filled(OLD)
    assert not await publish(store_of(api), OLD)
    assert api.count("replace") == 0


async def test_nothing_is_published_that_the_secret_no_longer_holds() -> None:
    api = filled(NEW)
    assert not await publish(store_of(api), OLD)
    assert published(api) == NEW.anchors.decode()


async def test_a_publication_never_undoes_a_later_one(autojump_clock: MockClock) -> None:
    """An operator replaces both objects between any two requests of a publication."""
    for moment in range(1, 4):
        api = filled(OLD)
        api.edit(CONFIG_MAP, data={"ca.crt": "drifted"})
        number = 0

        async def meddle(_verb: str, _path: str, *, api: FakeApi = api, moment: int = moment) -> None:
            nonlocal number
            number += 1
            if number == moment:
                write(api, NEW)
                api.edit(CONFIG_MAP, data={"ca.crt": NEW.anchors.decode()})

        api.before = meddle
        assert not await publish(store_of(api), OLD)
        assert published(api) == NEW.anchors.decode()
        assert number >= moment


async def test_anchors_that_a_config_map_cannot_carry_are_an_error() -> None:
    odd = StoredBundle(b"# M\xfcller\n", b"chain", b"key")
    api = installed()
    write(api, odd)
    with pytest.raises(StoreError, match="are not UTF-8"):
        await publish(store_of(api), odd)


# --- watching


class Watcher:
    """A watch, and when it called."""

    def __init__(self, api: FakeApi) -> None:
        self.api = api
        self.calls: list[float] = []
        self.causes: list[str] = []
        self.failures = 0

    async def changed(self, parts: frozenset[Part]) -> None:
        self.calls.append(trio.current_time())
        self.causes += map(str, causes_of(parts, store_of(self.api)))
        if self.failures:
            self.failures -= 1
            raise unavailable()


@asynccontextmanager
async def watching(
    api: FakeApi, accepted: StoredBundle = OLD, *, failures: int = 0, conditions: Conditions | None = None
) -> AsyncIterator[Watcher]:
    watcher = Watcher(api)
    watcher.failures = failures
    async with trio.open_nursery() as nursery:
        await nursery.start(
            partial(store_of(api, conditions=conditions).watch, bundle_parts(accepted), watcher.changed)
        )
        yield watcher
        nursery.cancel_scope.cancel()


async def test_another_bundle_is_reported_once_and_soon(autojump_clock: MockClock) -> None:
    api = filled()
    async with watching(api) as watcher:
        assert sorted(api.watched) == sorted([SECRET, CONFIG_MAP])
        await trio.sleep(100)
        assert watcher.calls == []
        before = trio.current_time()
        write(api, NEW)
        await trio.sleep(100)
        assert len(watcher.calls) == 1
        assert watcher.calls[0] - before <= 1
        assert published(api) == OLD.anchors.decode()  # the next run's business, once it has verified


async def test_a_watch_that_publishes_nothing_leaves_the_config_map(autojump_clock: MockClock) -> None:
    api = filled(NEW)
    watcher = Watcher(api)
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(store_of(api).watch, bundle_parts(NEW), watcher.changed, publish=False))
        api.edit(CONFIG_MAP, data={"more": "edits"})
        await trio.sleep(100)
        assert published(api) is None
        assert watcher.calls == []
        write(api, NEXT)
        await trio.sleep(10)
        assert len(watcher.calls) == 1
        nursery.cancel_scope.cancel()


async def test_a_change_before_the_watch_is_reported(autojump_clock: MockClock) -> None:
    async with watching(filled(NEW), OLD) as watcher:
        await trio.sleep(100)
        assert len(watcher.calls) == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda api: write(api, OLD),
        lambda api: api.edit(SECRET, metadata={"labels": {"a": "b"}}),
        lambda api: api.edit(SECRET, data=api.objects[SECRET]["data"] | {"jwt.key": "aGk="}),
        lambda api: api.edit(CONFIG_MAP, data=api.objects[CONFIG_MAP]["data"] | {"jwks.json": "{}"}),
    ],
    ids=["same", "label", "other key", "config map's other key"],
)
async def test_a_rewrite_without_a_change_is_not_reported(autojump_clock: MockClock, change: Any) -> None:
    api = filled()
    async with watching(api) as watcher:
        await trio.sleep(1)
        change(api)
        await trio.sleep(100)
        assert watcher.calls == []
        assert api.count("replace") == 0


@pytest.mark.parametrize(
    "change",
    [
        lambda api: api.remove(SECRET),
        lambda api: api.edit(SECRET, data={}),
        lambda api: api.edit(SECRET, data=encoded({"ca.crt": b"x"})),
        lambda api: api.edit(SECRET, data=encoded(PARTS) | {"issuer.key": "?"}),
    ],
    ids=["removed", "emptied", "incomplete", "not base64"],
)
async def test_unusable_content_is_reported_once_and_then_its_repair(autojump_clock: MockClock, change: Any) -> None:
    api = filled()
    secret = api.objects[SECRET]
    async with watching(api) as watcher:
        await trio.sleep(1)
        change(api)
        await trio.sleep(1000)
        assert len(watcher.calls) == 1
        api.put(SECRET, secret)
        await trio.sleep(1000)
        assert len(watcher.calls) == 2


async def test_a_foreign_edit_of_the_config_map_is_undone_and_logged(
    autojump_clock: MockClock, lines: list[Line]
) -> None:
    api = filled()
    async with watching(api) as watcher:
        await trio.sleep(1)
        api.edit(CONFIG_MAP, data={"ca.crt": "somebody else's"})
        await trio.sleep(1)
        assert published(api) == OLD.anchors.decode()
        await trio.sleep(100)
        assert watcher.calls == []
        assert api.count("replace") == 1
    assert warnings_in(lines) == [f"ConfigMap {PLACE} no longer had the trust anchors of the Secret: restored"]


async def test_repeated_repairs_are_one_warning_a_minute_with_their_number(
    autojump_clock: MockClock, lines: list[Line]
) -> None:
    """An operator undoes each repair at once."""
    api = filled()

    async def quarrel(verb: str, _path: str) -> None:
        if verb == "get" and published(api) == OLD.anchors.decode():
            api.edit(CONFIG_MAP, data={})

    api.before = quarrel
    async with watching(api):
        await trio.sleep(200)
    repairs = api.count("replace")
    assert 50 <= repairs <= 210
    first, *others = warnings_in(lines)
    assert first == f"ConfigMap {PLACE} no longer had the trust anchors of the Secret: restored"
    assert len(others) == 3
    counts = [int(re.findall(r"restored, (\d+) times in 6\d s; find out what else writes", text)[0]) for text in others]
    assert repairs - 70 <= 1 + sum(counts) <= repairs


@pytest.mark.parametrize("trouble", ["removed", "refused"])
async def test_a_config_map_that_cannot_be_repaired_is_reported_once(
    autojump_clock: MockClock, lines: list[Line], trouble: str
) -> None:
    api = filled()
    async with watching(api) as watcher:
        await trio.sleep(1)
        if trouble == "removed":
            api.remove(CONFIG_MAP)
        else:
            api.faults.append(Fault("replace", "configmaps", refused(403, "Forbidden"), left=float("inf")))
            api.edit(CONFIG_MAP, data={})
        await trio.sleep(1000)
        assert watcher.calls == []
        write(api, NEW)
        await trio.sleep(10)
        assert len(watcher.calls) == 1
    (warning,) = warnings_in(lines)
    assert warning.startswith(f"cannot update ConfigMap {PLACE} from the Secret: failed to ")


@pytest.mark.parametrize(
    ("trouble", "remedy"),
    [
        (
            refused(422, "Invalid: data: Forbidden: field is immutable when `immutable` is set"),
            "kubectl delete configmap",
        ),
        (refused(404, "NotFound"), "run 'kubectl create configmap"),
        (refused(403, "Forbidden"), "grant update on configmaps"),
    ],
    ids=["immutable", "deleted", "forbidden"],
)
async def test_a_config_map_that_cannot_be_repaired_is_a_condition(
    autojump_clock: MockClock, trouble: ApiRejectedError, remedy: str
) -> None:
    api = filled()
    conditions = Conditions()
    async with watching(api, conditions=conditions):
        await trio.sleep(1)
        fault = Fault("replace", "configmaps", trouble, left=math.inf)
        api.faults.append(fault)
        api.edit(CONFIG_MAP, data={})
        await trio.sleep(100)
        assert remedy in conditions.active["config-map"]
        fault.left = 0
        api.edit(CONFIG_MAP, data={"more": "edits"})
        await trio.sleep(5)
        assert (dict(conditions.active), published(api)) == ({}, OLD.anchors.decode())


async def test_a_secret_that_may_not_be_read_is_a_condition(autojump_clock: MockClock, lines: list[Line]) -> None:
    api = filled()
    conditions = Conditions()
    async with watching(api, conditions=conditions) as watcher:
        await trio.sleep(1)
        fault = Fault("get", "secrets", refused(403, "Forbidden"), left=math.inf)
        api.faults.append(fault)
        write(api, NEW)
        await trio.sleep(100)
        assert conditions.active["secret"].startswith(f"cannot check Secret {PLACE} for changes: failed to get ")
        assert watcher.calls == []
        fault.left = 0
        await trio.sleep(10)
        assert (dict(conditions.active), len(watcher.calls)) == ({}, 1)
    assert len(warnings_in(lines)) == 1


@pytest.mark.parametrize("how", ["cut", "expire", "close_watches"])
async def test_watches_survive(autojump_clock: MockClock, lines: list[Line], how: str) -> None:
    api = filled()
    async with watching(api) as watcher:
        for number in range(20):
            await trio.sleep(7 if number % 2 else 17)
            assert len(api.watched) == 2
            getattr(api, how)()
        await trio.sleep(10)
        assert warnings_in(lines) == []
        assert watcher.calls == []
        write(api, NEW)
        await trio.sleep(1)
        assert len(watcher.calls) == 1
        assert len(api.watched) == 2


@pytest.mark.parametrize(
    "change", [lambda api: write(api, NEW), lambda api: api.remove(SECRET)], ids=["changed", "removed"]
)
async def test_a_change_while_the_watch_was_cut_is_found(autojump_clock: MockClock, change: Any) -> None:
    api = filled()
    async with watching(api) as watcher:
        await trio.sleep(60)
        api.cut()
        change(api)
        await trio.sleep(2)
        assert len(watcher.calls) == 1


async def test_an_api_server_that_is_down_is_waited_for_with_pauses(autojump_clock: MockClock) -> None:
    api = filled()
    async with watching(api) as watcher:
        await trio.sleep(60)
        api.down = True
        api.cut()
        before = len(api.requests)
        await trio.sleep(600)
        assert len(api.requests) - before <= 2 * 250
        assert watcher.calls == []
        write(api, NEW)
        api.down = False
        await trio.sleep(7)
        assert len(watcher.calls) == 1


async def test_an_api_server_that_is_down_at_the_start_is_waited_for(autojump_clock: MockClock) -> None:
    api = filled(NEW)
    api.down = True
    async with watching(api, OLD) as watcher:
        await trio.sleep(60)
        api.down = False
        await trio.sleep(7)
        assert len(watcher.calls) == 1


async def test_without_permission_to_watch_it_is_polled(autojump_clock: MockClock, lines: list[Line]) -> None:
    """Dapr's own chart does not grant it for the Secret."""
    api = filled()
    api.faults.append(Fault("watch", "secrets", refused(403, "Forbidden"), left=float("inf")))
    async with watching(api) as watcher:
        await trio.sleep(60)
        write(api, NEW)
        await trio.sleep(11)
        assert len(watcher.calls) == 1
        await trio.sleep(1000)
        assert len(watcher.calls) == 1
    assert api.count("watch", "secrets") <= 110
    assert warnings_in(lines) == [f"cannot watch {SECRET}, reading it every 10 s instead: 403 Forbidden"]


async def test_a_silent_watch_is_replaced(autojump_clock: MockClock) -> None:
    api = filled()
    async with watching(api) as watcher:
        await trio.sleep(1)
        api._watches.clear()  # the connection is gone without a sign
        write(api, NEW)
        await trio.sleep(252)
        assert len(watcher.calls) == 1


async def test_a_change_that_could_not_be_handled_is_reported_again(autojump_clock: MockClock) -> None:
    api = filled()
    async with watching(api, failures=3) as watcher:
        await trio.sleep(1)
        write(api, NEW)
        await trio.sleep(60)
        assert len(watcher.calls) == 4


async def test_an_api_server_that_has_just_begun_refuses_for_a_moment(autojump_clock: MockClock) -> None:
    """It knows no roles yet. That does not change the objects, and a change is reported soon after."""
    api = filled()
    async with watching(api) as watcher:
        await trio.sleep(100)
        forbidden = [Fault(verb, "", refused(403, "Forbidden"), left=math.inf) for verb in ("get", "watch")]
        api.faults += forbidden
        api.cut()
        await trio.sleep(3)
        api.faults.clear()
        assert watcher.calls == []
        began = trio.current_time()
        write(api, NEW)
        await trio.sleep(100)
        assert len(watcher.calls) == 1
        assert watcher.calls[0] - began < 5
        assert watcher.causes == [f"trust bundle changed: Secret {PLACE}"]


async def test_other_failures_of_the_callback_end_the_watch(autojump_clock: MockClock) -> None:
    async def changed(_parts: frozenset[Part]) -> None:
        raise StoreError("no")

    with pytest.RaisesGroup(pytest.RaisesExc(StoreError, match="no"), flatten_subgroups=True):
        await store_of(filled(NEW)).watch(bundle_parts(OLD), changed)


# --- secrets stay secret


async def test_no_value_is_ever_logged_or_in_an_error(autojump_clock: MockClock, lines: list[Line]) -> None:
    api = filled()
    texts: list[str] = []
    async with watching(api):
        await trio.sleep(1)
        for change in (NEW, NEXT):
            write(api, change)
            await trio.sleep(5)
        api.edit(SECRET, data=encoded({"issuer.key": NEW.key}))
        await trio.sleep(5)
        for operation in (partial(load, store_of(api)), partial(create, store_of(api), NEXT)):
            with pytest.raises(StoreError) as caught:
                await operation()
            texts.append(repr(caught.value))
    everything = repr(lines) + repr(texts)
    for bundle in (OLD, NEW, NEXT):
        for form in (bundle.key, b64encode(bundle.key)):
            assert form.decode().strip() not in everything

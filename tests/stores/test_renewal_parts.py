"""State of a renewal beside the trust bundle: files and keys of the Secret, replaced as one with it."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from sentry_trio.ca.parts import BUNDLE, BUNDLE_AND_RENEWAL, RENEWAL, Changes, bundle_parts
from sentry_trio.errors import ApiUnavailableError, IncompleteBundleError, Part, StoreError
from sentry_trio.stores.atomic_files import LIMIT
from sentry_trio.stores.directory import DirectoryStore
from sentry_trio.stores.part_store import RENEWAL_NAMES
from sentry_trio.stores.secret import SecretStore
from sentry_trio.stores.secret_content import managed_by
from testkit.crashing import NEW, OLD, ObservedFiles
from testkit.kube.fakes import CONFIG_MAP, NAMESPACE, SECRET, FakeApi, Fault, installed, refused, unavailable
from testkit.log_capture import capture_logs
from testkit.stores import NAMES

KEYS = {**NAMES, **RENEWAL_NAMES}
PUBLICATION: Changes = {Part.ANCHORS: NEW.anchors, Part.NEXT_CHAIN: NEW.chain, Part.NEXT_KEY: NEW.key}
KEPT = {part: part.value.encode() for part in RENEWAL}


def directory_store(directory: Path) -> DirectoryStore:
    return DirectoryStore({part: directory / KEYS[part] for part in BUNDLE_AND_RENEWAL})


async def secret_store(api: FakeApi) -> SecretStore:
    """Holds the old trust bundle, and publishes it."""
    store = SecretStore(api, NAMESPACE, KEYS)
    await store.replace(bundle_parts(OLD), expected=dict.fromkeys(BUNDLE))
    await store.publish(Part.ANCHORS, bundle_parts(OLD))
    return store


# --- both


async def test_files_are_replaced_as_one_with_the_bundle_and_private(tmp_path: Path) -> None:
    store = directory_store(tmp_path)
    assert await store.replace({**bundle_parts(OLD), **KEPT}, expected=dict.fromkeys(BUNDLE_AND_RENEWAL))
    assert await store.read_bundle() == {**bundle_parts(OLD), **KEPT}
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
    assert await store.replace(dict.fromkeys(RENEWAL), expected=KEPT)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(KEYS[part] for part in BUNDLE)


async def test_a_change_of_a_kept_part_loses_the_comparison(tmp_path: Path) -> None:
    store = directory_store(tmp_path)
    await store.replace(bundle_parts(OLD), expected={})
    await store.replace({Part.RECORD: b"1"}, expected={})
    assert not await store.replace(PUBLICATION, expected={**bundle_parts(OLD), **dict.fromkeys(RENEWAL)})
    assert await store.read_bundle() == {**bundle_parts(OLD), Part.RECORD: b"1"}


async def test_files_left_by_a_renewal_are_a_marker_of_an_earlier_authority(tmp_path: Path) -> None:
    store = directory_store(tmp_path)
    await store.replace({Part.RECORD: b"1"}, expected={})
    with pytest.raises(IncompleteBundleError, match=r"ca\.crt.*missing while .*rotation\.json exists"):
        await store.read_bundle()


async def test_keys_left_by_a_renewal_are_a_marker_of_an_earlier_authority() -> None:
    api = installed()
    store = SecretStore(api, NAMESPACE, KEYS)
    await store.replace(KEPT, expected={})
    with pytest.raises(IncompleteBundleError, match=r"issuer\.key while issuer\.next"):
        await store.read_bundle()


UNREADABLE = [
    (lambda path: path.mkdir(), "is a directory"),
    (lambda path: path.symlink_to("gone"), "dangling symbolic link"),
    (lambda path: path.write_bytes(b"x" * (LIMIT + 1)), "larger than 1048576 bytes"),
]


@pytest.mark.parametrize("part", RENEWAL)
@pytest.mark.parametrize(("make", "reason"), UNREADABLE, ids=["directory", "dangling", "large"])
async def test_a_file_of_a_renewal_that_cannot_be_read_keeps_no_bundle_from_being_used(
    tmp_path: Path, part: Part, make: Callable[[Path], object], reason: str
) -> None:
    store = directory_store(tmp_path)
    await store.replace({**bundle_parts(OLD), **KEPT}, expected={})
    path = tmp_path / KEYS[part]
    path.unlink()
    make(path)
    present = {**bundle_parts(OLD), **KEPT}
    del present[part]
    with capture_logs() as lines:
        assert await store.read_bundle() == present
        assert await store.read_bundle() == present
    (warning,) = [line["event"] for line in lines]
    assert warning.startswith(f"failed to read {part.value}: {path}: {reason}; ")
    with pytest.raises(StoreError, match=f"{reason}|is a symbolic link"):
        await store.replace(PUBLICATION, expected={**present, part: None})
    assert await store.read_bundle() == present


@pytest.mark.parametrize("name", [KEYS[Part.ROOT_KEY], KEYS[Part.PREVIOUS_KEY], KEYS[Part.NEXT_KEY]])
async def test_an_issuer_key_with_the_name_of_another_part_is_not_that_part(tmp_path: Path, name: str) -> None:
    await directory_store(tmp_path).replace(bundle_parts(OLD), expected={})
    (tmp_path / KEYS[Part.KEY]).rename(tmp_path / name)
    store = DirectoryStore(
        {part: tmp_path / KEYS[part] for part in RENEWAL}
        | {
            Part.ANCHORS: tmp_path / KEYS[Part.ANCHORS],
            Part.CHAIN: tmp_path / KEYS[Part.CHAIN],
            Part.KEY: tmp_path / name,
        }
    )
    assert await store.read_bundle() == bundle_parts(OLD)
    with pytest.raises(StoreError, match="must be different files"):
        await store.replace({Part.RECORD: b"1"}, expected=bundle_parts(OLD))


async def test_a_file_of_a_renewal_that_cannot_be_read_is_a_marker_of_an_earlier_authority(tmp_path: Path) -> None:
    (tmp_path / "previous-ca.crt").mkdir()
    with pytest.raises(StoreError, match=r"previous-ca\.crt: is a directory"):
        await directory_store(tmp_path).read_bundle()


async def test_a_crash_is_completed_beside_a_file_of_a_renewal_that_cannot_be_read(tmp_path: Path) -> None:
    def refuse(_number: int, operation: str, arguments: tuple[Path, ...]) -> None:
        if operation == "rename" and arguments[1].name == "issuer.crt":
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    paths = {part: tmp_path / KEYS[part] for part in BUNDLE_AND_RENEWAL}
    await directory_store(tmp_path).replace(bundle_parts(OLD), expected={})
    with pytest.raises(StoreError, match="input/output error"):
        await DirectoryStore(paths, operations=ObservedFiles(refuse)).replace(bundle_parts(NEW), expected={})
    (tmp_path / "previous-ca.crt").mkdir()
    assert await directory_store(tmp_path).read_bundle() == bundle_parts(NEW)
    assert (tmp_path / "issuer.crt").read_bytes() == NEW.chain


async def test_read_only_files_are_recognized(tmp_path: Path) -> None:
    store = directory_store(tmp_path)
    assert await store.read_only_reason() is None
    (tmp_path / "ca.crt").symlink_to("elsewhere")
    assert await store.read_only_reason() == f"{tmp_path / 'ca.crt'} is a symbolic link"
    gone = directory_store(tmp_path / "gone")
    assert await gone.read_only_reason() == f"directory {tmp_path / 'gone'} is not writable"


@pytest.mark.parametrize(("kind", "path"), [("Secret", SECRET), ("ConfigMap", CONFIG_MAP)])
async def test_immutable_objects_are_read_only(kind: str, path: str) -> None:
    api = installed()
    store = await secret_store(api)
    assert await store.read_only_reason() is None
    api.edit(path, immutable=True)
    assert await store.read_only_reason() == f"{kind} {NAMESPACE}/dapr-trust-bundle is immutable"


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({}, None),
        ({"annotations": {"note": "x"}}, None),
        ({"annotations": {"cert-manager.io/issuer-name": "x"}}, "cert-manager"),
        ({"annotations": {"sentry-trio/values": "abc"}}, "values of the Helm chart"),
        ({"ownerReferences": [{"kind": "Bundle", "name": "mesh"}]}, "Bundle mesh"),
    ],
)
def test_a_secret_names_its_manager(metadata: dict[str, object], expected: str | None) -> None:
    assert managed_by({"metadata": metadata}) == expected


async def test_the_manager_is_read_from_the_secret() -> None:
    api = installed()
    store = await secret_store(api)
    assert await store.managed_by() is None


# --- the ConfigMap follows the Secret


async def test_anchors_are_published_by_the_write_that_changes_them() -> None:
    api = installed()
    store = await secret_store(api)
    before = api.count("replace", "configmaps")
    assert await store.replace(PUBLICATION, expected=bundle_parts(OLD))
    assert api.objects[CONFIG_MAP]["data"]["ca.crt"] == NEW.anchors.decode()
    *_, first, second = (path for verb, path, _ in api.requests if verb == "replace")
    assert (first, second) == (SECRET, CONFIG_MAP)
    assert api.count("replace", "configmaps") == before + 1
    assert not await store.publish(Part.ANCHORS, {**bundle_parts(OLD), Part.ANCHORS: NEW.anchors})


async def test_other_parts_leave_the_config_map_alone() -> None:
    api = installed()
    store = await secret_store(api)
    before = api.count("replace", "configmaps")
    assert await store.replace({Part.RECORD: b"1"}, expected=bundle_parts(OLD))
    assert await store.replace({Part.ANCHORS: OLD.anchors, Part.RECORD: b"2"}, expected={Part.RECORD: b"1"})
    assert api.count("replace", "configmaps") == before


async def test_a_lost_comparison_leaves_both_alone() -> None:
    api = installed()
    store = await secret_store(api)
    before = dict(api.objects)
    assert not await store.replace(PUBLICATION, expected={**bundle_parts(OLD), Part.RECORD: b"1"})
    assert api.objects == before


async def test_cancellation_does_not_come_between_the_two_writes() -> None:
    api = installed()
    store = await secret_store(api)
    with trio.CancelScope() as scope:

        async def cancel(verb: str, path: str) -> None:
            if (verb, path) == ("replace", SECRET):
                scope.cancel()

        api.before = cancel
        await store.replace(PUBLICATION, expected=bundle_parts(OLD))
        await trio.lowlevel.checkpoint()
    assert scope.cancelled_caught
    assert api.objects[CONFIG_MAP]["data"]["ca.crt"] == NEW.anchors.decode()


@pytest.mark.parametrize("error", [unavailable(), refused(409, "Conflict"), refused(403, "Forbidden")])
async def test_a_config_map_that_cannot_be_written_is_left_to_repair(error: Exception) -> None:
    api = installed()
    store = await secret_store(api)
    api.faults.append(Fault("replace", "configmaps", error))
    with capture_logs() as lines:
        assert await store.replace(PUBLICATION, expected=bundle_parts(OLD))
    assert [line["event"] for line in lines if "has new trust anchors" in line["event"]]
    assert await store.publish(Part.ANCHORS, {**bundle_parts(OLD), Part.ANCHORS: NEW.anchors})


async def test_a_missing_config_map_keeps_anchors_from_changing(autojump_clock: MockClock) -> None:
    api = installed()
    store = await secret_store(api)
    api.faults.append(Fault("get", "configmaps", unavailable(), left=1000))
    before = api.objects[SECRET]
    with pytest.raises(ApiUnavailableError, match="configmap"):
        await store.replace(PUBLICATION, expected=bundle_parts(OLD))
    assert api.objects[SECRET] is before


async def test_an_immutable_config_map_keeps_anchors_from_changing() -> None:
    api = installed()
    store = await secret_store(api)
    api.edit(CONFIG_MAP, immutable=True)
    before = dict(api.objects)
    with pytest.raises(StoreError, match=r"update trust bundle configmap: ConfigMap .* is immutable: delete it with"):
        await store.replace(PUBLICATION, expected=bundle_parts(OLD))
    assert api.objects == before
    assert await store.replace({Part.ANCHORS: OLD.anchors, Part.RECORD: b"1"}, expected=bundle_parts(OLD))


async def test_a_lost_answer_is_no_second_write(autojump_clock: MockClock) -> None:
    api = installed()
    store = await secret_store(api)
    writes = api.count("replace", "secrets")
    api.faults.append(Fault("replace", "secrets", unavailable(), after=True))
    assert await store.replace(PUBLICATION, expected=bundle_parts(OLD))
    assert api.count("replace", "secrets") == writes + 1


# --- watching


async def test_a_kept_part_that_appears_is_reported(autojump_clock: MockClock) -> None:
    api = installed()
    store = await secret_store(api)
    seen: list[frozenset[Part]] = []

    async def changed(parts: frozenset[Part]) -> None:
        seen.append(parts)

    async with trio.open_nursery() as nursery:
        await nursery.start(store.watch, bundle_parts(OLD), changed)
        await trio.sleep(5)
        await store.replace({Part.RECORD: b"1"}, expected={})
        await trio.sleep(5)
        await store.replace({Part.RECORD: None}, expected={})
        await trio.sleep(5)
        nursery.cancel_scope.cancel()
    assert seen == [frozenset({Part.RECORD})] * 2

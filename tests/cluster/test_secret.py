"""The trust bundle in a Secret of a real API server, with no more permissions than a chart gives."""

from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio

from sentry_trio.ca.bundle import StoredBundle
from sentry_trio.ca.parts import bundle_parts
from sentry_trio.errors import IncompleteBundleError, StoreError
from sentry_trio.kube.session import Session
from sentry_trio.settings.configuration import Configuration
from sentry_trio.stores.configuration_object import read_configuration_object, watch_configuration
from sentry_trio.stores.secret import SecretStore
from testkit.cluster.cluster import Cluster
from testkit.cluster.faults import Fault, faulty
from testkit.cluster.installing import CLUSTER_ROLE, DAPR_ROLE, ROLE, Installation, eventually, install
from testkit.crashing import NEW, NEXT, OLD
from testkit.log_capture import capture_logs
from testkit.stores import NAMES, create, load, publish


def parts_of(bundle: StoredBundle) -> dict[str, bytes]:
    return {NAMES[part]: content for part, content in bundle_parts(bundle).items()}


def store_over(session: Session, installation: Installation) -> SecretStore:
    return SecretStore(session, installation.namespace, NAMES)


@pytest.fixture
async def installation(cluster: Cluster, namespace: str, tmp_path: Path) -> Installation:
    return await install(cluster, namespace, tmp_path)


@pytest.fixture
async def store(installation: Installation) -> AsyncIterator[SecretStore]:
    async with installation.session() as session:
        yield store_over(session, installation)


class Told:
    """Counts calls, and waits for them."""

    def __init__(self) -> None:
        self.times = 0
        self._called = trio.Event()

    async def __call__(self, *_causes: object) -> None:
        self.times += 1
        self._called.set()

    async def called(self) -> None:
        with trio.fail_after(60):
            await self._called.wait()
        self._called = trio.Event()


@asynccontextmanager
async def beside(watch: Callable[..., Awaitable[object]]) -> AsyncIterator[Told]:
    """A watch beside the block; yields what it calls."""
    reported = Told()
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(watch, reported))
        yield reported
        nursery.cancel_scope.cancel()


async def test_an_empty_secret_is_filled_and_published(installation: Installation, store: SecretStore) -> None:
    await installation.write({"jwt.key": b"jwt"})
    await installation.edit("configmaps", data={"jwks.json": "{}"})
    assert await load(store) is None
    assert await create(store, NEW) == NEW
    assert await publish(store, NEW)
    assert not await publish(store, NEW)
    assert await load(store) == NEW
    assert await installation.parts() == parts_of(NEW) | {"jwt.key": b"jwt"}
    assert (await installation.get("configmaps"))["data"] == {"jwks.json": "{}", "ca.crt": NEW.anchors.decode()}
    assert (await installation.get("secrets"))["metadata"]["labels"] == {"app": "dapr-sentry"}


async def test_the_bundle_of_one_replica_is_used_by_all_that_start_at_once(
    installation: Installation, store: SecretStore
) -> None:
    for _ in range(10):
        results: list[StoredBundle] = []

        async def start(bundle: StoredBundle, results: list[StoredBundle] = results) -> None:
            results.append(await create(store, bundle))

        async with trio.open_nursery() as nursery:
            for bundle in (OLD, NEW, NEXT):
                nursery.start_soon(start, bundle)
        assert results == [results[0]] * 3
        assert await installation.parts() == parts_of(results[0])
        await installation.edit("secrets", data=None)


async def test_a_part_of_a_set_is_an_error(installation: Installation, store: SecretStore) -> None:
    await installation.write({"ca.crt": b"anchors"})
    with pytest.raises(IncompleteBundleError, match=r"lacks issuer\.crt and issuer\.key while ca\.crt is there; r"):
        await create(store, NEW)
    assert await installation.parts() == {"ca.crt": b"anchors"}


@pytest.mark.parametrize("kind", ["Secret", "ConfigMap"])
async def test_the_error_for_a_missing_object_names_the_fix(
    installation: Installation, store: SecretStore, kind: str
) -> None:
    await installation.delete(f"{kind.lower()}s")
    with pytest.raises(StoreError, match=f"there is no {kind} .*: install the chart.* or run 'kubectl create "):
        await create(store, NEW)


@pytest.mark.parametrize("kind", ["Secret", "ConfigMap"])
async def test_the_error_for_an_immutable_object_has_its_remedy(
    installation: Installation, store: SecretStore, kind: str
) -> None:
    if kind == "ConfigMap":
        await installation.write(parts_of(NEW))
    await installation.edit(f"{kind.lower()}s", immutable=True)
    place = f"{installation.namespace}/dapr-trust-bundle"
    with pytest.raises(StoreError) as caught:
        await (create(store, NEW) if kind == "Secret" else publish(store, NEW))
    text = str(caught.value)
    assert text.startswith(f"failed to update trust bundle {kind.lower()}: {kind} {place} is immutable: ")
    assert f"'kubectl delete {kind.lower()} dapr-trust-bundle --namespace {installation.namespace}'" in text
    assert b64encode(NEW.key).decode() not in text


async def test_a_missing_permission_is_reported(installation: Installation) -> None:
    async with installation.session(role=DAPR_ROLE[1:]) as session:
        with pytest.raises(
            StoreError, match=r"^failed to get trust bundle secret: GET .* 403 Forbidden: .* cannot get "
        ):
            await load(store_over(session, installation))


@pytest.mark.parametrize("fault", [Fault(status=503), Fault(cut_after=1)], ids=["not done", "done"])
async def test_a_write_whose_answer_was_lost_is_made_once(installation: Installation, fault: Fault) -> None:
    async with faulty(installation.cluster) as faults, installation.session(url=faults.url) as session:
        faults.set(fault, "PUT .*/secrets/", times=1)
        assert await create(store_over(session, installation), NEW) == NEW
        assert not faults._rules[0].left
    assert await installation.parts() == parts_of(NEW)


# --- watching


async def test_a_change_is_reported_within_a_second_or_two(installation: Installation, store: SecretStore) -> None:
    await installation.write(parts_of(OLD))
    await publish(store, OLD)
    async with beside(partial(store.watch, bundle_parts(OLD))) as reported:
        await installation.edit("secrets", metadata={"labels": {"more": "labels"}})
        await installation.write({"jwt.key": b"jwt"})
        await publish(store, OLD)
        await trio.sleep(0.7)  # longer than events are merged for
        assert reported.times == 0
        await installation.write(parts_of(NEW))
        await reported.called()
        await installation.delete("secrets")
        await reported.called()
    assert reported.times == 2


async def test_a_foreign_edit_of_the_config_map_is_undone(installation: Installation, store: SecretStore) -> None:
    await installation.write(parts_of(OLD))
    await publish(store, OLD)

    async def is_undone() -> bool:
        return await installation.published() == OLD.anchors.decode()

    with capture_logs() as lines:
        async with beside(partial(store.watch, bundle_parts(OLD))) as reported:
            await installation.edit("configmaps", data={"ca.crt": "foreign"})
            await eventually(is_undone)
            await trio.sleep(0.7)  # longer than events are merged for
    assert reported.times == 0
    (warning,) = (line["event"] for line in lines if line["log_level"] == "warning")
    assert warning.endswith(" no longer had the trust anchors of the Secret: restored")


async def test_watches_survive_cuts_and_an_overloaded_api_server(installation: Installation) -> None:
    await installation.write(parts_of(OLD))
    await installation.edit("configmaps", data={"ca.crt": OLD.anchors.decode()})
    async with (
        faulty(installation.cluster) as faults,
        installation.session(url=faults.url) as session,
        beside(partial(store_over(session, installation).watch, bundle_parts(OLD))) as reported,
    ):
        for bundle in (NEW, OLD, NEW):
            faults.cut()
            await installation.write(parts_of(bundle))
            await reported.called()
        faults.set(Fault(status=503))
        faults.cut()
        await installation.write(parts_of(NEXT))
        await trio.sleep(0.5)  # the watch is being tried meanwhile
        assert reported.times == 3
        faults.clear()
        await reported.called()


async def test_watches_survive_a_restart_and_a_compaction(installation: Installation, store: SecretStore) -> None:
    await installation.write(parts_of(OLD))
    await publish(store, OLD)
    async with beside(partial(store.watch, bundle_parts(OLD))) as reported:
        await installation.cluster.compact_etcd()
        await installation.cluster.restart_api_server()
        await installation.cluster.compact_etcd()
        assert reported.times == 0
        await installation.write(parts_of(NEW))
        await reported.called()


async def test_with_the_permissions_of_daprs_own_chart_it_polls(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sentry_trio.kube.object_watch.POLL", 0.5)
    await installation.write(parts_of(OLD))
    async with installation.session(role=DAPR_ROLE) as session:
        store = store_over(session, installation)
        await publish(store, OLD)
        async with beside(partial(store.watch, bundle_parts(OLD))) as reported:
            await installation.write(parts_of(NEW))
            await reported.called()


# --- the Configuration


async def test_a_configuration_is_read_and_watched(installation: Installation) -> None:
    cluster, namespace = installation.cluster, installation.namespace
    await cluster.define_configurations()
    spec = {"mtls": {"enabled": True, "workloadCertTTL": "2h", "controlPlaneTrustDomain": "$HOME"}}
    await cluster.create_configuration(namespace, "daprsystem", spec)
    path = f"/apis/dapr.io/v1alpha1/namespaces/{namespace}/configurations/daprsystem"
    async with installation.session(role=ROLE, cluster_role=CLUSTER_ROLE) as session:
        found = await read_configuration_object(session, namespace, "")
        assert found.workload_cert_ttl.total_seconds() == 7200
        assert found.control_plane_trust_domain == "$HOME"

        async def watch(reported: Told, *, task_status: trio.TaskStatus[None]) -> None:
            await watch_configuration(session, namespace, "", found, reported, task_status=task_status)

        async with beside(watch) as reported:
            await cluster.ask("PATCH", path, {"spec": {"tracing": {"samplingRate": "1"}}}, kind="merge-patch+json")
            await trio.sleep(0.7)  # longer than events are merged for
            assert reported.times == 0
            edit = {"spec": {"mtls": {"workloadCertTTL": "3h"}}}
            await cluster.ask("PATCH", path, edit, kind="merge-patch+json")
            await reported.called()
        assert found == Configuration(found.workload_cert_ttl, control_plane_trust_domain="$HOME")

"""Uptake of trust anchors on a real API server: pods as Dapr's injector makes them, listed and watched."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import trio

from sentry_trio.ca.certificates import fingerprint, read_certificates
from sentry_trio.environments.cluster_resources import root_fingerprints
from sentry_trio.kube.index import Index
from sentry_trio.kube.uptake import anchor_sets, measure
from testkit.ca.making import generated
from testkit.cluster import manifests
from testkit.cluster.admin import Manifest
from testkit.cluster.checking import session_of
from testkit.cluster.cluster import Cluster

READS = manifests.rule(["get", "list", "watch"], ["pods"])
CONFIGURATIONS = manifests.rule(["get", "list", "watch"], ["configurations"], group="dapr.io")


async def create(cluster: Cluster, namespace: str, name: str, anchors: bytes, phase: str = "Running") -> None:
    env: list[Manifest] = [
        {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "DAPR_TRUST_ANCHORS", "value": anchors.decode()},
    ]
    containers: list[Manifest] = [{"name": "app", "image": "app:1"}, {"name": "daprd", "image": "daprd:1", "env": env}]
    await cluster.create_pod(namespace, manifests.pod(name, containers=containers), status={"phase": phase})


async def test_roots_of_sidecars_are_read(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    former, newest = (generated().anchors_pem for _ in range(2))
    first, second = (fingerprint(*read_certificates(each)) for each in (former, newest))
    await cluster.define_configurations()
    await cluster.create_service_account(namespace, "default")
    await create(cluster, namespace, "old", former)
    await create(cluster, namespace, "ended", former, phase="Succeeded")
    await cluster.create_pod(namespace, manifests.pod("plain"))
    ends = {second: datetime.max.replace(tzinfo=UTC), first: datetime.now(UTC) + timedelta(days=1)}
    async with session_of(cluster, namespace, tmp_path, rights=(READS, CONFIGURATIONS)) as session:
        index = Index(session, fingerprints=root_fingerprints)
        async with trio.open_nursery() as nursery:
            await nursery.start(index.keep)
            await create(cluster, namespace, "new", newest + former)
            with trio.fail_after(60):
                while sum(each.namespace == namespace for each in index.pods) < 4:  # noqa: ASYNC110  # a poll
                    await trio.sleep(0.01)  # between two looks
            nursery.cancel_scope.cancel()
    pods = [each for each in index.pods if each.namespace == namespace]
    uptake = measure(pods, ends, published_at=None, now=datetime.now(UTC))
    assert uptake.counts == {"current": 1, "former": 1, "none": 0, "file": 0}
    assert uptake.pinned == (f"{namespace}/old",)
    assert anchor_sets(pods) == {
        frozenset({first}): (f"{namespace}/old",),
        frozenset({first, second}): (f"{namespace}/new",),
    }

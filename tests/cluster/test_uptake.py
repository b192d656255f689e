"""Uptake of trust anchors on a real API server: pods as Dapr's injector makes them, listed and watched."""

import signal
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import trio

from sentry_trio.ca.certificates import fingerprint, read_certificates, write_certificates
from sentry_trio.ca.generate import generate
from sentry_trio.ca.keys import KeyType
from sentry_trio.ca.parts import bundle_parts
from sentry_trio.ca.renewal import RenewalRequest, Situation, plan
from sentry_trio.ca.renewal_policy import RenewalPolicy
from sentry_trio.environments.cluster_resources import root_fingerprints
from sentry_trio.errors import Part
from sentry_trio.kube.index import Index
from sentry_trio.kube.uptake import anchor_sets, measure
from sentry_trio.stores.part_store import RENEWAL_NAMES
from testkit.authorities import SKEW
from testkit.ca.making import DAY, generated
from testkit.ca.renewing import Stored, after
from testkit.cluster import manifests
from testkit.cluster.admin import Manifest
from testkit.cluster.checking import session_of
from testkit.cluster.cluster import Cluster
from testkit.cluster.control_plane import TRUST_DOMAIN, install, state
from testkit.stores import NAMES

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
            nursery.start_soon(index.keep)
            await index.wait_ready()
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


def published_at(now: datetime, namespace: str) -> Stored:
    """An authority whose next root was published then."""
    policy = RenewalPolicy(
        trust_domain=TRUST_DOMAIN,
        namespace=namespace,
        key_type=KeyType.P256,
        workload_ttl=DAY,
        allowed_clock_skew=SKEW,
    )
    made = generate(TRUST_DOMAIN, namespace, KeyType.P256, now=now - DAY, allowed_clock_skew=SKEW)
    stored = bundle_parts(made)
    stored = after(stored, plan(stored, policy, Situation(now=now), RenewalRequest.START))
    return after(stored, plan(stored, policy, Situation(now=now)))  # notes the publication


async def delete_sidecars(cluster: Cluster) -> None:
    """Deletes what other tests have left."""
    for pod in (await cluster.ask("GET", "/api/v1/pods"))["items"]:
        if any(container["name"] == "daprd" for container in pod["spec"]["containers"]):
            await cluster.delete_pod(pod["metadata"]["namespace"], pod["metadata"]["name"])


async def test_the_grace_ends_when_the_last_sidecar_has_restarted(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    await delete_sidecars(cluster)
    await cluster.create_service_account(namespace, "default")
    plane = await install(cluster, tmp_path)
    stored = published_at(datetime.now(UTC) - timedelta(minutes=20), plane.namespace)
    await plane.installation.write({{**NAMES, **RENEWAL_NAMES}[part]: content for part, content in stored.items()})
    both, former = stored[Part.ANCHORS], write_certificates(read_certificates(stored[Part.ANCHORS])[1:])
    await create(cluster, namespace, "restarted", both)
    await create(cluster, namespace, "old", former)
    with plane.process("--trust-anchor-propagation-grace=auto") as process:

        async def renewal(*, until: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
            """Returns the state as soon as it is so; each signal has the process look at once."""
            with trio.fail_after(120):
                while True:
                    found = (await trio.to_thread.run_sync(state, process))["renewal"]
                    if found is not None and until(found):
                        return dict(found)
                    await trio.sleep(0.1)

        found = await renewal(until=lambda found: bool(found["sidecars"]))
        assert found["sidecars"] == {"current": 1, "former": 1, "none": 0, "file": 0}
        assert (found["phase"], found["held"]) == ("distributing", None)
        assert datetime.fromisoformat(found["next_step_at"]) > datetime.now(UTC) + timedelta(hours=23)
        await cluster.delete_pod(namespace, "old")
        process.send(signal.SIGHUP)
        found = await renewal(until=lambda found: found["phase"] != "distributing")
        assert (found["phase"], found["generation"]) == ("signing", 2)
    await delete_sidecars(cluster)

"""The authority as the chart would run it: a real process, with its own service account's permissions and no more."""

import json
import signal
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
import trio
from cryptography import x509

from sentry_trio.ca.bundle import StoredBundle
from sentry_trio.ca.generate import generate
from sentry_trio.ca.issue import IMAGES_OID
from sentry_trio.ca.keys import KeyType
from sentry_trio.client import Obtained, RequestFailedError, Workload, obtain
from testkit.authorities import SKEW, wall_clock
from testkit.cluster import manifests
from testkit.cluster.admin import Manifest
from testkit.cluster.cluster import Cluster
from testkit.cluster.control_plane import TRUST_DOMAIN, ControlPlane, install, state
from testkit.cluster.faults import SILENCE, faulty
from testkit.cluster.installing import NAME, eventually
from testkit.credentials import ANCHORS, CHAIN, KEY, contents, successor
from testkit.processes import FAILED, Process

SERVING = "Running gRPC server on port "


@pytest.fixture
async def plane(cluster: Cluster, tmp_path: Path) -> ControlPlane:
    return await install(cluster, tmp_path)


async def _port(process: Process) -> int:
    return int(await trio.to_thread.run_sync(process.log_until, SERVING))


async def _pod(plane: ControlPlane, name: str = "shop-1", **annotations: str) -> Manifest:
    """A pod of an app in a namespace of its own."""
    namespace = await plane.cluster.create_namespace()
    await plane.cluster.create_service_account(namespace, "shop")
    named = {f"dapr.io/{key.replace('_', '-')}": value for key, value in annotations.items()}
    manifest = manifests.pod(name, service_account="shop", annotations=named)
    return await plane.cluster.create_pod(namespace, manifest)


async def _ask(plane: ControlPlane, port: int, pod: Manifest, app_id: str, *, token: str | None = None) -> Obtained:
    namespace = str(pod["metadata"]["namespace"])
    anchors = await plane.anchors()
    token = await plane.token(namespace, pod) if token is None else token
    workload = Workload(app_id=app_id, namespace=namespace, token=token)
    return await trio.to_thread.run_sync(partial(obtain, plane.authority(port, anchors), workload))


async def _successor(plane: ControlPlane) -> StoredBundle:
    """A trust bundle that may follow the one in the Secret."""
    parts = await plane.installation.parts()
    return successor(StoredBundle(*(parts[name] for name in (ANCHORS, CHAIN, KEY))))


@pytest.mark.parametrize("flags", [(), ("--image-extension",)], ids=["off", "on"])
async def test_images_are_in_the_certificate_only_if_asked_for(plane: ControlPlane, flags: tuple[str, ...]) -> None:
    with plane.process(*flags) as process:
        port = await _port(process)
        obtained = await _ask(plane, port, await _pod(plane, app_id="shop"), "shop")
    found = [each.value for each in obtained.certificate.extensions if each.oid.dotted_string == IMAGES_OID]
    if not flags:
        assert found == []
    else:
        (extension,) = found
        assert isinstance(extension, x509.UnrecognizedExtension)
        (image,) = json.loads(extension.value[2:])
        assert (image["role"], image["containerName"]) == ("app", "app")


@pytest.mark.parametrize("verification", ["review", "local"])
async def test_a_pod_obtains_its_certificate(plane: ControlPlane, verification: str) -> None:
    with plane.process(f"--token-verification={verification}") as process:
        port = await _port(process)
        pod = await _pod(plane, app_id="shop")
        obtained = await _ask(plane, port, pod, "shop")
        assert obtained.spiffe_id == f"spiffe://public/ns/{pod['metadata']['namespace']}/shop"
        with pytest.raises(RequestFailedError, match="app-id mismatch"):
            await _ask(plane, port, pod, "another")
        process.send(signal.SIGTERM)
        assert await trio.to_thread.run_sync(process.exit_code) == 0
    published = await plane.anchors()
    assert (await plane.installation.parts())["ca.crt"] == published
    assert obtained.anchors == published


async def test_a_configuration_gives_the_trust_domain(plane: ControlPlane) -> None:
    with plane.process() as process:
        port = await _port(process)
        pod = await _pod(plane, app_id="shop", config="appconfig")
        namespace = pod["metadata"]["namespace"]
        await plane.cluster.create_configuration(namespace, "appconfig", {"accessControl": {"trustDomain": "acme"}})
        assert (await _ask(plane, port, pod, "shop")).spiffe_id == f"spiffe://acme/ns/{namespace}/shop"


async def test_a_changed_secret_is_in_use_within_seconds(plane: ControlPlane) -> None:
    with plane.process() as process:
        await _port(process)
        other = await _successor(plane)
        await plane.installation.write(contents(other))
        with trio.fail_after(60):
            port = await _port(process)
        obtained = await _ask(plane, port, await _pod(plane, app_id="shop"), "shop")
        assert obtained.anchors == other.anchors
        assert await plane.anchors() == other.anchors


async def test_another_authority_in_the_secret_is_used_by_a_new_process_only(plane: ControlPlane) -> None:
    other = generate(TRUST_DOMAIN, plane.namespace, KeyType.P256, now=wall_clock(), allowed_clock_skew=SKEW)
    with plane.process() as process:
        port = await _port(process)
        anchors = await plane.anchors()
        await plane.installation.write(contents(other))
        assert "would cut off clients" in await trio.to_thread.run_sync(process.log_until, FAILED)
        obtained = await _ask(plane, port, await _pod(plane, app_id="shop"), "shop")
        assert obtained.anchors == anchors == await plane.anchors()
    with plane.process() as process:
        await _port(process)
        assert await plane.anchors() == other.anchors


async def test_a_secret_that_is_not_valid_yet_is_waited_for(plane: ControlPlane) -> None:
    hour = timedelta(hours=1)
    later = generate(TRUST_DOMAIN, plane.namespace, KeyType.P256, now=wall_clock() + hour, allowed_clock_skew=SKEW)
    await plane.installation.write(contents(later))
    with plane.process() as process:
        said = await trio.to_thread.run_sync(process.log_until, "cannot serve yet, waiting for a certificate")
        assert f"issuer.crt in Secret {plane.namespace}/{NAME}" in said
        assert "start" in (await trio.to_thread.run_sync(state, process))["conditions"]
        # It signs nothing, so no client needs to trust it yet.
        assert await plane.anchors() == b""
        other = generate(TRUST_DOMAIN, plane.namespace, KeyType.P256, now=wall_clock(), allowed_clock_skew=SKEW)
        await plane.installation.write(contents(other))
        with trio.fail_after(60):
            port = await _port(process)
        obtained = await _ask(plane, port, await _pod(plane, app_id="shop"), "shop")
        assert obtained.anchors == other.anchors == await plane.anchors()


async def test_an_edit_of_the_configuration_is_a_hot_restart(plane: ControlPlane) -> None:
    with plane.process() as process:
        await _port(process)
        path = f"/apis/dapr.io/v1alpha1/namespaces/{plane.namespace}/configurations/daprsystem"
        change = {"spec": {"mtls": {"workloadCertTTL": "1h"}}}
        await plane.cluster.ask("PATCH", path, change, kind="merge-patch+json")
        with trio.fail_after(60):
            port = await _port(process)
        obtained = await _ask(plane, port, await _pod(plane, app_id="shop"), "shop")
        assert obtained.valid_until - wall_clock() <= timedelta(hours=1)


async def test_a_bad_secret_changes_nothing(plane: ControlPlane) -> None:
    with plane.process() as process:
        port = await _port(process)
        await plane.installation.write({"issuer.key": b"no key"})
        said = await trio.to_thread.run_sync(process.log_until, FAILED)
        assert f"issuer.key in Secret {plane.namespace}/{NAME}" in said
        assert "issuer key" in (await trio.to_thread.run_sync(state, process))["degraded"]
        pod = await _pod(plane, app_id="shop")
        await _ask(plane, port, pod, "shop")
        await plane.installation.edit("secrets", data=None)
        said = await trio.to_thread.run_sync(process.log_until, FAILED)
        assert "is missing from Secret" in said
        assert await plane.installation.parts() == {}


async def test_replicas_that_start_together_share_one_authority(plane: ControlPlane) -> None:
    with plane.process() as one, plane.process() as two, plane.process() as three:
        ports = [await _port(process) for process in (one, two, three)]
        pod = await _pod(plane, app_id="shop")
        anchors = {(await _ask(plane, port, pod, "shop")).anchors for port in ports}
    assert len(anchors) == 1


async def test_the_api_server_may_go_and_come_back(plane: ControlPlane) -> None:
    """Recent requests can be decided without it; all others are retried, without a restart."""
    with plane.process("--token-verification=local") as process:
        port = await _port(process)
        pod = await _pod(plane, app_id="shop")
        token = await plane.token(pod["metadata"]["namespace"], pod)
        anchors = await plane.anchors()
        workload = Workload(app_id="shop", namespace=pod["metadata"]["namespace"], token=token)
        ask = partial(obtain, plane.authority(port, anchors), workload)
        await trio.to_thread.run_sync(ask)
        plane.cluster.kill_api_server()
        try:
            await trio.to_thread.run_sync(ask)
            await trio.to_thread.run_sync(process.log_until, "cannot reach the Kubernetes API server: ")
            found = await trio.to_thread.run_sync(state, process)
            assert found["conditions"].keys() == {"api-server"}
            assert found["degraded"].startswith("cannot reach the Kubernetes API server: ")
        finally:
            plane.cluster.start_api_server()
            await trio.to_thread.run_sync(plane.cluster.wait_ready)
        await plane.installation.write(contents(await _successor(plane)))
        with trio.fail_after(60):
            await _port(process)

        async def is_recovered() -> bool:
            return not (await trio.to_thread.run_sync(state, process))["conditions"]

        # An API server that starts answers 403 until it has read its roles: each watch recovers when it tries again.
        await eventually(is_recovered, seconds=60)
        outage = [message for message in process.messages() if "the Kubernetes API server" in message]
        # Its address, the outage, the recovery.
        assert len(outage) == 3
        assert outage[2].startswith("the Kubernetes API server is reachable again after ")


async def test_an_api_server_that_is_away_at_start_is_reported_at_once(plane: ControlPlane) -> None:
    nowhere = await plane.kubeconfig_through("https://127.0.0.1:1")
    with plane.process(f"--kubeconfig={nowhere}") as process:
        reason = await trio.to_thread.run_sync(
            process.log_until, "cannot reach the Kubernetes API server https://127.0.0.1:1, retrying for 30 s: "
        )
    assert "cannot connect to 127.0.0.1:1" in reason


async def test_an_emptied_secret_is_a_warning_with_the_number_of_sidecars(plane: ControlPlane) -> None:
    containers = [{"name": name, "image": f"registry.example/{name}:1"} for name in ("app", "daprd")]
    manifest = manifests.pod("shop-1", containers=containers, annotations={"dapr.io/enabled": "true"})
    await plane.cluster.create_pod(plane.namespace, manifest)
    with plane.process() as process:
        await _port(process)
        (warned,) = [record for record in process.records if "pods with a Dapr sidecar: " in str(record["msg"])]
        with trio.fail_after(60):
            events = await _events(plane)
            while not events:
                events = await _events(plane)
    assert warned["level"] == "warning"
    # Other tests' pods are in this cluster, too.
    assert int(str(warned["msg"]).partition("pods with a Dapr sidecar: ")[2].partition(".")[0]) >= 1
    assert [event["message"] for event in events] == [warned["msg"]]


async def test_not_ready_before_the_first_listing_of_pods(plane: ControlPlane, tmp_path: Path) -> None:
    """Otherwise a rolling update sends callers to a replica that can only answer Unavailable."""
    async with faulty(plane.cluster) as faults:
        faults.set(SILENCE, r"GET /api/v1/pods\?")
        with plane.process(f"--kubeconfig={await plane.kubeconfig_through(faults.url)}") as process:
            await _port(process)
            found = await trio.to_thread.run_sync(state, process)
            assert [name for name, ready in found["targets"].items() if not ready] == ["sentry-kubernetes-validator"]
            assert not found["ready"]
            faults.clear()
            faults.cut()

            async def is_ready() -> bool:
                ready: bool = (await trio.to_thread.run_sync(state, process))["ready"]
                return ready

            await eventually(is_ready)


@pytest.mark.parametrize(
    ("resource", "said"),
    [("tokenreviews", "create tokenreviews"), ("pods", "pods"), ("secrets", "secrets")],
)
async def test_all_missing_permissions_are_named(cluster: Cluster, tmp_path: Path, resource: str, said: str) -> None:
    plane = await install(cluster, tmp_path, leave_out=resource)
    with plane.process() as process:
        assert await trio.to_thread.run_sync(process.exit_code) == 1
        fatal = [str(record["msg"]) for record in process.records if record["level"] == "fatal"]
    assert len(fatal) == 1
    assert "missing Kubernetes permissions" in fatal[0]
    assert said in fatal[0]


async def test_a_generated_authority_is_reported_as_an_event(plane: ControlPlane) -> None:
    with plane.process(HOSTNAME="dapr-sentry-0") as process:
        await _port(process)
        with trio.fail_after(60):
            events = await _events(plane)
            while not events:
                events = await _events(plane)
    assert [event["reason"] for event in events] == ["CertificateAuthorityGenerated"]
    assert events[0]["source"] == {"component": "dapr-sentry", "host": "dapr-sentry-0"}


async def _events(plane: ControlPlane) -> list[Manifest]:
    found: list[Manifest] = (await plane.cluster.ask("GET", f"/api/v1/namespaces/{plane.namespace}/events"))["items"]
    return found

"""`sentry-trio status` and a real API server: with the permissions of the chart, of an administrator, and with none."""

import json
import os
import subprocess
import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import trio

from sentry_trio.kube.session import open_session
from sentry_trio.status.assess import assess
from sentry_trio.status.cluster import Cluster as Shown
from sentry_trio.status.collect import ReplicaPlace, StatusSources, collect
from sentry_trio.status.json_report import json_report
from sentry_trio.status.report import NotShown, Report, Stored
from testkit.authorities import wall_clock
from testkit.cluster import manifests
from testkit.cluster.admin import Manifest
from testkit.cluster.cluster import _ADMIN_TOKEN, Cluster
from testkit.cluster.control_plane import ControlPlane, install
from testkit.cluster.installing import NAME
from testkit.processes import Process
from tests.status.test_collect import answering

HERE: ReplicaPlace = answering(port1=None, port2=None)


def ports(process: Process) -> tuple[int, int]:
    """Of health and metrics of a process that serves."""
    process.log_until("Running gRPC server on port ")
    return process.health_port(), process.metrics_port()


def pod(name: str, health: int, metrics: int) -> Manifest:
    """As the chart makes them, with the ports of a process of this machine."""
    named = [{"name": "healthz", "containerPort": health}, {"name": "metrics", "containerPort": metrics}]
    container = {"name": "dapr-sentry", "image": "registry.example/sentry:1", "ports": named}
    manifest = manifests.pod(name, service_account="dapr-sentry", containers=[container])
    manifest["metadata"]["labels"] = {"app": "dapr-sentry"}
    return manifest


async def look_with(plane: ControlPlane, kubeconfig: Path, *, own_pod: str | None) -> Report:
    async with open_session(kubeconfig=kubeconfig, environ={}, service_account=plane.installation.directory) as session:
        shown = Shown(session, plane.namespace, own_pod=own_pod, timeout=30)
        return await collect(StatusSources(replicas=(), here=HERE, cluster=shown, timeout=30), wall_clock)


async def test_replicas_are_found_and_compared_with_the_permissions_of_the_chart(
    cluster: Cluster, tmp_path: Path
) -> None:
    plane = await install(cluster, tmp_path)
    with ExitStack() as processes:
        for name in ("dapr-sentry-1", "dapr-sentry-2"):
            process = processes.enter_context(plane.process())
            health, metrics = await trio.to_thread.run_sync(ports, process)
            running = {"phase": "Running", "podIP": "127.0.0.1", "podIPs": [{"ip": "127.0.0.1"}]}
            await cluster.create_pod(plane.namespace, pod(name, health, metrics), status=running)
        report = await look_with(plane, plane.kubeconfig, own_pod="dapr-sentry-1")
        judgement = assess(report)
        assert judgement.findings == ()
        reported = json.loads(json.dumps(json_report(report, judgement)))
        assert [replica["name"] for replica in reported["replicas"]] == ["dapr-sentry-1", "dapr-sentry-2"]
        assert [replica["health"]["mode"] for replica in reported["replicas"]] == ["kubernetes"] * 2
        assert all(replica["metrics"] for replica in reported["replicas"])
        assert reported["agreement"] == {"replicas": "agree", "store": "agree", "config_map": "agree"}
        key = (await plane.installation.parts())["issuer.key"].decode()
        assert key.splitlines()[1] not in repr(report)

    await plane.installation.edit("configmaps", data={"ca.crt": None})
    report = await look_with(plane, plane.kubeconfig, own_pod="")
    assert [finding.cause.value for finding in assess(report).findings][-1] == "config_map_invalid"
    assert all(isinstance(replica.health, NotShown) for replica in report.replicas)
    assert isinstance(report.stored, Stored)
    assert report.stored.problem is None


async def test_missing_permissions_are_named(cluster: Cluster, tmp_path: Path) -> None:
    plane = await install(cluster, tmp_path)
    token = await cluster.account_with(plane.namespace, "nobody", [])
    kubeconfig = cluster.write_kubeconfig(tmp_path / "nobody", {"token": token})
    report = await look_with(plane, kubeconfig, own_pod=None)
    assert [replica.name for replica in report.replicas] == [HERE.name]
    assert report.not_found == NotShown(f"missing permission to list pods in {plane.namespace}", asked=False)
    assert report.stored == NotShown(f"missing permission to get secrets {NAME} in {plane.namespace}", asked=False)
    assert report.published == NotShown(
        f"missing permission to get configmaps {NAME} in {plane.namespace}", asked=False
    )


async def test_pods_are_asked_through_the_api_server_only_with_permission(cluster: Cluster, tmp_path: Path) -> None:
    """The authority's own account has not got it. That loopback is refused shows that the right has been looked at."""
    plane = await install(cluster, tmp_path)
    running = {"phase": "Running", "podIP": "127.0.0.1", "podIPs": [{"ip": "127.0.0.1"}]}
    await cluster.create_pod(plane.namespace, pod("dapr-sentry-1", 8080, 9090), status=running)
    (without,) = (await look_with(plane, plane.kubeconfig, own_pod=None)).replicas
    assert without.health == NotShown(
        f"missing permission to get pods/proxy in {plane.namespace}, which reading a pod from outside the cluster needs"
    )
    code, reported, _ = await run(
        plane, cluster.write_kubeconfig(tmp_path / "admin", {"token": _ADMIN_TOKEN}), "--json"
    )
    (replica,) = json.loads(reported)["replicas"]
    assert code == 1
    assert "missing permission" not in replica["health_not_shown"]
    assert replica["health_not_shown"].startswith("port 8080 of pod dapr-sentry-1: GET /api/v1/namespaces/")


async def test_no_api_server(cluster: Cluster, tmp_path: Path) -> None:
    plane = await install(cluster, tmp_path)
    nowhere = cluster.write_kubeconfig(tmp_path / "nowhere", {"token": "x"}, url="https://127.0.0.1:1")
    code, reported, errors = await run(plane, nowhere, "--replica", "127.0.0.1:1")
    assert (code, errors) == (1, "")
    assert "! trust bundle in the store: GET /api/v1/namespaces/" in reported
    assert "cannot connect to 127.0.0.1:1: " in reported


async def run(plane: ControlPlane, kubeconfig: Path, *flags: str) -> tuple[int, str, str]:
    """The command as an operator's process."""
    command: Any = [sys.executable, "-m", "sentry_trio", "status", *flags]
    command += ["--kubeconfig", kubeconfig, "--namespace", plane.namespace]
    environ = {**os.environ, "COLUMNS": "300"}
    done = await trio.to_thread.run_sync(
        partial(subprocess.run, command, capture_output=True, text=True, check=False, env=environ, timeout=60)
    )
    return done.returncode, done.stdout, done.stderr

"""The image in a pod, without a kubelet: started by the command line of Dapr's own chart, with its permissions.

It finds the API server as a pod does, by the environment and by what is mounted, and runs without privileges.
"""

import os
import signal
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest
import trio

from sentry_trio.client import Authority, Workload, obtain
from testkit.authorities import LOOPBACK
from testkit.cluster import control_plane, manifests
from testkit.cluster.cluster import Cluster
from testkit.cluster.control_plane import ACCOUNT, ControlPlane
from testkit.cluster.installing import DAPR_ROLE
from testkit.helm import dapr
from testkit.image import made
from testkit.image.container import CREDENTIALS, Contained, Mount, started
from testkit.image.dockerfile import Stage, UnavailableError

# Written last, and so in place of the chart's: what this machine needs.
ELSEWHERE = (*LOOPBACK, "--log-as-json", "--log-level=info")


@pytest.fixture(scope="session")
def image() -> Stage:
    try:
        return made.runnable()
    except UnavailableError as error:
        pytest.skip(str(error))


async def _mounted(plane: ControlPlane, image: Stage, directory: Path) -> tuple[Mount, ...]:
    """Mounts of the kubelet: the service account, and the Secret, which is empty at first."""
    account, secret = directory / "account", directory / "secret"
    for each in (account, secret):
        each.mkdir()
    (account / "token").write_text(await plane.cluster.create_token(plane.namespace, ACCOUNT))
    (account / "namespace").write_text(plane.namespace)
    (account / "ca.crt").write_bytes(plane.cluster.authority.read_bytes())
    os.chown(secret, *image.ids)
    return Mount(account, "/var/run/secrets/kubernetes.io/serviceaccount"), Mount(secret, CREDENTIALS)


async def _port(process: Contained) -> int:
    return int(await trio.to_thread.run_sync(process.log_until, "Running gRPC server on port "))


@pytest.mark.parametrize("name", [name for name in dapr.ROWS if name != "oidc"])
async def test_daprs_chart_can_use_the_image(cluster: Cluster, image: Stage, tmp_path: Path, name: str) -> None:
    """As many replicas as in the values start together; each gets ready and signs for a pod.

    OIDC is the same with and without a cluster: tests/image has it.
    """
    values = dapr.ROWS[name]
    plane = await control_plane.install(cluster, tmp_path, role=DAPR_ROLE)
    mounts = await _mounted(plane, image, tmp_path)
    environ = {
        "NAMESPACE": plane.namespace,
        "KUBERNETES_SERVICE_HOST": "127.0.0.1",
        "KUBERNETES_SERVICE_PORT": str(cluster.port),
    }
    shop = await cluster.create_namespace()
    await cluster.create_service_account(shop, "shop")
    pod = await cluster.create_pod(
        shop, manifests.pod("shop-1", service_account="shop", annotations={"dapr.io/app-id": "shop"})
    )
    workload = Workload(app_id="shop", namespace=shop, token=await plane.token(shop, pod), audiences=("till",))
    start = partial(started, image, dapr.COMMAND, *dapr.arguments(values), *ELSEWHERE, mounts=mounts, environ=environ)
    with ExitStack() as pods:
        replicas = [pods.enter_context(start()) for _ in range(3 if name == "high availability" else 1)]
        ports = [await _port(process) for process in replicas]
        anchors = (await plane.installation.parts())[dapr.anchors_name(values)]
        for port in ports:
            authority = Authority(
                host="127.0.0.1",
                port=port,
                trust_anchors=anchors,
                spiffe_id=f"spiffe://{dapr.trust_domain(values)}/ns/{plane.namespace}/dapr-sentry",
            )
            obtained = await trio.to_thread.run_sync(partial(obtain, authority, workload))
            assert obtained.spiffe_id == f"spiffe://public/ns/{shop}/shop"
            assert obtained.anchors == anchors
            assert (obtained.jwt is not None) == name.startswith("jwt")
        for process in replicas:
            process.send(signal.SIGTERM)
            assert await trio.to_thread.run_sync(process.exit_code) == 0

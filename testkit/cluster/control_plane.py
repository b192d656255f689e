"""The authority as a process in the namespace of its chart, with its own service account's permissions."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

from sentry_trio.client import Authority, Workload
from testkit.authorities import LOOPBACK
from testkit.processes import Process

from . import installing, manifests
from .admin import Manifest
from .cluster import Cluster
from .installing import CLUSTER_ROLE, ROLE, Installation

ACCOUNT = "dapr-sentry"
TRUST_DOMAIN = "cluster.local"


@dataclass(frozen=True)
class ControlPlane:
    """A namespace with the chart's objects.

    Attributes:
        installation: the Secret and the ConfigMap in it.
        kubeconfig: with the permissions of the authority's own service account.
    """

    installation: Installation
    kubeconfig: Path

    @property
    def cluster(self) -> Cluster:
        return self.installation.cluster

    @property
    def namespace(self) -> str:
        return self.installation.namespace

    async def anchors(self) -> bytes:
        """The trust anchors, as pods are given them."""
        return (await self.installation.published() or "").encode()

    @contextmanager
    def process(self, *flags: str, **environ: str) -> Iterator[Process]:
        """Starts the authority in kubernetes mode with its own permissions; it is killed in the end."""
        mode = ("--mode=kubernetes", f"--kubeconfig={self.kubeconfig}", f"--trust-domain={TRUST_DOMAIN}")
        command = [sys.executable, "-m", "sentry_trio", *mode, *LOOPBACK, "--log-as-json", *flags]
        variables = {
            **os.environ,
            "NAMESPACE": self.namespace,
            "DAPR_UNSAFE_SKIP_CONTAINER_UID_GID_CHECK": "true",  # these tests may be root
            **environ,
        }
        variables.pop("KUBERNETES_SERVICE_HOST", None)
        popen = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=variables)
        process = Process(popen)
        try:
            yield process
        finally:
            process.close()

    def authority(self, port: int, anchors: bytes) -> Authority:
        return Authority(
            host="127.0.0.1",
            port=port,
            trust_anchors=anchors,
            spiffe_id=f"spiffe://{TRUST_DOMAIN}/ns/{self.namespace}/dapr-sentry",
        )

    async def kubeconfig_through(self, url: str) -> Path:
        """A kubeconfig with the same permissions, for a proxy between the authority and the API server."""
        token = await self.cluster.create_token(self.namespace, ACCOUNT)
        path = self.kubeconfig.with_name("kubeconfig-through")
        return self.cluster.write_kubeconfig(path, {"token": token}, url=url)

    async def token(self, namespace: str, pod: Manifest, *, audience: str = "dapr.io/sentry") -> str:
        """Returns the files that a kubelet would mount into a pod."""
        account = str(pod["spec"]["serviceAccountName"])
        return await self.cluster.create_token(namespace, account, audiences=[audience], pod=pod)

    async def shop(self) -> Workload:
        """Creates a pod of the app `shop` in a namespace of its own."""
        namespace = await self.cluster.create_namespace()
        await self.cluster.create_service_account(namespace, "shop")
        manifest = manifests.pod("shop-1", service_account="shop", annotations={"dapr.io/app-id": "shop"})
        pod = await self.cluster.create_pod(namespace, manifest)
        return Workload(app_id="shop", namespace=namespace, token=await self.token(namespace, pod))


def state(process: Process) -> dict[str, Any]:
    """Returns the health document of a serving process."""
    try:
        with urlopen(f"http://127.0.0.1:{process.health_port()}/readyz?verbose", timeout=60) as answer:
            found: dict[str, Any] = json.loads(answer.read())
    except HTTPError as error:
        found = json.loads(error.read())
    return found


async def install(
    cluster: Cluster,
    directory: Path,
    *,
    role: Iterable[Manifest] = ROLE,
    leave_out: str = "",
    configuration: Manifest | None = None,
) -> ControlPlane:
    """Installs the chart's objects: empty ones, a service account and its roles.

    Args:
        cluster: where.
        directory: for the kubeconfig.
        role: permissions in the namespace.
        leave_out: a resource to which no permissions are granted.
        configuration: the spec of Dapr's Configuration `daprsystem`; mTLS switched on and nothing else if not given.
    """
    namespace = await cluster.create_namespace()
    await cluster.define_configurations()
    installation = await installing.install(cluster, namespace, directory)
    await cluster.create_configuration(namespace, "daprsystem", configuration or {"mtls": {"enabled": True}})
    here, everywhere = (
        [rule | {"resources": [each for each in rule["resources"] if each != leave_out]} for rule in rules]
        for rules in (role, CLUSTER_ROLE)
    )
    await cluster.create_service_account(namespace, ACCOUNT)
    await cluster.grant(namespace, ACCOUNT, [rule for rule in here if rule["resources"]])
    await cluster.grant(namespace, ACCOUNT, [rule for rule in everywhere if rule["resources"]], everywhere=True)
    token = await cluster.create_token(namespace, ACCOUNT)
    kubeconfig = cluster.write_kubeconfig(directory / "kubeconfig", {"token": token})
    return ControlPlane(installation, kubeconfig)

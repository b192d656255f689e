"""Dapr's control plane in a namespace of a real API server: a CA, operator, injector and placement as processes.

Nothing runs in pods. A pod is an object with Dapr's annotations, and its program runs beside it with the token that a
kubelet would mount.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from testkit.cluster import control_plane, manifests
from testkit.cluster.admin import Manifest
from testkit.cluster.child import Child
from testkit.cluster.cluster import Cluster
from testkit.cluster.control_plane import ControlPlane
from testkit.cluster.installing import DAPR_ROLE, ROLE
from testkit.dapr import binaries
from testkit.ports import free_port

from .ca_process import OURS, RunningCA, running_ca
from .conftest import built
from .sidecars import is_healthy

TRUST_DOMAIN: Final = "mesh.example"  # the cluster's DNS domain is cluster.local
_LOOPBACK: Final = ("--listen-address=127.0.0.1", "--healthz-listen-address=127.0.0.1")


@dataclass(frozen=True)
class Mesh:
    """A control plane in a namespace, as the chart installs it, with the trust domain above.

    Attributes:
        plane: the namespace, and the permissions of the CA.
        directory: for tokens, logs and other files.
        ca_port: where the CA is to listen.
    """

    plane: ControlPlane
    directory: Path
    ca_port: int

    @property
    def namespace(self) -> str:
        """The control plane's."""
        return self.plane.namespace

    @property
    def sentry_id(self) -> str:
        """The SPIFFE ID of the CA, which is also the audience of the sidecars' tokens."""
        return f"spiffe://{TRUST_DOMAIN}/ns/{self.namespace}/dapr-sentry"

    @contextmanager
    def ca(self, command: tuple[str, ...]) -> Iterator[RunningCA]:
        """Runs a CA that issues JWTs, too, with the permissions that its own chart gives."""
        credentials = self.directory / "credentials"
        credentials.mkdir(exist_ok=True)
        mode = ("--mode=kubernetes", f"--kubeconfig={self.plane.kubeconfig}", f"--trust-domain={TRUST_DOMAIN}")
        flags = (*mode, f"--issuer-credentials={credentials}", "--jwt-enabled")
        with running_ca(command, self.directory, *flags, namespace=self.namespace, port=self.ca_port) as started:
            yield started

    async def anchors(self) -> Path:
        """Writes the trust anchors that the CA has published to the file that control plane pods mount."""
        path = self.directory / "anchors.pem"
        path.write_bytes(await self.plane.anchors())
        return path

    async def program(self, name: binaries.Program) -> "Program":
        """Prepares a program of the control plane."""
        return Program(self, name, await self.anchors(), await self.service_token(name))

    async def service_token(self, name: str) -> Path:
        """Creates the service account and the pod of a service of the control plane; returns the pod's token."""
        account = f"dapr-{name}"
        await self.plane.cluster.create_service_account(self.namespace, account)
        pod = manifests.pod(f"{account}-0", service_account=account, annotations={"dapr.io/control-plane": name})
        return await self.token(await self.plane.cluster.create_pod(self.namespace, pod))

    async def token(self, pod: Manifest) -> Path:
        """Writes the token that a kubelet would mount into a pod to a file."""
        namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
        path = self.directory / f"{namespace}.{name}.token"
        path.write_text(await self.plane.token(namespace, pod, audience=self.sentry_id))
        return path


@contextmanager
def running_program(
    name: binaries.Program, directory: Path, *flags: str, **environ: str
) -> Iterator[tuple[int, Child]]:
    """Starts a program of the control plane, yields its port when it is healthy, and kills it at the end."""
    port, health = free_port(), free_port()
    ports = (f"--port={port}", f"--healthz-port={health}", f"--metrics-port={free_port()}")
    command = [str(built(name)), *flags, *_LOOPBACK, *ports, "--metrics-listen-address=127.0.0.1"]
    # These tests may be root.
    process = Child(command, directory / f"{name}.log", {"DAPR_UNSAFE_SKIP_CONTAINER_UID_GID_CHECK": "true", **environ})
    try:
        process.wait_until(lambda _: is_healthy(health))
        yield port, process
    finally:
        process.kill()


@dataclass(frozen=True)
class Program:
    """A program of Dapr's control plane, ready to be started."""

    mesh: Mesh
    name: binaries.Program
    anchors: Path
    token: Path

    @contextmanager
    def running(self, *flags: str, **environ: str) -> Iterator[int]:
        """Starts it, yields its port when it is healthy, and kills it at the end."""
        variables = {"NAMESPACE": self.mesh.namespace, "DAPR_SENTRY_TOKEN_FILE": str(self.token), **environ}
        with running_program(self.name, self.mesh.directory, *flags, **variables) as (port, _):
            yield port

    @contextmanager
    def operator(self) -> Iterator[int]:
        """Runs as the operator, with an administrator's permissions."""
        kubeconfig = self.mesh.plane.cluster.write_admin_kubeconfig(self.mesh.directory / "admin")
        webhook = ("--webhook-server-listen-address=127.0.0.1", f"--webhook-server-port={free_port()}")
        flags = (f"--kubeconfig={kubeconfig}", f"--trust-anchors-file={self.anchors}", "--disable-leader-election")
        with self.running(*flags, *webhook) as port:
            yield port

    @contextmanager
    def injector(self) -> Iterator[int]:
        """Runs as the injector, with an administrator's permissions."""
        kubeconfig = self.mesh.plane.cluster.write_admin_kubeconfig(self.mesh.directory / "admin")
        environ = {
            "SIDECAR_IMAGE": "registry.example/daprd:1",
            "DAPR_TRUST_ANCHORS_FILE": str(self.anchors),
            "DAPR_CONTROL_PLANE_TRUST_DOMAIN": TRUST_DOMAIN,
            "DAPR_SENTRY_ADDRESS": f"127.0.0.1:{self.mesh.ca_port}",
            "KUBE_CLUSTER_DOMAIN": "cluster.local",
        }
        with self.running(f"--kubeconfig={kubeconfig}", "--scheduler-enabled=false", **environ) as port:
            yield port

    @contextmanager
    def placement(self) -> Iterator[int]:
        """Runs as the placement service."""
        flags = placement_flags(self.anchors, self.mesh.ca_port)
        with self.running("--mode=kubernetes", f"--trust-domain={TRUST_DOMAIN}", *flags) as port:
            yield port


def placement_flags(anchors: Path, ca_port: int) -> tuple[str, ...]:
    """Returns the flags of a placement service with mTLS, alone."""
    raft = f"--initial-cluster=dapr-placement-0=127.0.0.1:{free_port()}"
    return "--tls-enabled", raft, f"--trust-anchors-file={anchors}", f"--sentry-address=127.0.0.1:{ca_port}"


async def install(cluster: Cluster, directory: Path, command: tuple[str, ...], **mtls: str) -> Mesh:
    """Installs the objects of a CA's chart."""
    port = free_port()
    spec = {
        "enabled": True,
        "controlPlaneTrustDomain": TRUST_DOMAIN,
        "sentryAddress": f"127.0.0.1:{port}",
        **mtls,
    }
    role = ROLE if command == OURS else DAPR_ROLE
    plane = await control_plane.install(cluster, directory, role=role, configuration={"mtls": spec})
    return Mesh(plane, directory, port)

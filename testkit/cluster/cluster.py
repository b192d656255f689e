"""A control plane on loopback: etcd, kube-apiserver with RBAC, and an administrator's actions.

There is no kubelet and no controller: pods are objects that never run, namespaces never end, no service account makes
itself. Tokens come from the TokenRequest API and are what a kubelet would mount.
"""

import contextlib
import json
import random
import tempfile
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import trio
import trustme
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from testkit.ports import free_port

from . import manifests
from .admin import Admin, Manifest, RefusedError
from .binaries import Binaries
from .child import Child

ISSUER: Final = "https://kubernetes.default.svc.cluster.local"
_ADMIN_TOKEN: Final = "the-administrator-of-these-tests"
_RBAC: Final = f"/apis/{manifests.CONTROL_PLANE_GROUP}/v1"
CRDS: Final = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


class Cluster:
    """A running control plane. Its methods are the administrator's, and may be called by any number of tasks.

    Args:
        binaries: what runs.
        directory: for the data, which is best kept in memory.

    Attributes:
        url: of the API server; the same after each of its restarts.
        authority: file of the certificate that the API server's own is verified with.
        tls: makes more certificates that `authority` verifies.
        admin: the administrator's blocking client.
    """

    def __init__(self, binaries: Binaries, directory: Path) -> None:
        self._binaries = binaries
        self._directory = directory
        self._log = directory / "kube-apiserver.log"
        self.tls = trustme.CA()
        self.authority = directory / "authority.pem"
        self.tls.cert_pem.write_to_path(self.authority)
        self._write_files()
        self._etcd_url = f"http://127.0.0.1:{free_port()}"
        self._etcd = self._start_etcd()
        self.port = free_port()
        self.url = f"https://127.0.0.1:{self.port}"
        self.admin = Admin(self.url, self.authority, _ADMIN_TOKEN)
        self._api_server: Child | None = None

    # --- its processes

    def _write_files(self) -> None:
        key = rsa.generate_private_key(65537, 2048)
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        (self._directory / "service-accounts.key").write_bytes(pem)
        (self._directory / "tokens.csv").write_text(f'{_ADMIN_TOKEN},admin,admin,"system:masters"\n')
        server = self.tls.issue_cert("127.0.0.1", "localhost", "kubernetes.default.svc")
        server.private_key_and_cert_chain_pem.write_to_path(self._directory / "server.pem")

    def _start_etcd(self) -> Child:
        flags = [
            f"--data-dir={self._directory / 'etcd'}",
            f"--listen-client-urls={self._etcd_url}",
            f"--advertise-client-urls={self._etcd_url}",
            "--listen-peer-urls=http://127.0.0.1:0",
            # A single member need not wait for others' votes, nor for a disk.
            *("--heartbeat-interval=10", "--election-timeout=100", "--unsafe-no-fsync"),
        ]
        etcd = Child([str(self._binaries.etcd), *flags], self._directory / "etcd.log")
        etcd.wait_until(lambda log: "ready to serve client requests" in log)
        return etcd

    def start_api_server(self) -> None:
        """Starts it, without waiting; see `wait_ready`. To be called in the main thread."""
        assert self._api_server is None
        here = self._directory
        flags = {
            "etcd-servers": self._etcd_url,
            # This file compacts etcd when a test wants it.
            "etcd-compaction-interval": "0",
            "bind-address": "127.0.0.1",
            "secure-port": self.port,
            "tls-cert-file": here / "server.pem",
            "tls-private-key-file": here / "server.pem",
            "service-account-issuer": ISSUER,
            "api-audiences": ISSUER,
            "service-account-signing-key-file": here / "service-accounts.key",
            "service-account-key-file": here / "service-accounts.key",
            "token-auth-file": here / "tokens.csv",
            "authorization-mode": "RBAC",
            "disable-admission-plugins": "ServiceAccount",
            "service-cluster-ip-range": "10.0.0.0/24",
            "endpoint-reconciler-type": "none",
        }
        command = [str(self._binaries.kube_apiserver), *(f"--{name}={value}" for name, value in flags.items())]
        self._api_server = Child(command, self._log)

    def wait_ready(self) -> None:
        """Returns once the API server reports that it is ready. Blocks."""
        assert self._api_server is not None
        self._api_server.wait_until(lambda _: self._is_ready())

    def _is_ready(self) -> bool:
        try:
            self.admin.request("GET", "/readyz")
        except (OSError, RefusedError):
            return False
        return True

    def kill_api_server(self) -> None:
        """Ends the API server at once: connections are cut, and new ones rejected, until `start_api_server`."""
        assert self._api_server is not None
        self._api_server.kill()
        self._api_server = None

    async def restart_api_server(self) -> None:
        """Ends the API server at once, starts it on the same port and etcd, and waits until it is ready."""
        self.kill_api_server()
        self.start_api_server()
        await trio.to_thread.run_sync(self.wait_ready)

    @property
    def pids(self) -> dict[str, int]:
        """The processes that run, by name."""
        assert self._api_server is not None
        return {"kube-apiserver": self._api_server.pid, "etcd": self._etcd.pid}

    def close(self) -> None:
        """Ends both processes at once."""
        if self._api_server is not None:
            self.kill_api_server()
        self._etcd.kill()

    async def compact_etcd(self) -> None:
        """Has etcd forget all history: versions older than now can no longer be listed or watched."""
        await trio.to_thread.run_sync(self._compact_etcd)

    def _compact_etcd(self) -> None:
        revision = self._ask_etcd("/v3/maintenance/status", {})["header"]["revision"]
        self._ask_etcd("/v3/kv/compaction", {"revision": revision, "physical": True})

    def _ask_etcd(self, path: str, body: dict[str, object]) -> dict[str, Any]:
        request = urllib.request.Request(self._etcd_url + path, json.dumps(body).encode())
        with urllib.request.urlopen(request, timeout=60) as answer:
            found: dict[str, Any] = json.loads(answer.read())
        return found

    # --- its objects

    async def ask(self, method: str, path: str, body: Manifest | None = None, *, kind: str = "json") -> Manifest:
        """A request with the administrator's permissions; see Admin.request."""
        return await trio.to_thread.run_sync(partial(self.admin.request, method, path, body, kind=kind))

    async def create_namespace(self) -> str:
        """Creates a namespace for the caller alone; nothing ever deletes it."""
        name = f"test-{random.getrandbits(40):010x}"
        await self.ask("POST", "/api/v1/namespaces", manifests.namespace(name))
        return name

    async def create_service_account(self, namespace: str, name: str) -> Manifest:
        return await self.ask(
            "POST", f"/api/v1/namespaces/{namespace}/serviceaccounts", manifests.service_account(name)
        )

    async def grant(
        self, namespace: str, service_account: str, rules: Iterable[Manifest], *, everywhere: bool = False
    ) -> None:
        """Grants permissions to a service account, in its namespace or everywhere."""
        kind = "ClusterRole" if everywhere else "Role"
        room = _RBAC if everywhere else f"{_RBAC}/namespaces/{namespace}"
        name = f"{namespace}-{service_account}-{random.getrandbits(40):010x}"
        await self.ask("POST", f"{room}/{kind.lower()}s", manifests.role(name, rules))
        await self.ask(
            "POST", f"{room}/{kind.lower()}bindings", manifests.binding(name, kind, namespace, service_account)
        )

    async def create_pod(self, namespace: str, manifest: Manifest, *, status: Manifest | None = None) -> Manifest:
        """A pod that never runs; a kubelet would report this status."""
        pods = f"/api/v1/namespaces/{namespace}/pods"
        pod = await self.ask("POST", pods, manifest)
        if status is None:
            return pod
        path = f"{pods}/{pod['metadata']['name']}/status"
        return await self.ask("PATCH", path, {"status": status}, kind="merge-patch+json")

    async def delete_pod(self, namespace: str, name: str) -> None:
        """At once: there is no kubelet to wait for."""
        await self.ask("DELETE", f"/api/v1/namespaces/{namespace}/pods/{name}", {"gracePeriodSeconds": 0})

    async def create_token(
        self,
        namespace: str,
        service_account: str,
        *,
        audiences: Iterable[str] = (ISSUER,),
        seconds: int = 3600,
        pod: Manifest | None = None,
    ) -> str:
        """A token of a service account, as a kubelet would get it: for so long, at least 600 s, and bound to a pod."""
        spec: Manifest = {"audiences": list(audiences), "expirationSeconds": seconds}
        if pod is not None:
            bound = {"apiVersion": "v1", "kind": "Pod", "name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]}
            spec["boundObjectRef"] = bound
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{service_account}/token"
        answer = await self.ask("POST", path, {"spec": spec})
        token: str = answer["status"]["token"]
        return token

    async def account_with(
        self, namespace: str, name: str, rules: Iterable[Manifest], *, everywhere: bool = False
    ) -> str:
        """A new service account with these permissions; its token."""
        await self.create_service_account(namespace, name)
        await self.grant(namespace, name, rules, everywhere=everywhere)
        return await self.create_token(namespace, name)

    async def define_configurations(self) -> None:
        """Makes Dapr's Configurations known, once, and returns when they can be listed."""
        with contextlib.suppress(RefusedError):  # another test has done it
            await self.ask("POST", CRDS, manifests.CONFIGURATION_CRD)
        await self._until(lambda: self.admin.request("GET", "/apis/dapr.io/v1alpha1/configurations"))

    async def create_configuration(self, namespace: str, name: str, spec: Manifest) -> Manifest:
        path = f"/apis/dapr.io/v1alpha1/namespaces/{namespace}/configurations"
        return await self.ask("POST", path, manifests.configuration(name, spec))

    async def _until(self, succeeds: Callable[[], object]) -> None:
        with trio.fail_after(60):
            while True:
                try:
                    await trio.to_thread.run_sync(succeeds)
                except RefusedError:
                    await trio.sleep(0.05)  # between two looks
                else:
                    return

    def write_admin_kubeconfig(self, path: Path) -> Path:
        """A kubeconfig with the administrator's permissions."""
        return self.write_kubeconfig(path, {"token": _ADMIN_TOKEN})

    def write_kubeconfig(self, path: Path, user: dict[str, object], *, url: str | None = None) -> Path:
        """A kubeconfig for a user, e.g. `{"token": token}`; `url` if there is a proxy before the API server."""
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {"name": "here", "cluster": {"server": url or self.url, "certificate-authority": str(self.authority)}}
            ],
            "users": [{"name": "me", "user": user}],
            "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
            "current-context": "here",
        }
        path.write_text(yaml.safe_dump(document))
        return path


@contextmanager
def running(binaries: Binaries) -> Iterator[Cluster]:
    """A control plane until the block is left. Blocks while it starts, some 5 s; its data stays in memory if it can."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="sentry-cluster-", dir=memory if memory.is_dir() else None) as directory:
        cluster = Cluster(binaries, Path(directory))
        try:
            cluster.start_api_server()
            cluster.wait_ready()
            yield cluster
        finally:
            cluster.close()

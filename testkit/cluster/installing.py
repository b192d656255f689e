"""Objects that a chart installs for an authority in a namespace, and a session with no more permissions than that."""

from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trio

from sentry_trio.kube.session import Session, open_session

from . import manifests
from .admin import Manifest
from .cluster import Cluster

NAME = "dapr-trust-bundle"

ROLE: tuple[Manifest, ...] = (
    manifests.rule(["get", "update", "watch"], ["secrets", "configmaps"], names=[NAME]),
    manifests.rule(["get", "list", "watch"], ["configurations"], group="dapr.io"),
    manifests.rule(["create"], ["events"]),
)
CLUSTER_ROLE: tuple[Manifest, ...] = (
    manifests.rule(["create"], ["tokenreviews"], group="authentication.k8s.io"),
    manifests.rule(["get", "list", "watch"], ["configurations"], group="dapr.io"),
    manifests.rule(["get", "list", "watch"], ["pods"]),
)
# As Dapr's own chart has it (1.18).
DAPR_ROLE: tuple[Manifest, ...] = (
    manifests.rule(["get", "update", "delete"], ["secrets"], names=[NAME]),
    manifests.rule(["get", "update", "watch", "list"], ["configmaps"], names=[NAME]),
    manifests.rule(["get", "list", "watch"], ["configurations"], group="dapr.io"),
)


@dataclass(frozen=True)
class Installation:
    """A namespace with the chart's empty Secret and ConfigMap; its methods are the administrator's."""

    cluster: Cluster
    namespace: str
    directory: Path

    async def get(self, kind: str) -> Manifest:
        return await self.cluster.ask("GET", self._path(kind))

    async def edit(self, kind: str, **fields: Any) -> None:
        await self.cluster.ask("PATCH", self._path(kind), fields, kind="merge-patch+json")

    async def delete(self, kind: str) -> None:
        await self.cluster.ask("DELETE", self._path(kind))

    async def parts(self) -> dict[str, bytes]:
        """Content of the Secret."""
        data = (await self.get("secrets")).get("data") or {}
        return {name: b64decode(value) for name, value in data.items()}

    async def write(self, parts: Mapping[str, bytes]) -> None:
        """Puts values into the Secret, beside those that are there."""
        await self.edit("secrets", data={name: b64encode(part).decode() for name, part in parts.items()})

    async def published(self) -> str | None:
        """The trust anchors in the ConfigMap."""
        data = (await self.get("configmaps")).get("data") or {}
        return data.get("ca.crt")

    @asynccontextmanager
    async def session(
        self, *, role: Iterable[Manifest] = ROLE, cluster_role: Iterable[Manifest] = (), url: str | None = None
    ) -> AsyncIterator[Session]:
        """A session of the service account dapr-sentry with these permissions and no others."""
        token = await self.cluster.account_with(self.namespace, "dapr-sentry", role)
        await self.cluster.grant(self.namespace, "dapr-sentry", cluster_role, everywhere=True)
        kubeconfig = self.cluster.write_kubeconfig(self.directory / "kubeconfig", {"token": token}, url=url)
        async with open_session(kubeconfig=kubeconfig, environ={}, service_account=self.directory / "none") as session:
            yield session

    def _path(self, kind: str) -> str:
        return f"/api/v1/namespaces/{self.namespace}/{kind}/{NAME}"


async def eventually(holds: Callable[[], Awaitable[bool]], *, seconds: float = 10) -> None:
    """Polls until a condition holds that nothing announces."""
    with trio.fail_after(seconds):
        while True:
            if await holds():
                return
            await trio.sleep(0.05)  # between two looks


async def install(cluster: Cluster, namespace: str, directory: Path) -> Installation:
    for kind in ("secrets", "configmaps"):
        labelled = {"metadata": {"name": NAME, "labels": {"app": "dapr-sentry"}}}
        await cluster.ask("POST", f"/api/v1/namespaces/{namespace}/{kind}", labelled)
    return Installation(cluster, namespace, directory)

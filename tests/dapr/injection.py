"""The sidecar injector as an API server uses it, and pods of applications with the sidecars that it gives them."""

import base64
import contextlib
import json
import socket
import ssl
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Final

from testkit.cluster import manifests
from testkit.cluster.admin import Manifest, RefusedError
from testkit.cluster.cluster import CRDS, Cluster

from .conftest import built
from .installed import Mesh
from .sidecars import Address, Sidecar, sidecar

_WEBHOOKS: Final = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
_WEBHOOK: Final = "dapr-sidecar-injector"
_TIMEOUT: Final = 10.0  # seconds


async def define_webhook(cluster: Cluster) -> None:
    """Creates the injector's webhook, once in a cluster; it matches no pod, since an API server cannot find it here."""
    never = {"matchLabels": {"no": "namespace"}}
    service = {"name": _WEBHOOK, "namespace": "default", "path": "/mutate"}
    webhook = {
        "name": "sidecar-injector.dapr.io",
        "clientConfig": {"service": service},
        "namespaceSelector": never,
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
    }
    with contextlib.suppress(RefusedError):  # another test has created it
        await cluster.ask("POST", _WEBHOOKS, {"metadata": {"name": _WEBHOOK}, "webhooks": [webhook]})


async def webhook_authority(cluster: Cluster) -> bytes:
    """Returns the trust anchors that the injector has registered with API servers for its own certificate; PEM."""
    found = await cluster.ask("GET", f"{_WEBHOOKS}/{_WEBHOOK}")
    return base64.b64decode(found["webhooks"][0]["clientConfig"]["caBundle"])


async def conversion(cluster: Cluster) -> Manifest:
    """Returns the webhook by which the API server converts subscriptions."""
    definition = await cluster.ask("GET", f"{CRDS}/subscriptions.dapr.io")
    found: Manifest = definition["spec"]["conversion"]["webhook"]["clientConfig"]
    return found


def injected(port: int, mesh: Mesh, pod: Manifest, authority: bytes) -> Manifest:
    """Has the injector change a pod as an API server would, and returns the sidecar's container.

    Args:
        port: the injector's.
        mesh: its control plane.
        pod: as its owner creates it.
        authority: the certificates that the API server verifies the injector's with.
    """
    review = {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "1",
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "operation": "CREATE",
            "namespace": pod["metadata"]["namespace"],
            "userInfo": {"username": "admin", "groups": ["system:masters"]},
            "object": pod,
        },
    }
    answer = _post(port, f"dapr-sidecar-injector.{mesh.namespace}.svc", "/mutate", review, authority)
    assert answer["response"]["allowed"], answer
    patch: list[dict[str, Any]] = json.loads(base64.b64decode(answer["response"]["patch"]))
    added = [each["value"] for each in patch if isinstance(each.get("value"), dict)]
    return next(each for each in added if each.get("name") == "daprd")


def connect(port: int, host: str, authority: bytes) -> ssl.SSLSocket:
    """Connects to a server whose certificate must be for a host name, as an API server does to a webhook."""
    context = ssl.create_default_context(cadata=authority.decode())
    plain = socket.create_connection(("127.0.0.1", port), _TIMEOUT)
    return context.wrap_socket(plain, server_hostname=host)


def _post(port: int, host: str, path: str, body: object, authority: bytes) -> dict[str, Any]:
    """Posts JSON to a webhook."""
    with closing(HTTPConnection(host)) as connection:
        connection.sock = connect(port, host, authority)
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read()
    assert answer.status == HTTPStatus.OK, text
    found: dict[str, Any] = json.loads(text)
    return found


@dataclass(frozen=True)
class Application:
    """An application's pod.

    Attributes:
        address: of its sidecar.
        pod: as it was created.
        token: the file of its token.
    """

    address: Address
    pod: Manifest
    token: Path

    @classmethod
    async def create(cls, mesh: Mesh, address: Address, configuration: str) -> "Application":
        """Creates the pod as a controller would, with the annotations that ask for a sidecar."""
        cluster = mesh.plane.cluster
        await cluster.create_service_account(address.namespace, address.app_id)
        annotations = {
            "dapr.io/enabled": "true",
            "dapr.io/app-id": address.app_id,
            "dapr.io/config": configuration,
            "dapr.io/app-port": "8080",
            "dapr.io/sentry-request-jwt-audiences": "bank",
        }
        pod = manifests.pod(f"{address.app_id}-0", service_account=address.app_id, annotations=annotations)
        created = await cluster.create_pod(address.namespace, pod)
        return cls(address, created, await mesh.token(created))

    @contextmanager
    def sidecar(self, mesh: Mesh, container: Manifest, operator_port: int, placement_port: int) -> Iterator[Sidecar]:
        """Runs the container that the injector made, with addresses on loopback in place of the cluster's."""
        addresses = (
            f"--control-plane-address=127.0.0.1:{operator_port}",
            f"--sentry-address=127.0.0.1:{mesh.ca_port}",
            f"--placement-host-address=127.0.0.1:{placement_port}",
            "--disable-builtin-k8s-secret-store",
        )
        given = {each["name"]: each["value"] for each in container["env"] if "value" in each}
        environ = {
            **given,
            "POD_NAME": self.pod["metadata"]["name"],
            "DAPR_SENTRY_TOKEN_FILE": str(self.token),
            "DAPR_UNSAFE_SKIP_CONTAINER_UID_GID_CHECK": "true",  # these tests may be root
        }
        with sidecar(
            built("daprd"), self.address, mesh.directory, [*container["args"], *addresses], environ
        ) as started:
            yield started

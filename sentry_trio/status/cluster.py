"""The replicas' pods, the Secret and the ConfigMap of a cluster, as far as the permissions at hand go.

The chart grants all of it to the authority's own service account but `pods/proxy`, which a pod does not need: it
reaches other pods by their addresses. From outside the cluster these addresses are unreachable, so pods are asked
through the API server, with the user's permissions.
"""

from collections.abc import Mapping
from functools import partial
from http import HTTPStatus
from typing import Any, Final

import msgspec
import trio

from sentry_trio.errors import ApiRejectedError, ApiUnavailableError, StoreError
from sentry_trio.kube.access_review import Permission
from sentry_trio.kube.api import ReadApi
from sentry_trio.status.collect import MOST_BYTES, ReplicaPlace, fetch
from sentry_trio.status.report import NotShownError, Replica, absent
from sentry_trio.stores.part_store import PublicParts
from sentry_trio.stores.secret_content import public_parts
from sentry_trio.stores.secret_object import NAME

LABEL: Final = "app=dapr-sentry"
"""The pods of the authority, in Dapr's chart and in ours."""

MAX_PODS: Final = 50
"""Largest number of pods that are queried."""

_CONTAINER: Final = "dapr-sentry"
_PORTS: Final = {"healthz": 8080, "metrics": 9090}
_LOOPBACK: Final = "127.0.0.1"


class _Port(msgspec.Struct):
    number: int = msgspec.field(name="containerPort")
    name: str = ""


class _Container(msgspec.Struct):
    name: str
    ports: list[_Port] = msgspec.field(default_factory=list)


class _Spec(msgspec.Struct):
    containers: list[_Container]


class _Status(msgspec.Struct):
    phase: str = "Unknown"
    address: str = msgspec.field(default="", name="podIP")


class _Metadata(msgspec.Struct):
    name: str
    deleted_at: str | None = msgspec.field(default=None, name="deletionTimestamp")


class _Pod(msgspec.Struct):
    metadata: _Metadata
    spec: _Spec
    status: _Status


class _ListMetadata(msgspec.Struct):
    more: str = msgspec.field(default="", name="continue")


class _Pods(msgspec.Struct):
    items: list[_Pod]
    metadata: _ListMetadata = msgspec.field(default_factory=_ListMetadata)


class Cluster(msgspec.Struct, frozen=True):
    """Namespace in which an authority runs.

    Attributes:
        api: the API server.
        namespace: the authority's.
        own_pod: the pod of this process, which is read by loopback; None outside the cluster, where pods are read
            through the API server.
        timeout: seconds for each answer.
        anchors_name: key of the trust anchors in the Secret and the ConfigMap.
        chain_name: key of the issuer chain in the Secret.
    """

    api: ReadApi
    namespace: str
    own_pod: str | None
    timeout: float
    anchors_name: str = "ca.crt"
    chain_name: str = "issuer.crt"

    async def replicas(self) -> list[ReplicaPlace | Replica]:
        """Lists the pods that run or will run, by name; pods that end are left out.

        Raises:
            NotShownError: they cannot be listed, or there are none.
        """
        permission = Permission("list", "", "pods", self.namespace)
        answer = await self._get(permission, "pods", {"labelSelector": LABEL, "limit": str(MAX_PODS)})
        try:
            pods = msgspec.convert(answer, _Pods)
        except msgspec.ValidationError as error:
            raise NotShownError(f"cannot parse the API server's list of pods: {error}") from error
        places = [
            self._place(pod)
            for pod in pods.items
            if pod.status.phase not in {"Succeeded", "Failed"} and pod.metadata.deleted_at is None
        ]
        if not places:
            raise NotShownError(f"there are no pods {LABEL} in {self.namespace}")
        places.sort(key=lambda place: place.name)
        if pods.metadata.more:
            places.append(absent("further pods", f"at most {MAX_PODS} pods are read"))
        return places

    def _place(self, pod: _Pod) -> ReplicaPlace | Replica:
        name, address = pod.metadata.name, pod.status.address
        if not address:
            return absent(name, f"no address yet (phase {pod.status.phase})")
        ports = _ports(pod)
        if self.own_pod is None:
            get = partial(self._get_through_api_server, name)
        else:
            host = _LOOPBACK if name == self.own_pod else address
            get = partial(fetch, host, timeout=self.timeout)
        # Metrics may be disabled, or open to scrapers only, which is not a fault.
        return ReplicaPlace(name, get, ports["healthz"], ports["metrics"], metrics_asked=False)

    async def _get_through_api_server(self, pod: str, port: int, path: str) -> bytes:
        path, _, query = path.partition("?")
        asked = f"{_collection(self.namespace, 'pods')}/{pod}:{port}/proxy{path}"
        try:
            with trio.fail_after(self.timeout):
                body = await self.api.get_raw(asked, {query: ""} if query else None)
        except trio.TooSlowError:
            raise NotShownError(f"port {port} of pod {pod} did not answer within {self.timeout:g} s") from None
        except (ApiRejectedError, ApiUnavailableError) as error:
            reason = f"port {port} of pod {pod}: {error}"
            if isinstance(error, ApiRejectedError) and error.status == HTTPStatus.FORBIDDEN:
                permission = Permission("get", "", "pods/proxy", self.namespace)
                reason = f"missing permission to {permission}, which reading a pod from outside the cluster needs"
            raise NotShownError(reason) from error
        if len(body) > MOST_BYTES:
            raise NotShownError(f"port {port} of pod {pod} answered more than {MOST_BYTES} bytes")
        return body

    @property
    def secret_place(self) -> str:
        """Names the Secret."""
        return f"Secret {self.namespace}/{NAME}"

    @property
    def config_map_place(self) -> str:
        """Names the ConfigMap."""
        return f"ConfigMap {self.namespace}/{NAME}"

    async def stored(self) -> PublicParts:
        """Reads the public parts of the Secret; the key, which the API server sends with them, is dropped immediately.

        Raises:
            NotShownError: a permission is missing, there is no Secret, or its content is not usable.
        """
        secret = await self._get(Permission("get", "", "secrets", self.namespace, NAME), f"secrets/{NAME}")
        try:
            return public_parts(secret, self.anchors_name, self.chain_name, place=f"{self.namespace}/{NAME}")
        except StoreError as error:
            raise NotShownError(str(error)) from error

    async def published(self) -> str | None:
        """Reads the trust anchors in the ConfigMap, PEM; None if it has none.

        Raises:
            NotShownError: a permission is missing, or there is no ConfigMap.
        """
        config_map = await self._get(Permission("get", "", "configmaps", self.namespace, NAME), f"configmaps/{NAME}")
        anchors = (config_map.get("data") or {}).get(self.anchors_name)
        return anchors if isinstance(anchors, str) else None

    async def _get(self, permission: Permission, what: str, query: Mapping[str, str] | None = None) -> dict[str, Any]:
        try:
            with trio.fail_after(self.timeout):
                return await self.api.get(_collection(self.namespace, what), query)
        except trio.TooSlowError:
            reason = f"the Kubernetes API server did not answer within {self.timeout:g} s"
            raise NotShownError(reason) from None
        except ApiRejectedError as error:
            is_forbidden = error.status == HTTPStatus.FORBIDDEN
            reason = str(error)
            if is_forbidden:
                reason = f"missing permission to {permission}"
            elif error.status == HTTPStatus.NOT_FOUND:
                reason = f"there is no {permission.name} among the {permission.resource} of {self.namespace}"
            # A missing permission is not a fault of the authority, and does not need attention.
            raise NotShownError(reason, asked=not is_forbidden) from error
        except ApiUnavailableError as error:
            raise NotShownError(str(error)) from error


def _collection(namespace: str, what: str) -> str:
    return f"/api/v1/namespaces/{namespace}/{what}"


def _ports(pod: _Pod) -> dict[str, int]:
    """Ports by their names in our chart. Dapr's chart names metrics only; the defaults of both are the same."""
    ports = dict(_PORTS)
    for container in pod.spec.containers:
        if container.name == _CONTAINER:
            ports |= {port.name: port.number for port in container.ports if port.name in ports}
    return ports

"""An API server in memory: pods, Secret, ConfigMap, and responses of pods through its proxy."""

from base64 import b64encode
from collections.abc import Mapping
from typing import Any

import trio

from sentry_trio.errors import ApiRejectedError, ApiUnavailableError, SentryError
from testkit.authorities import made_bundle

FORBIDDEN = ApiRejectedError("GET x: 403 Forbidden", status=403, reason="Forbidden")
NOT_FOUND = ApiRejectedError("GET x: 404 NotFound", status=404, reason="NotFound")
AWAY = ApiUnavailableError("GET x: cannot connect")
BUNDLE = made_bundle()
SECRET_KEY = "-----BEGIN PRIVATE KEY-----secret"


class PodsApi:
    """Attributes: see `get`.

    refuse: raised for whatever is asked.
    silent: nothing is ever answered.
    answers: of pods, by port and path.
    asked: the paths that were.
    more: the metadata of the list of pods.
    """

    def __init__(self) -> None:
        self.refuse: SentryError | None = None
        self.silent = False
        self.answers: dict[str, bytes | SentryError] = {}
        self.asked: list[str] = []
        self.more: dict[str, Any] = {}
        self.pods: list[dict[str, Any]] = []
        self.secret: dict[str, Any] = {
            "data": {
                "ca.crt": b64encode(BUNDLE.anchors_pem).decode(),
                "issuer.crt": b64encode(BUNDLE.chain_pem).decode(),
                "issuer.key": b64encode(SECRET_KEY.encode()).decode(),
            }
        }
        self.config_map: dict[str, Any] = {"data": {"ca.crt": BUNDLE.anchors_pem.decode()}}

    def pod(self, name: str, address: str | None, *ports: tuple[str, int], **status: str) -> dict[str, Any]:
        """Adds one."""
        named = [{"name": port, "containerPort": number, "protocol": "TCP"} for port, number in ports]
        sidecar = {"name": "other", "ports": [{"name": "metrics", "containerPort": 1}]}
        pod: dict[str, Any] = {
            "metadata": {"name": name},
            "spec": {"containers": [sidecar, {"name": "dapr-sentry", "ports": named}]},
            "status": {"phase": "Running", **({"podIP": address} if address else {}), **status},
        }
        self.pods.append(pod)
        return pod

    async def get(self, path: str, query: Mapping[str, str] | None = None) -> dict[str, Any]:
        await self._answer(path)
        pods = {"items": self.pods, "metadata": self.more}
        return {"pods": pods, "secrets": self.secret, "configmaps": self.config_map}[path.split("/")[5]]

    async def get_raw(self, path: str, query: Mapping[str, str] | None = None) -> bytes:
        await self._answer(path)
        answer = self.answers[path.rpartition(":")[2]]
        if isinstance(answer, SentryError):
            raise answer
        return answer

    async def _answer(self, path: str) -> None:
        self.asked.append(path)
        if self.silent:
            await trio.sleep_forever()
        await trio.lowlevel.checkpoint()
        if self.refuse is not None:
            raise self.refuse

"""Reads and writes the Secret or the ConfigMap, with errors that name it and the remedy."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from sentry_trio.errors import ApiRejectedError, ApiUnavailableError, StoreError
from sentry_trio.kube.api import Api
from sentry_trio.kube.object_watch import WatchedObject

NAME: Final = "dapr-trust-bundle"
"""Dapr's name of both objects."""


class ForbiddenError(StoreError):
    """Permission is missing, or the API server has just started and does not know the permissions yet."""


class SecretObject:
    """The Secret or the ConfigMap.

    Args:
        api: the API server.
        namespace: its namespace.
        kind: `Secret` or `ConfigMap`.

    Attributes:
        place: names it, e.g. `dapr-system/dapr-trust-bundle`.
        watched: it, to be watched.
    """

    def __init__(self, api: Api, namespace: str, kind: str) -> None:
        self.place = f"{namespace}/{NAME}"
        self.watched = WatchedObject(f"/api/v1/namespaces/{namespace}/{kind.lower()}s", NAME)
        self._api = api
        self._namespace = namespace
        self._kind = kind

    async def get(self) -> dict[str, Any]:
        """Reads it.

        Raises:
            StoreError: `failed to get trust bundle secret: ` (or `configmap: `), why, and the remedy.
            ApiUnavailableError: the same, and it may pass.
        """
        with self._naming("get"):
            return await self._api.get(self.watched.path)

    async def put(self, body: dict[str, Any]) -> None:
        """Writes it, if it still has the resourceVersion of `body`.

        Raises:
            StoreError: `failed to update trust bundle secret: ` (or `configmap: `), why, and the remedy.
            ApiUnavailableError: the same, and it may pass; also if another client has written meanwhile. It may be
                written nevertheless.
        """
        with self._naming("update"):
            await self._api.replace(self.watched.path, body)

    def immutable_reason(self) -> str:
        """Returns the reason why an immutable object cannot be written, and the remedy."""
        kind = self._kind.lower()
        save = "save its values, " if self._kind == "Secret" else ""
        return (
            f"{self._kind} {self.place} is immutable: {save}delete it with 'kubectl delete {kind} {NAME} "
            f"--namespace {self._namespace}' and create it again without 'immutable'"
        )

    @contextmanager
    def _naming(self, verb: str) -> Iterator[None]:
        failed = f"failed to {verb} trust bundle {self._kind.lower()}"
        try:
            yield
        except ApiUnavailableError as error:
            raise ApiUnavailableError(f"{failed}: {error}", retry_after=error.retry_after) from error
        except ApiRejectedError as error:
            if error.status == 409:
                raise ApiUnavailableError(f"{failed}: {error}: {self._writer_hint()}") from error
            kind = ForbiddenError if error.status == 403 else StoreError
            raise kind(f"{failed}: {self._reason(verb, error)}") from error

    def _reason(self, verb: str, error: ApiRejectedError) -> str:
        if error.status == 404:
            generic = " generic" if self._kind == "Secret" else ""
            create = f"kubectl create {self._kind.lower()}{generic} {NAME} --namespace {self._namespace}"
            return (
                f"there is no {self._kind} {self.place}: install the chart, which creates it empty, or run '{create}'"
            )
        if error.status == 403:
            grant = f"grant {verb} on {self._kind.lower()}s {NAME} in the Role dapr-sentry of {self._namespace}"
            return f"{error}: {grant}, or install the chart, which does"
        if error.status == 422 and "immutable" in str(error):
            return f"{self.immutable_reason()} ({error})"
        return f"{self._kind} {self.place}: {error}"

    def _writer_hint(self) -> str:
        show = f"kubectl get {self._kind.lower()} {NAME} --namespace {self._namespace} -o yaml --show-managed-fields"
        return f"another client writes it at the same time; '{show}' names it"

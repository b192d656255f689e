"""One of the two objects of the trust bundle: read and written with errors that name it and the remedy."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from sentry_trio.errors import ApiRefusedError, ApiUnavailableError, StoreError
from sentry_trio.kube.api import Api
from sentry_trio.kube.object_watch import WatchedObject

NAME: Final = "dapr-trust-bundle"
"""Dapr's name of both objects."""


class ForbiddenError(StoreError):
    """The right to an object is missing; or the API server has just begun, and does not know yet what it grants."""


class SecretObject:
    """The Secret or the ConfigMap.

    Args:
        api: the API server.
        namespace: where it is.
        kind: `Secret` or `ConfigMap`.

    Attributes:
        place: names it, e.g. `dapr-system/dapr-trust-bundle`.
        followed: it, to be watched.
    """

    def __init__(self, api: Api, namespace: str, kind: str) -> None:
        self.place = f"{namespace}/{NAME}"
        self.followed = WatchedObject(f"/api/v1/namespaces/{namespace}/{kind.lower()}s", NAME)
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
            return await self._api.get(self.followed.path)

    async def put(self, body: dict[str, Any]) -> None:
        """Writes it, if it still is of the resourceVersion in `body`.

        Raises:
            StoreError: `failed to update trust bundle secret: ` (or `configmap: `), why, and the remedy.
            ApiUnavailableError: the same, and it may pass; where somebody else has written meanwhile, too. It may have
                been written all the same.
        """
        with self._naming("update"):
            await self._api.replace(self.followed.path, body)

    @contextmanager
    def _naming(self, verb: str) -> Iterator[None]:
        failed = f"failed to {verb} trust bundle {self._kind.lower()}"
        try:
            yield
        except ApiUnavailableError as error:
            raise ApiUnavailableError(f"{failed}: {error}", retry_after=error.retry_after) from error
        except ApiRefusedError as error:
            if error.status == 409:
                raise ApiUnavailableError(f"{failed}: {error}: {self._find_writer()}") from error
            kind = ForbiddenError if error.status == 403 else StoreError
            raise kind(f"{failed}: {self._why(verb, error)}") from error

    def _why(self, verb: str, error: ApiRefusedError) -> str:
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
            kind = self._kind.lower()
            save = "save its values, " if self._kind == "Secret" else ""
            return (
                f"{self._kind} {self.place} is immutable: {save}delete it with 'kubectl delete {kind} {NAME} "
                f"--namespace {self._namespace}' and create it again without 'immutable' ({error})"
            )
        return f"{self._kind} {self.place}: {error}"

    def _find_writer(self) -> str:
        show = f"kubectl get {self._kind.lower()} {NAME} --namespace {self._namespace} -o yaml --show-managed-fields"
        return f"something else writes it at the same time; '{show}' names what"

"""Checks of the permissions of this process before it uses them: one line names all that are missing."""

from collections.abc import Collection, Iterable
from functools import partial
from typing import Any, Final

import msgspec
import trio

from sentry_trio.errors import ApiRejectedError, SentryError
from sentry_trio.kube.api import Api
from sentry_trio.kube.retry import retry
from sentry_trio.telemetry.logs import get_logger

PATH: Final = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"

# 403: a cluster without the ClusterRole system:basic-user. 404, 405: an API server without this API.
_UNCHECKABLE: Final = frozenset({403, 404, 405})

_log: Final = get_logger("dapr.sentry")


class Permission(msgspec.Struct, frozen=True):
    """A verb on a kind of object.

    Attributes:
        verb: verb of the API, e.g. `get`, `update`, `watch`.
        group: API group of the kind; empty for the core's.
        resource: the kind's plural, e.g. `secrets`.
        namespace: namespace of the objects; empty for all, or for kinds without namespaces.
        name: name of one object; empty for all of the kind. `list` and `watch` of one need it as a field selector.
    """

    verb: str
    group: str
    resource: str
    namespace: str = ""
    name: str = ""

    def __str__(self) -> str:
        """E.g. `update secrets dapr-trust-bundle in dapr-system`, `create tokenreviews.authentication.k8s.io`."""
        kind = f"{self.resource}.{self.group}" if self.group else self.resource
        name = f" {self.name}" if self.name else ""
        place = f" in {self.namespace}" if self.namespace else ""
        return f"{self.verb} {kind}{name}{place}"

    @property
    def role(self) -> str:
        """Name of the chart's role that grants it."""
        return f"Role dapr-sentry in {self.namespace}" if self.namespace else "ClusterRole dapr-sentry"


class MissingPermissionsError(SentryError):
    """Required permissions that this process does not have.

    Attributes:
        missing: the permissions.
    """

    def __init__(self, missing: Collection[Permission]) -> None:
        self.missing = tuple(missing)
        super().__init__(
            f"missing Kubernetes permissions: {_by_role(missing)}; install or upgrade the chart, which grants them to "
            "the service account dapr-sentry"
        )


def required_permissions(namespace: str, *, bundle: str, configuration: str) -> tuple[Permission, ...]:
    """Permissions that Kubernetes mode requires; Dapr's own chart grants all of them, too.

    Args:
        namespace: this process's own.
        bundle: name of the Secret and the ConfigMap.
        configuration: name of the Configuration.
    """
    return (
        Permission("get", "", "secrets", namespace, bundle),
        Permission("update", "", "secrets", namespace, bundle),
        Permission("get", "", "configmaps", namespace, bundle),
        Permission("update", "", "configmaps", namespace, bundle),
        Permission("get", "dapr.io", "configurations", namespace, configuration),
        *(Permission(verb, "dapr.io", "configurations") for verb in ("get", "list", "watch")),
        *(Permission(verb, "", "pods") for verb in ("get", "list", "watch")),
        Permission("create", "authentication.k8s.io", "tokenreviews"),
    )


def optional_permissions(namespace: str, *, bundle: str) -> tuple[Permission, ...]:
    """Permissions that improve Kubernetes mode: changes are noticed without polling, and Events are recorded.

    Dapr's own chart grants no watch of the Secret and no Events.

    Args:
        namespace: this process's own.
        bundle: name of the Secret and the ConfigMap.
    """
    return (
        Permission("watch", "", "secrets", namespace, bundle),
        Permission("watch", "", "configmaps", namespace, bundle),
        Permission("create", "", "events", namespace),
    )


async def missing_permissions(api: Api, needed: Iterable[Permission]) -> list[Permission]:
    """Returns the permissions that this process does not have (SelfSubjectAccessReview), in the order given.

    All are reviewed at the same time. By default every authenticated account may request this; a cluster can forbid
    it, or lack the API. Then the permissions are unknown and count as granted, with one warning.

    Args:
        api: the API server.
        needed: permissions that will be used.

    Raises:
        ApiUnavailableError: the API server is unavailable.
        ApiRejectedError: it rejects the request for another reason, e.g. 401.

    Cancellation: at once.
    """
    permissions = list(needed)
    allowed: dict[Permission, bool] = {}
    unknown: list[ApiRejectedError] = []
    failures: list[SentryError] = []

    async def ask(permission: Permission) -> None:
        try:
            allowed[permission] = await retry(partial(_is_allowed, api, permission))
        except SentryError as error:
            if isinstance(error, ApiRejectedError) and error.status in _UNCHECKABLE:
                unknown.append(error)
                return
            failures.append(error)
            nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        for permission in permissions:
            nursery.start_soon(ask, permission)
    if failures:
        raise failures[0]
    if unknown:
        _log.warning(
            f"cannot check {len(unknown)} of {len(permissions)} Kubernetes permissions; a missing one is "
            f"reported when it is needed. The ClusterRole system:basic-user grants this check: {unknown[0]}"
        )
    return [permission for permission in permissions if not allowed.get(permission, True)]


async def check_permissions(api: Api, needed: Iterable[Permission], useful: Iterable[Permission]) -> None:
    """Checks required permissions, and warns of missing optional ones.

    Args:
        api: the API server.
        needed: required permissions.
        useful: optional permissions.

    Raises:
        MissingPermissionsError: required permissions are missing; one line names all of them, with their role.
        ApiUnavailableError, ApiRejectedError: as `missing_permissions`.

    Cancellation: at once.
    """
    wanted = tuple(needed)
    missing = await missing_permissions(api, (*wanted, *useful))
    if fatal := [permission for permission in missing if permission in wanted]:
        raise MissingPermissionsError(fatal)
    if missing:
        _log.warning(
            f"optional Kubernetes permissions are missing, which the chart of this release grants: {_by_role(missing)}"
        )


async def _is_allowed(api: Api, permission: Permission) -> bool:
    review: dict[str, Any] = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {
            "resourceAttributes": {name: value for name, value in msgspec.structs.asdict(permission).items() if value}
        },
    }
    answer = await api.create(PATH, review)
    status = answer.get("status")
    return isinstance(status, dict) and status.get("allowed") is True


def _by_role(permissions: Iterable[Permission]) -> str:
    by_role: dict[str, list[str]] = {}
    for permission in permissions:
        by_role.setdefault(permission.role, []).append(str(permission))
    return "; ".join(f"{', '.join(texts)} ({role})" for role, texts in by_role.items())

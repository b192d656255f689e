"""Permissions asked of a real API server."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from sentry_trio.errors import ApiRejectedError
from sentry_trio.kube.access_review import (
    PATH,
    MissingPermissionsError,
    check_permissions,
    missing_permissions,
    optional_permissions,
    required_permissions,
)
from testkit.cluster.admin import Manifest
from testkit.cluster.cluster import Cluster
from testkit.cluster.installing import CLUSTER_ROLE, DAPR_ROLE, NAME, ROLE, eventually, install
from testkit.log_capture import capture_logs


async def missing(
    cluster: Cluster,
    namespace: str,
    directory: Path,
    role: tuple[Manifest, ...],
    cluster_role: tuple[Manifest, ...],
) -> list[str]:
    installation = await install(cluster, namespace, directory)
    rights = (
        *required_permissions(namespace, bundle=NAME, configuration="daprsystem"),
        *optional_permissions(namespace, bundle=NAME),
    )
    async with installation.session(role=role, cluster_role=cluster_role) as session:
        return [str(right) for right in await missing_permissions(session, rights)]


async def test_the_chart_grants_all(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    assert await missing(cluster, namespace, tmp_path, ROLE, CLUSTER_ROLE) == []


async def test_daprs_own_chart_grants_needed_permissions(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    assert await missing(cluster, namespace, tmp_path, DAPR_ROLE, CLUSTER_ROLE) == [
        f"watch secrets {NAME} in {namespace}",
        f"create events in {namespace}",
    ]


async def test_without_permissions_everywhere(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    assert await missing(cluster, namespace, tmp_path, ROLE, ()) == [
        *(f"{verb} configurations.dapr.io" for verb in ("get", "list", "watch")),
        *(f"{verb} pods" for verb in ("get", "list", "watch")),
        "create tokenreviews.authentication.k8s.io",
    ]


@asynccontextmanager
async def without_basic_user(cluster: Cluster) -> AsyncIterator[None]:
    """A cluster whose accounts may not ask for their own permissions."""
    binding = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/system:basic-user"
    subjects = (await cluster.ask("GET", binding))["subjects"]
    await cluster.ask("PATCH", binding, {"subjects": []}, kind="merge-patch+json")
    try:
        yield
    finally:
        await cluster.ask("PATCH", binding, {"subjects": subjects}, kind="merge-patch+json")


async def test_a_cluster_that_forbids_the_check_is_one_warning(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    installation = await install(cluster, namespace, tmp_path)
    needed = required_permissions(namespace, bundle=NAME, configuration="daprsystem")
    async with installation.session(role=ROLE, cluster_role=()) as session, without_basic_user(cluster):

        async def is_forbidden() -> bool:
            with suppress(ApiRejectedError):
                await session.create(PATH, {"spec": {"resourceAttributes": {"verb": "get", "resource": "pods"}}})
                return False
            return True

        await eventually(is_forbidden)  # the API server takes a moment to notice
        with capture_logs() as lines:
            await check_permissions(session, needed, optional_permissions(namespace, bundle=NAME))
    ((level, text),) = [(line["log_level"], line["event"]) for line in lines]
    assert level == "warning"
    assert text.startswith(
        "cannot check 15 of 15 Kubernetes permissions; a missing one is reported when it is needed. "
    )
    assert "403 Forbidden: selfsubjectaccessreviews" in text


async def test_missing_required_permissions_are_fatal_and_optional_ones_a_warning(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    installation = await install(cluster, namespace, tmp_path)
    needed = required_permissions(namespace, bundle=NAME, configuration="daprsystem")
    async with installation.session(role=DAPR_ROLE, cluster_role=CLUSTER_ROLE[:2]) as session:
        with pytest.raises(
            MissingPermissionsError, match=r"permissions: get pods, list pods, watch pods \(ClusterRole dapr-se"
        ):
            await check_permissions(session, needed, optional_permissions(namespace, bundle=NAME))
        await cluster.grant(namespace, "dapr-sentry", CLUSTER_ROLE[2:], everywhere=True)

        async def are_granted() -> bool:
            return not await missing_permissions(session, needed)

        await eventually(are_granted)  # the API server takes a moment to notice
        with capture_logs() as lines:
            await check_permissions(session, needed, optional_permissions(namespace, bundle=NAME))
    assert [line["log_level"] for line in lines] == ["warning"]

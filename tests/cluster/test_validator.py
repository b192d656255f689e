"""The Kubernetes validator on a real API server: real tokens, real pods, real Configurations, in both modes."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trio

from sentry_trio.ca.issue import ContainerImage
from sentry_trio.errors import NotPermittedError
from sentry_trio.kube.index import Index
from sentry_trio.proto.sentry_pb2 import SignCertificateRequest
from sentry_trio.validators.kubernetes import KubernetesValidator
from testkit.authorities import NETWORK
from testkit.cluster import manifests
from testkit.cluster.admin import Manifest, RefusedError
from testkit.cluster.checking import AUDIENCES, REVIEWS, checkers_over, resigned, session_of
from testkit.cluster.cluster import Cluster

READS = manifests.rule(["get", "list", "watch"], ["pods"])
CONFIGURATIONS = manifests.rule(["get", "list", "watch"], ["configurations"], group="dapr.io")
MESH = "mesh.example"


@dataclass
class Mesh:
    """A namespace of workloads, which is the control plane's as well, and a validator."""

    cluster: Cluster
    namespace: str
    validator: KubernetesValidator
    index: Index
    mode: str

    async def pod(self, name: str = "cart-0", service_account: str = "cart", **annotations: str) -> Manifest:
        named = {f"dapr.io/{key.replace('_', '-')}": value for key, value in annotations.items()}
        manifest = manifests.pod(name, service_account=service_account, annotations=named)
        return await self.cluster.create_pod(self.namespace, manifest)

    async def delete(self, pod: Manifest) -> None:
        """Deletes a pod, and returns when the index has heard of it."""
        await self.cluster.delete_pod(self.namespace, pod["metadata"]["name"])
        await self.heard_of_the_end_of(pod)

    async def heard_of_the_end_of(self, pod: Manifest) -> None:
        with trio.fail_after(60):
            while True:
                known = await self.index.pod(self.namespace, pod["metadata"]["name"], uid=pod["metadata"]["uid"])
                if known is None:
                    return
                await trio.sleep(0.01)  # between two looks

    async def token(self, pod: Manifest, service_account: str = "cart") -> str:
        return await self.cluster.create_token(
            self.namespace, service_account, audiences=AUDIENCES[1:], seconds=600, pod=pod
        )

    async def trust_domain(self, token: str, app_id: str, **fields: Any) -> str:
        request = SignCertificateRequest(
            **{"id": app_id, "namespace": self.namespace, "token": token, "certificate_signing_request": b"x"} | fields
        )
        return (await self.validator.validate(request, NETWORK)).trust_domain

    async def refused(self, token: str, app_id: str, **fields: Any) -> str:
        with pytest.raises(NotPermittedError) as caught:
            await self.trust_domain(token, app_id, **fields)
        return str(caught.value)


@pytest.fixture(params=["review", "local"])
async def mesh(request: pytest.FixtureRequest, cluster: Cluster, namespace: str, tmp_path: Path) -> AsyncIterator[Mesh]:
    await cluster.define_configurations()
    await cluster.create_service_account(namespace, "cart")
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(
            session_of(cluster, namespace, tmp_path, rights=(REVIEWS, READS, CONFIGURATIONS))
        )
        nursery = await stack.enter_async_context(trio.open_nursery())
        index = Index(session, containers=True)
        nursery.start_soon(index.keep)  # the first request waits for it
        checker = checkers_over(session).of(request.param)
        validator = KubernetesValidator(checker, index, trust_domain=MESH, namespace=namespace)
        yield Mesh(cluster, namespace, validator, index, request.param)
        nursery.cancel_scope.cancel()


async def test_the_right_pod(mesh: Mesh) -> None:
    token = await mesh.token(await mesh.pod(app_id="cart"))
    assert await mesh.trust_domain(token, "cart") == "public"
    # Again, from what is known by now.
    assert await mesh.trust_domain(token, "cart", trust_domain="asked.for") == "public"


async def test_the_pod_s_images(mesh: Mesh) -> None:
    manifest = manifests.pod(
        "cart-0",
        service_account="cart",
        containers=[{"name": "app", "image": "registry.example/app:1"}, {"name": "daprd", "image": "daprio/daprd:1"}],
        init_containers=[{"name": "first", "image": "registry.example/first:1"}],
    )
    status = {"containerStatuses": [_running("daprd", "docker.io/daprio/daprd@sha256:aa")]}
    pod = await mesh.cluster.create_pod(mesh.namespace, manifest, status=status)
    request = SignCertificateRequest(
        id="cart-0", namespace=mesh.namespace, token=await mesh.token(pod), certificate_signing_request=b"x"
    )
    assert (await mesh.validator.validate(request, NETWORK)).images == (
        ContainerImage("app", "app", "registry.example/app:1"),
        ContainerImage("daprd", "daprd", "daprio/daprd:1", "sha256:aa"),
    )


def _running(name: str, image_id: str) -> Manifest:
    return {"name": name, "image": "x", "imageID": image_id, "ready": True, "restartCount": 0}


async def test_a_pod_without_annotations_is_its_name(mesh: Mesh) -> None:
    assert await mesh.trust_domain(await mesh.token(await mesh.pod()), "cart-0") == "public"


async def test_the_wrong_app_id(mesh: Mesh) -> None:
    token = await mesh.token(await mesh.pod(app_id="cart"))
    assert await mesh.refused(token, "bank") == "app-id mismatch. received: bank"
    assert await mesh.refused(token, "cart-0") == "app-id mismatch. received: cart-0"


async def test_the_wrong_namespace(mesh: Mesh) -> None:
    token = await mesh.token(await mesh.pod(app_id="cart"))
    assert await mesh.refused(token, "cart", namespace="bank") == "namespace mismatch; received namespace: bank"


async def test_a_token_of_another_service_account_than_the_pod_s(mesh: Mesh) -> None:
    bank = await mesh.cluster.create_service_account(mesh.namespace, "bank")
    pod = await mesh.pod(app_id="cart")
    # The API server makes no such token, though it would believe one.
    with pytest.raises(RefusedError, match="different serviceaccount name"):
        await mesh.token(pod, "bank")
    token = resigned(
        mesh.cluster,
        await mesh.token(pod),
        **{
            "sub": f"system:serviceaccount:{mesh.namespace}:bank",
            "kubernetes.io": {
                "namespace": mesh.namespace,
                "pod": {"name": "cart-0", "uid": pod["metadata"]["uid"]},
                "serviceaccount": {"name": "bank", "uid": bank["metadata"]["uid"]},
            },
        },
    )
    assert await mesh.refused(token, "cart") == "pod service account mismatch"


# The API server looks for the pod itself.
GONE = {"review": "invalid token: ", "local": "failed to get pod of identity"}


async def test_a_deleted_pod(mesh: Mesh) -> None:
    pod = await mesh.pod(app_id="cart")
    token = await mesh.token(pod)
    await mesh.delete(pod)
    assert (await mesh.refused(token, "cart")).startswith(GONE[mesh.mode])


async def test_a_pod_made_again_under_its_name(mesh: Mesh) -> None:
    first = await mesh.pod(app_id="cart")
    old = await mesh.token(first)
    assert await mesh.trust_domain(old, "cart") == "public"
    await mesh.cluster.delete_pod(mesh.namespace, "cart-0")
    # At once, whether the index has heard of it or not.
    new = await mesh.token(await mesh.pod(app_id="cart"))
    assert await mesh.trust_domain(new, "cart") == "public"
    await mesh.heard_of_the_end_of(first)
    assert await mesh.refused(old, "cart") == "failed to get pod of identity"


async def test_a_review_that_is_kept_outlives_no_pod(mesh: Mesh) -> None:
    pod = await mesh.pod(app_id="cart")
    token = await mesh.token(pod)
    assert await mesh.trust_domain(token, "cart") == "public"
    await mesh.delete(pod)
    assert await mesh.refused(token, "cart") == "failed to get pod of identity"
    await mesh.pod(app_id="cart")
    assert await mesh.refused(token, "cart") == "failed to get pod of identity"


@pytest.mark.parametrize("service", ["operator", "scheduler"])
async def test_the_control_plane_s_own(mesh: Mesh, service: str) -> None:
    token = await mesh.token(await mesh.pod(control_plane=service))
    assert await mesh.trust_domain(token, f"dapr-{service}") == MESH
    assert await mesh.refused(token, "dapr-sentry") == "app-id mismatch. received: dapr-sentry"


async def test_pods_that_pretend_to_be_of_the_control_plane_are_rejected(mesh: Mesh) -> None:
    token = await mesh.token(await mesh.pod(control_plane="mesh"))
    assert await mesh.refused(token, "dapr-mesh") == "unknown control plane service 'cart-0'"
    token = await mesh.token(await mesh.pod("cart-1", control_plane="operator", app_id="cart"))
    assert (await mesh.refused(token, "dapr-operator")).endswith("cannot have annotation 'dapr.io/app-id'")
    elsewhere = await mesh.cluster.create_namespace()
    await mesh.cluster.create_service_account(elsewhere, "cart")
    mesh.namespace = elsewhere
    token = await mesh.token(await mesh.pod(control_plane="operator"))
    expected = f"control plane service in namespace '{elsewhere}' is not allowed"
    assert await mesh.refused(token, "dapr-operator") == expected


async def test_the_trust_domain_of_a_configuration(mesh: Mesh) -> None:
    specs: dict[str, Manifest] = {
        "own": {"accessControl": {"trustDomain": "shop.example"}},
        "none": {"tracing": {}},
        "bad": {"accessControl": {"trustDomain": "Shop"}},
    }
    for name, spec in specs.items():
        await mesh.cluster.create_configuration(mesh.namespace, name, spec)
    found = {}
    for name in ("own", "none"):
        token = await mesh.token(await mesh.pod(f"cart-{name}", config=name))
        found[name] = await mesh.trust_domain(token, f"cart-{name}", trust_domain="asked.for")
    assert found == {"own": "shop.example", "none": "public"}
    token = await mesh.token(await mesh.pod("cart-bad", config="bad"))
    assert (await mesh.refused(token, "cart-bad")).startswith('failed to parse trust domain "Shop": ')
    token = await mesh.token(await mesh.pod("cart-lost", config="lost"))
    assert await mesh.refused(token, "cart-lost") == "failed to get configuration"

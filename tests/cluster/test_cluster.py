"""The control plane works: the other tests here depend on it."""

import json
from base64 import urlsafe_b64decode
from pathlib import Path

import pytest

from testkit.cluster import binaries, manifests
from testkit.cluster.admin import Admin, RefusedError
from testkit.cluster.cluster import ISSUER, Cluster
from testkit.go_modules import UnavailableError

TOKEN_REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"


def claims(token: str) -> dict[str, object]:
    body = token.split(".")[1]
    found: dict[str, object] = json.loads(urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    return found


async def test_a_token_is_bound_to_its_pod(cluster: Cluster, namespace: str) -> None:
    await cluster.create_service_account(namespace, "me")
    pod = await cluster.create_pod(namespace, manifests.pod("mine", service_account="me"))
    token = await cluster.create_token(namespace, "me", audiences=["dapr.io/sentry"], seconds=600, pod=pod)
    said = claims(token)
    assert said["aud"] == ["dapr.io/sentry"]
    assert said["iss"] == ISSUER
    assert said["sub"] == f"system:serviceaccount:{namespace}:me"
    assert isinstance(said["kubernetes.io"], dict)
    assert said["kubernetes.io"]["pod"] == {"name": "mine", "uid": pod["metadata"]["uid"]}
    review = {"spec": {"token": token, "audiences": ["dapr.io/sentry"]}}
    assert (await cluster.ask("POST", TOKEN_REVIEWS, review))["status"]["authenticated"]


async def test_a_token_ends_with_its_pod(cluster: Cluster, namespace: str) -> None:
    await cluster.create_service_account(namespace, "me")
    pod = await cluster.create_pod(namespace, manifests.pod("mine", service_account="me"))
    token = await cluster.create_token(namespace, "me", pod=pod)
    await cluster.delete_pod(namespace, "mine")
    # Not reviewed before: the API server remembers for 10 s what it has found to be good.
    status = (await cluster.ask("POST", TOKEN_REVIEWS, {"spec": {"token": token}}))["status"]
    assert "authenticated" not in status


async def test_permissions_are_requested(cluster: Cluster, namespace: str) -> None:
    token = await cluster.account_with(namespace, "me", [manifests.rule(["list"], ["pods"])])
    mine = Admin(cluster.url, cluster.authority, token)
    assert mine.request("GET", f"/api/v1/namespaces/{namespace}/pods")["items"] == []
    with pytest.raises(RefusedError, match='cannot list resource \\\\"pods\\\\"'):
        mine.request("GET", "/api/v1/pods")


async def test_configurations_keep_their_content(cluster: Cluster, namespace: str) -> None:
    await cluster.define_configurations()
    await cluster.define_configurations()
    spec = {"accessControl": {"trustDomain": "public"}, "unknown": {"kept": 1}}
    assert (await cluster.create_configuration(namespace, "mine", spec))["spec"] == spec


async def test_compaction_forgets_history(cluster: Cluster, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/pods?limit=1"
    for name in ("a", "b"):
        await cluster.create_pod(namespace, manifests.pod(name))
    first = await cluster.ask("GET", path)
    await cluster.create_pod(namespace, manifests.pod("c"))
    await cluster.compact_etcd()
    with pytest.raises(RefusedError, match="Expired"):
        await cluster.ask("GET", f"{path}&continue={first['metadata']['continue']}")


def test_without_go_the_error_names_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UnavailableError, match="there is no Go on this machine"):
        binaries.build()

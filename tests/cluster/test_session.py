"""The session against a real API server, and against proxies before one."""

import json
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trustme

from sentry_trio.errors import ApiRejectedError, ApiUnavailableError
from sentry_trio.kube import session as session_module
from sentry_trio.kube.api import Api
from sentry_trio.kube.session import Session, open_session
from sentry_trio.kube.watch_stream import Event
from testkit.cluster import manifests
from testkit.cluster.cluster import Cluster
from testkit.cluster.faults import SILENCE, Fault, Faults, answering, faulty
from testkit.leftovers import nothing_left

EVERYTHING = [manifests.rule(["*"], ["*"], group="*")]


@pytest.fixture
async def kubeconfig(cluster: Cluster, namespace: str, tmp_path: Path) -> Path:
    """Of an account that may do everything in the test's namespace."""
    token = await cluster.account_with(namespace, "me", EVERYTHING)
    return cluster.write_kubeconfig(tmp_path / "kubeconfig", {"token": token})


@asynccontextmanager
async def session_through(cluster: Cluster, directory: Path, token: str) -> AsyncIterator[tuple[Session, Faults]]:
    """A session through a proxy."""
    async with faulty(cluster) as faults:
        path = cluster.write_kubeconfig(directory / "kubeconfig", {"token": token}, url=faults.url)
        async with open_session(kubeconfig=path, environ={}) as session:
            yield session, faults


async def first_event(session: Session, path: str, query: Mapping[str, str] | None = None) -> Event:
    async with session.watch(path, query) as events:
        return await anext(events)


async def test_objects_are_created_read_and_replaced(cluster: Cluster, kubeconfig: Path, namespace: str) -> None:
    maps = f"/api/v1/namespaces/{namespace}/configmaps"
    async with open_session(kubeconfig=kubeconfig, environ={}) as session:
        api: Api = session
        made = await api.create(maps, {"metadata": {"name": "mine"}, "data": {"a": "1"}})
        made["data"]["a"] = "2"
        changed = await api.replace(f"{maps}/mine", made)
        assert changed["data"] == {"a": "2"}
        with pytest.raises(ApiRejectedError, match="the object has been modified") as conflict:
            await api.replace(f"{maps}/mine", made)
        assert (conflict.value.status, conflict.value.reason) == (409, "Conflict")
        found = await api.get(maps, {"fieldSelector": "metadata.name=mine"})
        assert [each["data"] for each in found["items"]] == [{"a": "2"}]
        assert json.loads(await session.get_raw(f"{maps}/mine"))["data"] == {"a": "2"}
        await cluster.ask("DELETE", f"{maps}/mine")
        with pytest.raises(ApiRejectedError, match=f"GET {maps}/mine: 404 NotFound: ") as missing:
            await api.get(f"{maps}/mine")
        assert (missing.value.status, missing.value.reason) == (404, "NotFound")


async def test_a_watch_yields_events(cluster: Cluster, kubeconfig: Path, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/pods"
    async with open_session(kubeconfig=kubeconfig, environ={}) as session:
        version = (await session.get(path))["metadata"]["resourceVersion"]
        async with session.watch(path, {"resourceVersion": version, "timeoutSeconds": "60"}) as events:
            await cluster.create_pod(namespace, manifests.pod("mine"))
            await cluster.delete_pod(namespace, "mine")
            seen = []
            async for event in events:
                seen.append((event.type, json.loads(bytes(event.object))["metadata"]["name"]))
                if event.type == "DELETED":
                    break
    assert (seen[0], seen[-1]) == (("ADDED", "mine"), ("DELETED", "mine"))


async def test_a_watch_ends_when_its_time_is_over(kubeconfig: Path, namespace: str) -> None:
    async with (
        open_session(kubeconfig=kubeconfig, environ={}) as session,
        session.watch(f"/api/v1/namespaces/{namespace}/pods", {"timeoutSeconds": "1"}) as events,
    ):
        assert [event async for event in events] == []


async def test_a_refusal_names_verb_and_resource(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    token = await cluster.account_with(namespace, "me", [manifests.rule(["list"], ["pods"])])
    path = cluster.write_kubeconfig(tmp_path / "kubeconfig", {"token": token})
    pods = f"/api/v1/namespaces/{namespace}/pods"
    async with open_session(kubeconfig=path, environ={}) as session:
        assert (await session.get(pods))["items"] == []
        with pytest.raises(
            ApiRejectedError, match='cannot list resource "pods" in API group "" at the cluster'
        ) as none:
            await session.get("/api/v1/pods")
        assert (none.value.status, none.value.reason) == (403, "Forbidden")
        with pytest.raises(
            ApiRejectedError, match=f'"system:serviceaccount:{namespace}:me" cannot watch resource "pods"'
        ):
            await first_event(session, pods)


async def test_an_unknown_token_is_rejected_and_not_logged(cluster: Cluster, tmp_path: Path) -> None:
    path = cluster.write_kubeconfig(tmp_path / "kubeconfig", {"token": "a-secret-of-mine"})
    async with open_session(kubeconfig=path, environ={}) as session:
        with pytest.raises(ApiRejectedError, match="GET /api: 401 Unauthorized") as refused:
            await session.get("/api")
        assert "a-secret-of-mine" not in repr(refused.value.__cause__) + str(refused.value)


async def test_history_that_is_forgotten_has_expired(cluster: Cluster, kubeconfig: Path, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/pods"
    async with open_session(kubeconfig=kubeconfig, environ={}) as session:
        for name in ("a", "b"):
            await cluster.create_pod(namespace, manifests.pod(name))
        page = (await session.get(path, {"limit": "1"}))["metadata"]
        await cluster.create_pod(namespace, manifests.pod("c"))
        await cluster.compact_etcd()
        with pytest.raises(ApiRejectedError) as expired:
            await session.get(path, {"limit": "1", "continue": page["continue"]})
        assert (expired.value.status, expired.value.reason) == (410, "Expired")
        # Until then the API server remembers what etcd has forgotten.
        await cluster.restart_api_server()
        with pytest.raises(ApiRejectedError, match=f"GET {path}: 410 Expired: too old resource version") as gone:
            await first_event(session, path, {"resourceVersion": "1"})
        assert gone.value.status == 410


async def test_a_pod_uses_its_own_credentials(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    token = await cluster.account_with(namespace, "me", EVERYTHING)
    (tmp_path / "token").write_text(token)
    (tmp_path / "ca.crt").write_bytes(cluster.authority.read_bytes())
    environ = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(cluster.port)}
    nowhere = tmp_path / "nowhere"
    async with open_session(kubeconfig=nowhere, environ=environ, service_account=tmp_path) as session:
        assert session.server == cluster.url
        assert (await session.get(f"/api/v1/namespaces/{namespace}/pods"))["items"] == []


async def test_a_plugin_is_asked_for_a_token(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    token = await cluster.account_with(namespace, "me", EVERYTHING)
    credential = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "kind": "ExecCredential",
        "status": {"token": token},
    }
    (tmp_path / "answer").write_text(json.dumps(credential))
    plugin = {
        "apiVersion": credential["apiVersion"],
        "command": sys.executable,
        "args": ["-c", f"print(open({str(tmp_path / 'answer')!r}).read())"],
        "interactiveMode": "Never",
    }
    path = cluster.write_kubeconfig(tmp_path / "kubeconfig", {"exec": plugin})
    async with open_session(kubeconfig=path, environ={}) as session:
        assert (await session.get(f"/api/v1/namespaces/{namespace}/pods"))["items"] == []


# --- proxies before an API server


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
async def test_overload_and_faults_may_pass(cluster: Cluster, tmp_path: Path, status: int) -> None:
    async with session_through(cluster, tmp_path, "none") as (session, faults):
        faults.set(answering(status, retry_after=7))
        with pytest.raises(ApiUnavailableError, match=f"GET /api: {status} .*set by a test") as unavailable:
            await session.get("/api")
        assert unavailable.value.retry_after == 7


async def test_silence_is_not_waited_for_without_end(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_module, "TIMEOUT", 0.1)
    async with session_through(cluster, tmp_path, "none") as (session, faults):
        faults.set(SILENCE)
        with pytest.raises(ApiUnavailableError, match=r"GET /api: no answer within 0\.1 s"):
            await session.get("/api")
        with pytest.raises(ApiUnavailableError, match=r"GET /api/v1/pods: no answer within 0\.1 s"):
            await first_event(session, "/api/v1/pods")


async def test_a_watch_that_is_cut_raises_an_error(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    token = await cluster.account_with(namespace, "me", EVERYTHING)
    async with (
        session_through(cluster, tmp_path, token) as (session, faults),
        session.watch(f"/api/v1/namespaces/{namespace}/pods") as events,
    ):
        faults.cut()
        with pytest.raises(ApiUnavailableError, match="the connection was cut"):
            await anext(events)


async def test_a_watch_without_a_word_counts_as_cut(
    cluster: Cluster, kubeconfig: Path, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_module, "SILENCE", 0.1)
    async with (
        open_session(kubeconfig=kubeconfig, environ={}) as session,
        session.watch(f"/api/v1/namespaces/{namespace}/pods") as events,
    ):
        with pytest.raises(ApiUnavailableError, match=r"no answer within 0\.1 s"):
            await anext(events)


@pytest.mark.parametrize("after", [0, 10, 300])
async def test_an_answer_that_is_cut_raises_an_error(
    cluster: Cluster, namespace: str, tmp_path: Path, after: int
) -> None:
    token = await cluster.account_with(namespace, "me", EVERYTHING)
    async with session_through(cluster, tmp_path, token) as (session, faults):
        faults.set(Fault(cut_after=after))
        with pytest.raises(ApiUnavailableError, match=f"GET /api/v1/namespaces/{namespace}/pods: "):
            await session.get(f"/api/v1/namespaces/{namespace}/pods")


@pytest.mark.parametrize("body", [b"<html>", b"[]", b""])
async def test_documents_that_are_not_objects_are_rejected(cluster: Cluster, tmp_path: Path, body: bytes) -> None:
    async with session_through(cluster, tmp_path, "none") as (session, faults):
        faults.set(Fault(status=200, body=body))
        with pytest.raises(ApiUnavailableError, match="GET /api: the response is not a JSON object"):
            await session.get("/api")


async def test_no_answer_is_followed_elsewhere(cluster: Cluster, tmp_path: Path) -> None:
    async with session_through(cluster, tmp_path, "none") as (session, faults):
        faults.set(Fault(status=302, headers={"Location": f"{faults.url}/elsewhere"}))
        with pytest.raises(ApiRejectedError, match="GET /api: 302"):
            await session.get("/api")
        assert faults.requests == ["GET /api"]


async def test_an_unreachable_peer_may_be_retried(cluster: Cluster, kubeconfig: Path) -> None:
    async with open_session(kubeconfig=kubeconfig, environ={}) as session:
        cluster.kill_api_server()
        try:
            with pytest.raises(
                ApiUnavailableError, match=f"GET /api: cannot connect to 127.0.0.1:{cluster.port}: Conn"
            ):
                await session.get("/api")
        finally:
            cluster.start_api_server()
            await trio.to_thread.run_sync(cluster.wait_ready)
        assert (await session.get("/api"))["kind"] == "APIVersions"


async def test_a_server_of_another_authority_is_not_trusted_until_it_is(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text(await cluster.account_with(namespace, "me", EVERYTHING))
    (tmp_path / "ca.crt").write_bytes(trustme.CA().cert_pem.bytes())
    environ = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(cluster.port)}
    async with open_session(environ=environ, service_account=tmp_path) as session:
        with pytest.raises(ApiUnavailableError, match=r"the certificate of 127\.0\.0\.1:.* does not verify"):
            await session.get("/api")
        # The authority was replaced, and its file followed.
        (tmp_path / "ca.crt").write_bytes(cluster.authority.read_bytes())
        with pytest.raises(ApiUnavailableError, match="does not verify"):
            await session.get("/api")
        assert (await session.get("/api"))["kind"] == "APIVersions"


# --- cancellation


async def test_nothing_is_left_of_a_cancelled_request(cluster: Cluster, tmp_path: Path) -> None:
    async with session_through(cluster, tmp_path, "none") as (session, faults):
        faults.set(SILENCE)
        async with nothing_left():
            with trio.move_on_after(0.1) as scope:
                await session.get("/api")
            assert scope.cancelled_caught
            faults.cut()  # the proxy's side
        faults.clear()
        with pytest.raises(ApiRejectedError, match="401"):
            await session.get("/api")


async def test_nothing_is_left_of_a_cancelled_watch(cluster: Cluster, kubeconfig: Path, namespace: str) -> None:
    async with open_session(kubeconfig=kubeconfig, environ={}) as session, nothing_left():
        with trio.move_on_after(0.2) as scope:
            async with session.watch(f"/api/v1/namespaces/{namespace}/pods") as events:
                async for _ in events:
                    pass
        assert scope.cancelled_caught


async def test_nothing_is_left_of_a_cancelled_session(kubeconfig: Path, namespace: str) -> None:
    async def watching() -> None:
        async with (
            open_session(kubeconfig=kubeconfig, environ={}) as session,
            session.watch(f"/api/v1/namespaces/{namespace}/pods") as events,
        ):
            async for _ in events:
                pass

    async with nothing_left():
        with trio.move_on_after(0.5) as scope:
            await watching()
        assert scope.cancelled_caught

"""Status of a cluster, in words where a right or a thing is missing. Against a real API server: tests/cluster."""

import pytest
import trio

from sentry_trio.errors import SentryError
from sentry_trio.status.cluster import Cluster
from sentry_trio.status.collect import MOST_BYTES, ReplicaPlace
from sentry_trio.status.report import NotShownError, absent
from testkit.kube.pods_api import AWAY, BUNDLE, FORBIDDEN, NOT_FOUND, SECRET_KEY, PodsApi


def cluster(api: PodsApi, *, own_pod: str | None = None) -> Cluster:
    return Cluster(api, "here", own_pod=own_pod, timeout=5)


async def test_pods_and_their_ports() -> None:
    api = PodsApi()
    api.pod("b", "10.0.0.2", ("healthz", 8081), ("metrics", 9091), ("grpc", 50001))
    api.pod("a", "10.0.0.1", ("metrics", 9092))
    api.pod("c", None, phase="Pending")
    api.pod("done", "10.0.0.3", phase="Succeeded")
    api.pod("ending", "10.0.0.4")["metadata"]["deletionTimestamp"] = "2026-11-25T00:00:00Z"
    places = await cluster(api).replicas()
    assert [
        (place.name, place.health_port, place.metrics_port) for place in places if isinstance(place, ReplicaPlace)
    ] == [
        ("a", 8080, 9092),
        ("b", 8081, 9091),
    ]
    assert places[2:] == [absent("c", "no address yet (phase Pending)")]


async def test_pods_beyond_the_limit_are_reported() -> None:
    api = PodsApi()
    api.pod("a", "10.0.0.1")
    api.more = {"continue": "from here", "remainingItemCount": 7}
    assert (await cluster(api).replicas())[1:] == [absent("further pods", "at most 50 pods are read")]


async def test_from_within_a_pod_the_others_are_asked_by_their_addresses() -> None:
    """127.0.0.2 is an address of this machine as well, and nothing listens on either."""
    api = PodsApi()
    api.pod("me", "127.0.0.2")
    api.pod("other", "127.0.0.2")
    asked = []
    for place in await cluster(api, own_pod="me").replicas():
        assert isinstance(place, ReplicaPlace)
        with pytest.raises(NotShownError, match=r"cannot reach 127\.0\.0\.[12]:1: ") as caught:
            await place.get(1, "/livez?verbose")
        asked.append(str(caught.value).split(":")[0].removeprefix("cannot reach "))
    assert asked == ["127.0.0.1", "127.0.0.2"]


async def test_from_outside_pods_are_asked_through_the_api_server() -> None:
    api = PodsApi()
    api.pod("a", "10.0.0.1")
    api.answers = {"8080/proxy/livez": b"answer"}
    (place,) = await cluster(api).replicas()
    assert isinstance(place, ReplicaPlace)
    assert await place.get(8080, "/livez?verbose") == b"answer"
    assert api.asked[-1] == "/api/v1/namespaces/here/pods/a:8080/proxy/livez"


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (FORBIDDEN, "missing permission to get pods/proxy in here, which reading a pod from outside the cluster needs"),
        (NOT_FOUND, "port 8080 of pod a: GET x: 404 NotFound"),
        (AWAY, "port 8080 of pod a: GET x: cannot connect"),
        (b"x" * (MOST_BYTES + 1), f"port 8080 of pod a answered more than {MOST_BYTES} bytes"),
    ],
)
async def test_pods_that_cannot_be_asked(answer: bytes | SentryError, says: str) -> None:
    api = PodsApi()
    api.pod("a", "10.0.0.1")
    api.answers = {"8080/proxy/livez": answer}
    (place,) = await cluster(api).replicas()
    assert isinstance(place, ReplicaPlace)
    with pytest.raises(NotShownError) as caught:
        await place.get(8080, "/livez?verbose")
    assert str(caught.value) == says


async def test_a_pod_that_is_silent_behind_the_api_server(autojump_clock: trio.abc.Clock) -> None:
    api = PodsApi()
    api.pod("a", "10.0.0.1")
    (place,) = await cluster(api).replicas()
    assert isinstance(place, ReplicaPlace)
    api.silent = True
    with pytest.raises(NotShownError, match="port 8080 of pod a did not answer within 5 s"):
        await place.get(8080, "/livez?verbose")


@pytest.mark.parametrize(
    ("refused", "says"),
    [
        (FORBIDDEN, "missing permission to list pods in here"),
        (AWAY, "GET x: cannot connect"),
        (None, "there are no pods app=dapr-sentry in here"),
    ],
)
async def test_pods_that_are_not_listed(refused: SentryError | None, says: str) -> None:
    api = PodsApi()
    api.refuse = refused
    with pytest.raises(NotShownError) as caught:
        await cluster(api).replicas()
    assert str(caught.value) == says
    assert caught.value.not_shown.asked == (refused is not FORBIDDEN)


async def test_a_list_that_is_none() -> None:
    api = PodsApi()
    api.pods = [{"metadata": {}}]
    with pytest.raises(NotShownError, match="cannot parse the API server's list of pods"):
        await cluster(api).replicas()


async def test_the_secret_without_its_key() -> None:
    parts = await cluster(PodsApi()).stored()
    assert (parts.anchors, parts.chain) == (BUNDLE.anchors_pem, BUNDLE.chain_pem)
    assert SECRET_KEY not in repr(parts)


@pytest.mark.parametrize(
    ("refused", "says"),
    [
        (FORBIDDEN, "missing permission to get secrets dapr-trust-bundle in here"),
        (NOT_FOUND, "there is no dapr-trust-bundle among the secrets of here"),
        (AWAY, "GET x: cannot connect"),
    ],
)
async def test_a_secret_that_is_not_shown(refused: SentryError, says: str) -> None:
    api = PodsApi()
    api.refuse = refused
    with pytest.raises(NotShownError) as caught:
        await cluster(api).stored()
    assert str(caught.value) == says


async def test_an_empty_secret() -> None:
    api = PodsApi()
    api.secret = {"metadata": {}}
    with pytest.raises(NotShownError, match=r"Secret here/dapr-trust-bundle has no ca\.crt and no issuer\.crt"):
        await cluster(api).stored()


async def test_published_anchors() -> None:
    api = PodsApi()
    assert await cluster(api).published() == BUNDLE.anchors_pem.decode()
    api.config_map = {}
    assert await cluster(api).published() is None

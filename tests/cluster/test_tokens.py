"""Token checks against a real API server: reviewed there and verified here, with the same outcome."""

import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from sentry_trio.conditions import Conditions
from sentry_trio.errors import ApiUnavailableError, NotPermittedError
from sentry_trio.kube.token_review import TokenReviewer
from sentry_trio.kube.tokens import Caller
from sentry_trio.kube.verifier import LocalVerifier
from testkit.authorities import NETWORK, wall_clock
from testkit.cluster import manifests
from testkit.cluster.checking import AUDIENCES, Checkers, Shop, checkers_over, resigned, session_of
from testkit.cluster.cluster import ISSUER, Cluster
from testkit.kube.fake_review import KeysReadFirst

MODES = pytest.mark.parametrize("mode", ["review", "local"])


@pytest.fixture
async def shop(cluster: Cluster, namespace: str) -> Shop:
    """A namespace with the pod cart-0 of the service account cart in it."""
    await cluster.create_service_account(namespace, "cart")
    pod = await cluster.create_pod(namespace, manifests.pod("cart-0", service_account="cart"))
    return Shop(cluster, namespace, pod)


@pytest.fixture
async def checkers(cluster: Cluster, namespace: str, tmp_path: Path) -> AsyncIterator[Checkers]:
    async with session_of(cluster, namespace, tmp_path) as session:
        yield checkers_over(session)


@MODES
@pytest.mark.parametrize("audiences", [AUDIENCES[:1], AUDIENCES[1:], AUDIENCES, (ISSUER, AUDIENCES[1])], ids=str)
async def test_a_pod_s_token(checkers: Checkers, shop: Shop, mode: str, audiences: tuple[str, ...]) -> None:
    caller = await checkers.of(mode).check(await shop.token(audiences=audiences), NETWORK)
    assert caller == Caller(shop.namespace, "cart", "cart-0", shop.pod["metadata"]["uid"], caller.expires_at)
    assert caller.expires_at is not None
    assert 590 < (caller.expires_at - wall_clock()).total_seconds() <= 601


@MODES
async def test_a_token_for_another_audience(checkers: Checkers, shop: Shop, mode: str) -> None:
    # What is mounted into every pod, and must not be enough.
    with pytest.raises(NotPermittedError, match=r"^invalid token: .*audience"):
        await checkers.of(mode).check(await shop.token(audiences=(ISSUER,)), NETWORK)


@MODES
async def test_an_expired_token(cluster: Cluster, checkers: Checkers, shop: Shop, mode: str) -> None:
    expired = resigned(cluster, await shop.token(), exp=int(wall_clock().timestamp()) - 90)
    with pytest.raises(NotPermittedError, match=r"^invalid token: .*expired"):
        await checkers.of(mode).check(expired, NETWORK)


@MODES
async def test_within_the_leeway_both_take_a_token(cluster: Cluster, checkers: Checkers, shop: Shop, mode: str) -> None:
    just = resigned(cluster, await shop.token(), exp=int(wall_clock().timestamp()) - 20)
    assert (await checkers.of(mode).check(just, NETWORK)).pod_name == "cart-0"


@MODES
async def test_a_forged_token(cluster: Cluster, checkers: Checkers, shop: Shop, mode: str) -> None:
    forged = resigned(cluster, await shop.token(), key=rsa.generate_private_key(65537, 2048))
    with pytest.raises(NotPermittedError, match=r"^invalid token: "):
        await checkers.of(mode).check(forged, NETWORK)


@MODES
async def test_a_token_of_no_pod(checkers: Checkers, shop: Shop, mode: str) -> None:
    with pytest.raises(NotPermittedError) as caught:
        await checkers.of(mode).check(await shop.token(pod=None), NETWORK)
    assert str(caught.value) == "kubernetes.io/pod/name claim is missing from Kubernetes token"


@pytest.mark.parametrize("token", ["opaque", "the-administrator-of-these-tests", "a.b.c"])
async def test_tokens_of_other_subjects(checkers: Checkers, token: str) -> None:
    with pytest.raises(NotPermittedError, match=r"^(invalid token: |authentication failed)"):
        await checkers.reviewer.check(token, NETWORK)


async def test_blank_tokens_are_rejected(checkers: Checkers) -> None:
    # The API server authenticates them as system:anonymous.
    with pytest.raises(NotPermittedError, match=r"^provided token is not a properly structured"):
        await checkers.reviewer.check("\n", NETWORK)


async def test_a_deleted_pod_s_token_is_no_good_to_the_api_server(checkers: Checkers, shop: Shop) -> None:
    token = await shop.token()
    await shop.cluster.delete_pod(shop.namespace, "cart-0")
    with pytest.raises(NotPermittedError, match=r"^invalid token: "):
        await checkers.reviewer.check(token, NETWORK)
    # Which is why the validator holds the pod's UID against the pods that there are.
    assert (await checkers.verifier.check(token, NETWORK)).pod_uid == shop.pod["metadata"]["uid"]


async def test_without_permission_to_review_tokens(
    cluster: Cluster, namespace: str, shop: Shop, tmp_path: Path
) -> None:
    conditions = Conditions()
    async with session_of(cluster, namespace, tmp_path, rights=()) as session:
        reviewer = TokenReviewer(
            session.create, AUDIENCES, now=wall_clock, condition=conditions.condition("token-reviews")
        )
        with pytest.raises(ApiUnavailableError, match=r"^token review failed: "):
            await reviewer.check(await shop.token(), NETWORK)
        assert "403 Forbidden" in conditions.active["token-reviews"]
        # Every service account may read the keys.
        verifier = LocalVerifier(KeysReadFirst(session.get), reviewer, AUDIENCES, now=wall_clock)
        assert (await verifier.check(await shop.token(), NETWORK)).pod_name == "cart-0"


async def test_an_api_server_that_is_not_there(cluster: Cluster, namespace: str, shop: Shop, tmp_path: Path) -> None:
    token = await shop.token()
    async with AsyncExitStack() as stack:
        closed = stack.enter_context(socket.socket())  # bound, and never listened on
        closed.bind(("127.0.0.1", 0))
        url = f"https://127.0.0.1:{closed.getsockname()[1]}"
        nowhere = await stack.enter_async_context(session_of(cluster, namespace, tmp_path, url=url))
        away = checkers_over(nowhere)
        with pytest.raises(ApiUnavailableError, match=r"^token review failed: ") as caught:
            await away.reviewer.check(token, NETWORK)
        assert token not in str(caught.value)
        with pytest.raises(AssertionError, match="without a review"):
            await away.verifier.check(token, NETWORK)

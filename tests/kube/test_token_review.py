"""Token reviews: every answer that an API server may give, and how seldom it is asked."""

from collections import Counter
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from sentry_trio.conditions import Conditions
from sentry_trio.errors import ApiRejectedError, ApiUnavailableError, ApiUnreachableError, NotPermittedError
from sentry_trio.grpc.admission import Network
from sentry_trio.kube.token_review import TokenReviewer
from sentry_trio.kube.tokens import Caller
from testkit.authorities import NETWORK
from testkit.kube.fake_review import AUDIENCES, UID, FakeApi, Signer, Status, good, wall
from testkit.log_capture import capture_logs

SIGNER = Signer()
TOKEN = SIGNER.token()
UNSTRUCTURED = "provided token is not a properly structured service account token"
NO_POD = "kubernetes.io/pod/name claim is missing from Kubernetes token"
ANOTHER_POD = "invalid token: it is bound to a different pod"
WRONG_AUDIENCE = f"invalid token: none of its audiences is {AUDIENCES[0]} or {AUDIENCES[1]}"

NO_AUDIENCES = (
    "invalid token: the TokenReview answer names no audiences, so the token cannot be checked for "
    f"{AUDIENCES[0]} or {AUDIENCES[1]}"
)


def reviewer(api: FakeApi, **settings: Any) -> TokenReviewer:
    return TokenReviewer(api.create, AUDIENCES, now=wall, **settings)


async def refusal(checker: TokenReviewer, token: str = TOKEN) -> str:
    with pytest.raises(NotPermittedError) as caught:
        await checker.check(token, NETWORK)
    return str(caught.value)


async def refused_or_unavailable(checker: TokenReviewer, token: str, network: Network) -> None:
    with pytest.raises((NotPermittedError, ApiUnavailableError)):
        await checker.check(token, network)


def user(username: str, **extra: list[str]) -> Status:
    return {"username": username, "extra": {f"authentication.kubernetes.io/pod-{key}": it for key, it in extra.items()}}


async def test_a_good_token(autojump_clock: MockClock) -> None:
    api = FakeApi()
    caller = await reviewer(api).check(TOKEN, NETWORK)
    assert caller == Caller("shop", "cart", "cart-0", UID, caller.expires_at)
    assert caller.expires_at is not None
    assert (caller.expires_at - wall()).total_seconds() == pytest.approx(600)
    assert api.reviewed == [
        {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": TOKEN, "audiences": list(AUDIENCES)},
        }
    ]


SHOP = "system:serviceaccount:shop:cart"
NO_CLAIM: dict[str, Any] = {"kubernetes.io": {"namespace": "shop"}}
EMPTY_CLAIM: dict[str, Any] = {"kubernetes.io": {"pod": {"name": ""}}}


@pytest.mark.parametrize(
    ("status", "token", "text"),
    [
        # each row fails at its own step and at all later ones, so that the order shows
        ({"error": "expired", "authenticated": True, "audiences": ["x"]}, "opaque", "invalid token: expired"),
        ({"authenticated": False, "user": user("alice")}, "opaque", "authentication failed"),
        ({"user": user(SHOP)}, TOKEN, "authentication failed"),
        ({"authenticated": "true", "user": user(SHOP)}, TOKEN, "authentication failed"),
        ({}, TOKEN, "authentication failed"),
        (good(audiences=["someone"], user=user("alice")), "opaque", WRONG_AUDIENCE),
        # an authenticator that knows nothing of audiences: the token may be for the API server, or for anybody
        (good(audiences=None, user=user("alice")), "opaque", NO_AUDIENCES),
        (good(audiences=[]), TOKEN, NO_AUDIENCES),
        (good(audiences=AUDIENCES[0]), TOKEN, NO_AUDIENCES),
        (good(audiences=[None, 5]), TOKEN, NO_AUDIENCES),
        ({"authenticated": True, "user": user(SHOP)}, TOKEN, NO_AUDIENCES),
        (good(user=user("alice")), "opaque", UNSTRUCTURED),
        (good(user=None), TOKEN, UNSTRUCTURED),
        (good(user=user("system:node:shop:cart")), TOKEN, UNSTRUCTURED),
        (
            good(),
            "opaque",
            "failed to parse Kubernetes token: neither a compact JWT nor a JSON object of claims",
        ),
        (good(), "[1]", "failed to parse Kubernetes token: neither a compact JWT nor a JSON object of claims"),
        (good(), SIGNER.token(**NO_CLAIM), NO_POD),
        (good(), SIGNER.token(**EMPTY_CLAIM), NO_POD),
        (good(user=user(SHOP, name=["cart-1"])), TOKEN, ANOTHER_POD),
        (good(user=user(SHOP, name=["cart-0"], uid=["another"])), TOKEN, ANOTHER_POD),
        (good(user=user("system:serviceaccount:bank:cart")), TOKEN, UNSTRUCTURED),
    ],
    ids=lambda value: str(value)[:30],
)
async def test_refusals_in_their_order(status: Status, token: str, text: str) -> None:
    assert await refusal(reviewer(FakeApi(status=status)), token) == text


@pytest.mark.parametrize(
    "status",
    [
        good(audiences=["someone", AUDIENCES[0]]),
        good(user=user(SHOP)),
        good(user={"username": SHOP}),
        good(user={"username": SHOP, "extra": None}),
    ],
    ids=lambda status: str(status)[:60],
)
async def test_optional_fields_of_a_review_may_be_missing(status: Status) -> None:
    assert (await reviewer(FakeApi(status=status)).check(TOKEN, NETWORK)).pod_name == "cart-0"


async def test_bare_claims_may_be_a_token() -> None:
    # As Dapr's own tests have them; an API server would have to know them, of course.
    token = '{"kubernetes.io":{"pod":{"name":"cart-0"}}}'
    status = good(user=user(SHOP))
    assert await reviewer(FakeApi(status=status)).check(token, NETWORK) == Caller("shop", "cart", "cart-0", None, None)


@pytest.mark.parametrize("token", ["", "a" * 20_000])
async def test_tokens_that_cannot_be_one_are_not_sent(token: str) -> None:
    api = FakeApi()
    assert (await refusal(reviewer(api), token)).startswith("invalid token: ")
    assert api.reviewed == []


def refused(status: int) -> ApiRejectedError:
    return ApiRejectedError("no", status=status, reason="No")


@pytest.mark.parametrize(
    ("failure", "raised"),
    [
        (ApiUnavailableError("no"), ApiUnavailableError),
        # this authority's fault, or its operator's
        (refused(401), ApiUnavailableError),
        (refused(403), ApiUnavailableError),
        (refused(404), ApiUnavailableError),
        # the token's
        (refused(400), NotPermittedError),
        (refused(413), NotPermittedError),
        (refused(422), NotPermittedError),
    ],
    ids=lambda value: f"{type(value).__name__}{getattr(value, 'status', '')}",
)
async def test_failures(failure: Exception, raised: type[Exception]) -> None:
    api = FakeApi(failure=failure)
    checker = reviewer(api)
    for _ in range(2):
        with pytest.raises(raised) as caught:
            await checker.check(TOKEN, NETWORK)
        assert str(caught.value) == "token review failed: no"
    # What may pass is asked again at once.
    assert len(api.reviewed) == (2 if raised is ApiUnavailableError else 1)
    api.failure = None
    if raised is ApiUnavailableError:
        await checker.check(TOKEN, NETWORK)


async def test_an_outage_is_logged_once() -> None:
    api = FakeApi(failure=ApiUnavailableError("away"))
    checker = reviewer(api)
    with capture_logs() as logs:
        for number in range(3):
            with pytest.raises(ApiUnavailableError):
                await checker.check(SIGNER.token(jti=str(number)), NETWORK)
        api.failure = None
        for number in range(3):
            await checker.check(SIGNER.token(jti=str(number)), NETWORK)
    assert [(line["log_level"], line["event"]) for line in logs] == [
        ("warning", "token review failed: away"),
        ("info", "token reviews succeed again"),
    ]


async def test_a_server_that_does_not_answer_is_reported_by_the_session() -> None:
    api = FakeApi(failure=ApiUnreachableError("no answer"))
    condition = Conditions().condition("token-reviews")
    with capture_logs() as logs, pytest.raises(ApiUnavailableError, match="token review failed: no answer"):
        await reviewer(api, condition=condition).check(TOKEN, NETWORK)
    assert (logs, condition.message) == ([], None)


async def test_failing_reviews_are_noticed_before_a_pod_asks(autojump_clock: MockClock) -> None:
    api = FakeApi(status={"error": "invalid"})
    conditions = Conditions()
    checker = reviewer(api, condition=conditions.condition("token-reviews"))
    with capture_logs() as logs:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(checker.keep)
            await trio.sleep(299)
            assert (dict(conditions.active), api.reviewed) == ({}, [])
            api.failure = refused(403)
            await trio.sleep(2)
            assert dict(conditions.active) == {"token-reviews": "token review failed: no"}
            api.failure = None
            await trio.sleep(30)
            assert dict(conditions.active) == {}
            nursery.cancel_scope.cancel()
    assert [line["event"] for line in logs] == ["token review failed: no", "token reviews succeed again"]
    assert [body["spec"]["token"] for body in api.reviewed] == ["probe"] * 2


async def test_no_probe_while_pods_ask(autojump_clock: MockClock) -> None:
    api = FakeApi()
    checker = reviewer(api)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(checker.keep)
        for number in range(20):
            await trio.sleep(100)
            await checker.check(SIGNER.token(jti=str(number), exp=10_000_000_000), NETWORK)
        nursery.cancel_scope.cancel()
    assert len(api.reviewed) == 20


async def test_good_answers_are_kept_30_s(autojump_clock: MockClock) -> None:
    api = FakeApi()
    checker = reviewer(api)
    first = await checker.check(TOKEN, NETWORK)
    await trio.sleep(29.9)
    assert await checker.check(TOKEN, NETWORK) is first
    assert len(api.reviewed) == 1
    api.status = {"error": "the pod is gone"}
    await trio.sleep(0.1)
    assert await refusal(checker) == "invalid token: the pod is gone"
    assert len(api.reviewed) == 2


async def test_good_answers_are_not_kept_past_the_token_s_end(autojump_clock: MockClock) -> None:
    api = FakeApi()
    checker = reviewer(api)
    await trio.sleep(590)
    await checker.check(TOKEN, NETWORK)
    await trio.sleep(9.9)
    await checker.check(TOKEN, NETWORK)
    assert len(api.reviewed) == 1
    await trio.sleep(0.1)
    api.status = {"error": "expired"}
    assert await refusal(checker) == "invalid token: expired"


async def test_bad_answers_are_kept_5_s(autojump_clock: MockClock) -> None:
    api = FakeApi(status={"error": "not yet"})
    checker = reviewer(api)
    assert await refusal(checker) == "invalid token: not yet"
    api.status = good()
    await trio.sleep(4.9)
    assert await refusal(checker) == "invalid token: not yet"
    assert len(api.reviewed) == 1
    await trio.sleep(0.1)
    await checker.check(TOKEN, NETWORK)
    assert len(api.reviewed) == 2


async def test_bad_answers_push_no_good_one_out(autojump_clock: MockClock) -> None:
    api = FakeApi()
    checker = reviewer(api, kept=3)
    await checker.check(TOKEN, NETWORK)
    api.status = {}
    for number in range(10):
        await refusal(checker, f"opaque-{number}")
    await checker.check(TOKEN, NETWORK)
    assert len(api.reviewed) == 11


async def test_cached_results_are_bounded_and_contain_no_token(autojump_clock: MockClock) -> None:
    api = FakeApi()
    checker = reviewer(api, kept=3)
    tokens = [SIGNER.token(jti=str(number)) for number in range(5)]
    for token in tokens:
        await checker.check(token, NETWORK)
    await checker.check(tokens[-3], NETWORK)
    assert len(api.reviewed) == 5
    await checker.check(tokens[0], NETWORK)
    assert len(api.reviewed) == 6
    kept = repr(vars(checker._accepted)) + repr(vars(checker._refused))
    assert not any(token in kept or token.rpartition(".")[2] in kept for token in tokens)


async def test_the_same_token_is_reviewed_once_at_a_time(autojump_clock: MockClock) -> None:
    api = FakeApi(delay=1)
    checker = reviewer(api)
    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(checker.check, TOKEN, NETWORK)
    assert len(api.reviewed) == 1
    assert trio.current_time() == pytest.approx(1)


async def test_one_caller_s_impatience_is_not_the_others(autojump_clock: MockClock) -> None:
    api = FakeApi(delay=1)
    checker = reviewer(api)
    found: list[Caller] = []

    async def impatient() -> None:
        with trio.move_on_after(0.5):
            await checker.check(TOKEN, NETWORK)

    async def patient() -> None:
        found.append(await checker.check(TOKEN, NETWORK))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(impatient)
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(5):
            nursery.start_soon(patient)
    assert len(found) == 5
    assert len(api.reviewed) == 2
    assert trio.current_time() == pytest.approx(1.5)


async def test_an_outage_is_raised_to_all_waiting_callers(autojump_clock: MockClock) -> None:
    api = FakeApi(delay=1, failure=ApiUnavailableError("away"))
    checker = reviewer(api)
    reported: list[str] = []

    async def one() -> None:
        with pytest.raises(ApiUnavailableError) as caught:
            await checker.check(TOKEN, NETWORK)
        reported.append(str(caught.value))

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(one)
    assert reported == ["token review failed: away"] * 5
    assert len(api.reviewed) == 1


async def test_reviews_are_bounded_in_number_and_not_in_rate(autojump_clock: MockClock) -> None:
    api = FakeApi(delay=1)
    checker = reviewer(api)
    async with trio.open_nursery() as nursery:
        for number in range(320):
            nursery.start_soon(checker.check, SIGNER.token(jti=str(number)), f"192.0.2.{number % 10}")
    assert api.most_at_once == 64
    assert trio.current_time() == pytest.approx(5)


@pytest.mark.parametrize(
    ("attackers", "calls", "seconds"),
    # One attacker delays nobody; each two more, with half of the places each, by one review.
    [(1, 444, 1), (2, 247, 2), (4, 124, 3)],
)
async def test_a_peer_with_many_bogus_tokens_does_not_delay_another(
    autojump_clock: MockClock, attackers: int, calls: int, seconds: int
) -> None:
    api = FakeApi(delay=1)
    checker = reviewer(api)
    async with trio.open_nursery() as nursery:
        for peer in range(attackers):
            for number in range(calls):
                nursery.start_soon(refused_or_unavailable, checker, f"bogus-{peer}-{number}", f"192.0.2.{peer}")
        await trio.testing.wait_all_tasks_blocked()
        assert api.most_at_once == min(64, 32 * attackers)
        await checker.check(TOKEN, "198.51.100.1")
        assert trio.current_time() == pytest.approx(seconds)


async def test_calls_wait_5_s_for_a_place_while_the_server_hangs(autojump_clock: MockClock) -> None:
    api = FakeApi(delay=10, failure=ApiUnreachableError("no answer within 10 s"))
    condition = Conditions().condition("token-reviews")
    checker = reviewer(api, condition=condition)
    ended: Counter[float] = Counter()

    async def one(number: int) -> None:
        await refused_or_unavailable(checker, f"bogus-{number}", NETWORK)
        ended[round(trio.current_time())] += 1

    with capture_logs() as logs:
        async with trio.open_nursery() as nursery:
            for number in range(444):
                nursery.start_soon(one, number)
    assert ended == {5: 412, 10: 32}
    assert (logs, condition.message, len(api.reviewed)) == ([], None, 32)


async def test_places_are_released_and_peers_forgotten(autojump_clock: MockClock) -> None:
    api = FakeApi(delay=1)
    checker = reviewer(api)
    for _ in range(3):
        async with trio.open_nursery() as nursery:
            for number in range(100):
                nursery.start_soon(refused_or_unavailable, checker, f"bogus-{number}", f"192.0.2.{number % 2}")
            await trio.sleep(0.5)
            assert len(checker._places_by_peer) == 2
            nursery.cancel_scope.cancel()
        assert checker._places.borrowed_tokens == 0
        assert dict(checker._places_by_peer) == {}


async def test_a_peer_does_not_wait_for_another_with_the_same_token(autojump_clock: MockClock) -> None:
    api = FakeApi(delay=1)
    checker = reviewer(api)
    async with trio.open_nursery() as nursery:
        for number in range(444):
            nursery.start_soon(refused_or_unavailable, checker, f"bogus-{number}", NETWORK)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(checker.check, TOKEN, NETWORK)
        await trio.testing.wait_all_tasks_blocked()
        await checker.check(TOKEN, "198.51.100.1")
        assert trio.current_time() == pytest.approx(1)
        nursery.cancel_scope.cancel()


statuses = st.dictionaries(
    st.sampled_from(["error", "authenticated", "audiences", "user"]),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["username", "extra"]) | st.text(), inner),
        max_leaves=6,
    ),
)


@given(status=st.just(good()) | statuses, token=st.text() | st.just(TOKEN))
def test_any_token_and_any_answer(status: Status, token: str) -> None:
    async def main() -> None:
        try:
            await reviewer(FakeApi(status=status)).check(token, NETWORK)
        except NotPermittedError:
            return
        assert token == TOKEN

    trio.run(main)


def test_answers_without_a_status_are_refused() -> None:
    class Mute(FakeApi):
        async def create(self, path: str, body: Any) -> dict[str, Any]:
            return {"status": 5}

    async def main() -> None:
        assert await refusal(reviewer(Mute())) == "authentication failed"

    trio.run(main)

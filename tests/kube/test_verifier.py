"""Tokens verified by the cluster's keys: what is decided here, what goes to the reviewer, and what is refused."""

import hmac
import json
from base64 import urlsafe_b64encode
from contextlib import suppress
from hashlib import sha256
from typing import Any

import pytest
import trio
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from sentry_trio.errors import ApiUnavailableError, NotPermittedError
from sentry_trio.grpc.admission import Network
from sentry_trio.kube.keys import ClusterKeys
from sentry_trio.kube.tokens import Caller
from sentry_trio.kube.verifier import LocalVerifier
from sentry_trio.tokens.compact import LONGEST
from testkit.authorities import NETWORK
from testkit.kube.fake_review import (
    AUDIENCES,
    BORN,
    ISSUER,
    P256_KEY,
    RSA_KEY,
    UID,
    FakeApi,
    KeysReadFirst,
    Signer,
    claims,
    wall,
)

SIGNER = Signer()
TOKEN = SIGNER.token()
REVIEWED = Caller("reviewed", "reviewed", "reviewed", None, None)
AT = int(BORN.timestamp())
UNSTRUCTURED = "provided token is not a properly structured service account token"
NO_POD = "kubernetes.io/pod/name claim is missing from Kubernetes token"
WRONG_AUDIENCE = f"invalid token: none of its audiences is {AUDIENCES[0]} or {AUDIENCES[1]}"
FORGED = "invalid token: its signature is not the cluster's"
ALGORITHM = "invalid token: its signature algorithm is not accepted"


class Reviewer:
    """Returns the same verdict for all tokens, and counts them."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.network: Network | None = None
        self.failure: Exception | None = None

    async def check(self, token: str, network: Network) -> Caller:
        self.asked.append(token)
        self.network = network
        if self.failure is not None:
            raise self.failure
        return REVIEWED


def verifier(*jwks: dict[str, Any], reviewer: Reviewer | None = None, api: FakeApi | None = None) -> LocalVerifier:
    api = api or FakeApi(jwks=list(jwks) or [SIGNER.jwk()])
    return LocalVerifier(KeysReadFirst(api.get), reviewer or Reviewer(), AUDIENCES, now=wall)


async def refusal(checker: LocalVerifier, token: str) -> str:
    with pytest.raises(NotPermittedError) as caught:
        await checker.check(token, NETWORK)
    return str(caught.value)


@pytest.mark.parametrize(
    "signer",
    [
        SIGNER,
        Signer(RSA_KEY, "RS256"),
        Signer(RSA_KEY, "RS384"),
        Signer(RSA_KEY, "RS512"),
        Signer(ec.generate_private_key(ec.SECP384R1()), "ES384"),
        Signer(ec.generate_private_key(ec.SECP521R1()), "ES512"),
    ],
    ids=lambda signer: signer.algorithm,
)
async def test_a_good_token_is_not_reviewed(autojump_clock: MockClock, signer: Signer) -> None:
    reviewer = Reviewer()
    caller = await verifier(signer.jwk(), reviewer=reviewer).check(signer.token(), NETWORK)
    assert caller == Caller("shop", "cart", "cart-0", UID, caller.expires_at)
    assert caller.expires_at is not None
    assert caller.expires_at.timestamp() == AT + 600
    assert reviewer.asked == []


@pytest.mark.parametrize("audience", [AUDIENCES[0], [AUDIENCES[0]], ["someone", AUDIENCES[1]], list(AUDIENCES)])
async def test_any_of_the_audiences_will_do(autojump_clock: MockClock, audience: object) -> None:
    assert (await verifier().check(SIGNER.token(aud=audience), NETWORK)).pod_name == "cart-0"


def bound(**changes: Any) -> dict[str, Any]:
    return {"kubernetes.io": {**claims()["kubernetes.io"], **changes}}


UNDECIDED = {
    "opaque": "opaque",
    "two parts": "a.b",
    "bare claims": json.dumps(claims()),
    "unknown key": Signer(kid="another").token(),
    "another issuer": SIGNER.token(iss="https://another"),
    "no issuer": SIGNER.token(iss=None),
    "unexpected algorithm": Signer(RSA_KEY, "PS256").token(),
    "unexpected algorithm, known key type": Signer(ed25519.Ed25519PrivateKey.generate(), "EdDSA").token(),
    "unusual header": SIGNER.token(headers={"x": 1}),
    "critical header": SIGNER.token(headers={"crit": ["exp"]}),
    "signature not base64url": TOKEN[:-1] + "!",
    "trailing newline": TOKEN + "\n",
    "does not say until when": SIGNER.token(exp=None),
    "last for ever": SIGNER.token(exp=10**18),
    "not valid yet": SIGNER.token(nbf=AT + 61),
    "pod without UID": SIGNER.token(**bound(pod={"name": "cart-0"})),
}


@pytest.mark.parametrize("token", UNDECIDED.values(), ids=UNDECIDED.keys())
async def test_tokens_that_cannot_be_decided_here_are_reviewed(autojump_clock: MockClock, token: str) -> None:
    reviewer = Reviewer()
    checker = verifier(reviewer=reviewer)
    assert await checker.check(token, NETWORK) is REVIEWED
    assert (reviewer.asked, reviewer.network) == ([token], NETWORK)
    reviewer.failure = NotPermittedError("no")
    assert await refusal(checker, token) == "no"
    reviewer.failure = ApiUnavailableError("away")
    with pytest.raises(ApiUnavailableError):
        await checker.check(token, NETWORK)


def unsigned(algorithm: str) -> str:
    header, payload = (
        urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()
        for part in ({"alg": algorithm, "kid": "first"}, claims())
    )
    return f"{header}.{payload}."


def signed_by_the_public_key(public: bytes) -> str:
    """The old trick: the public key, which all know, as the secret of an HMAC."""
    signed = unsigned("HS256").rstrip(".")
    return f"{signed}.{urlsafe_b64encode(hmac.digest(public, signed.encode(), sha256)).rstrip(b'=').decode()}"


PEM = P256_KEY.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
OTHERS = Signer(ec.generate_private_key(ec.SECP256R1()))
HEADER, PAYLOAD, SIGNATURE = TOKEN.split(".")
REFUSED = {
    "empty": ("", "invalid token: the request does not contain a token"),
    "too long": ("a" * (LONGEST + 1), f"invalid token: longer than {LONGEST} bytes"),
    "none": (unsigned("none"), ALGORITHM),
    "None": (unsigned("None"), ALGORITHM),
    "HS256": (signed_by_the_public_key(PEM), ALGORITHM),
    "hs512": (unsigned("hs512"), ALGORITHM),
    "forged": (OTHERS.token(), FORGED),
    "no signature": (f"{HEADER}.{PAYLOAD}.", FORGED),
    "another's payload": (f"{HEADER}.{OTHERS.token(sub='x').split('.')[1]}.{SIGNATURE}", FORGED),
    "another algorithm than the key's": (Signer(RSA_KEY, "RS256").token(), FORGED),
    "no claims": (
        f"{HEADER}.AAAA.{SIGNATURE}",
        "failed to parse Kubernetes token: neither a compact JWT nor a JSON object of claims",
    ),
    "expired": (SIGNER.token(exp=AT - 61), "invalid token: it has expired"),
    "wrong audience": (SIGNER.token(aud=[ISSUER]), WRONG_AUDIENCE),
    "no audience": (SIGNER.token(aud=None), WRONG_AUDIENCE),
    "a node's": (SIGNER.token(sub="system:node:node-1"), UNSTRUCTURED),
    "another account": (SIGNER.token(sub="system:serviceaccount:shop:admin"), UNSTRUCTURED),
    "another namespace": (SIGNER.token(sub="system:serviceaccount:bank:cart"), UNSTRUCTURED),
    "no account": (SIGNER.token(**bound(serviceaccount=None)), UNSTRUCTURED),
    "no pod": (SIGNER.token(**bound(pod=None)), NO_POD),
    "no claim of Kubernetes": (SIGNER.token(**{"kubernetes.io": None}), UNSTRUCTURED),
    "a pod that cannot be": (SIGNER.token(**bound(pod={"name": "../x", "uid": UID})), UNSTRUCTURED),
}


@pytest.mark.parametrize(("token", "text"), REFUSED.values(), ids=REFUSED.keys())
async def test_refusals(autojump_clock: MockClock, token: str, text: str) -> None:
    reviewer = Reviewer()
    assert await refusal(verifier(reviewer=reviewer), token) == text
    assert reviewer.asked == []


async def test_a_key_s_algorithm_and_the_header_s_must_agree(autojump_clock: MockClock) -> None:
    # The signature itself would be good.
    token = Signer(RSA_KEY, "RS512").token()
    assert await refusal(verifier(Signer(RSA_KEY, "RS256").jwk()), token) == FORGED
    assert (await verifier(Signer(RSA_KEY, "RS512").jwk()).check(token, NETWORK)).pod_uid == UID


@pytest.mark.parametrize("offset", [-59, 0, 59])
async def test_clocks_may_be_a_minute_apart(autojump_clock: MockClock, offset: int) -> None:
    reviewer = Reviewer()
    checker = verifier(reviewer=reviewer)
    await checker.check(SIGNER.token(exp=AT + offset), NETWORK)
    await checker.check(SIGNER.token(nbf=AT + offset), NETWORK)
    assert reviewer.asked == []


async def test_a_token_ends_in_time(autojump_clock: MockClock) -> None:
    checker = verifier()
    await trio.sleep(659)
    await checker.check(TOKEN, NETWORK)
    await trio.sleep(2)
    assert await refusal(checker, TOKEN) == "invalid token: it has expired"


async def test_without_keys_all_are_reviewed(autojump_clock: MockClock) -> None:
    reviewer = Reviewer()
    api = FakeApi(failure=ApiUnavailableError("away"))
    checker = verifier(reviewer=reviewer, api=api)
    assert await checker.check(TOKEN, NETWORK) is REVIEWED
    assert await checker.check(TOKEN, NETWORK) is REVIEWED
    api.failure = None
    await trio.sleep(10)
    assert (await checker.check(TOKEN, NETWORK)).pod_name == "cart-0"
    assert len(reviewer.asked) == 2


async def test_a_new_key_is_found_without_a_review(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    reviewer = Reviewer()
    api = FakeApi(jwks=[SIGNER.jwk()])
    keys = ClusterKeys(api.get)
    nursery.start_soon(keys.keep)
    await keys.wait_tried()
    checker = LocalVerifier(keys, reviewer, AUDIENCES, now=wall)
    await checker.check(TOKEN, NETWORK)
    await trio.sleep(10)
    rotated = Signer(RSA_KEY, "RS256", kid="second")
    api.jwks.append(rotated.jwk())
    assert (await checker.check(rotated.token(), NETWORK)).pod_name == "cart-0"
    assert reviewer.asked == []


async def test_an_api_server_that_is_away_hinders_no_good_token(autojump_clock: MockClock) -> None:
    reviewer, api = Reviewer(), FakeApi()
    checker = verifier(reviewer=reviewer, api=api)
    await checker.check(TOKEN, NETWORK)
    api.failure = reviewer.failure = ApiUnavailableError("away")
    await trio.sleep(500)
    assert (await checker.check(TOKEN, NETWORK)).pod_name == "cart-0"


headers = st.fixed_dictionaries(
    {"alg": st.sampled_from(["ES256", "RS256", "none", "HS256", "ES384"]) | st.text()},
    optional={"kid": st.just("first") | st.text(), "typ": st.just("JWT"), "crit": st.just(5), "b64": st.booleans()},
)


def segment(part: object) -> str:
    return urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


forgeries = st.builds(
    lambda header, change, signature: ".".join(
        [segment(header), segment(claims() | change), urlsafe_b64encode(signature).rstrip(b"=").decode()]
    ),
    headers,
    st.dictionaries(st.sampled_from(list(claims())), st.none() | st.integers() | st.text()),
    st.binary(min_size=64, max_size=64) | st.binary(),
)
edits = st.builds(
    lambda at, character: TOKEN[:at] + character + TOKEN[at + 1 :], st.integers(0, len(TOKEN) - 1), st.characters()
).filter(lambda token: token != TOKEN)


@given(st.text() | forgeries | edits)
def test_nothing_passes_that_the_cluster_has_not_signed(token: str) -> None:
    async def main() -> None:
        with suppress(NotPermittedError):
            assert await verifier().check(token, NETWORK) is REVIEWED

    trio.run(main, clock=MockClock())


@given(st.dictionaries(st.sampled_from(list(claims())), st.none() | st.integers() | st.text() | st.floats(0, 1e12)))
def test_any_claims_that_the_cluster_has_signed(change: dict[str, Any]) -> None:
    async def main() -> None:
        try:
            caller = await verifier().check(SIGNER.sign(claims() | change), NETWORK)
        except NotPermittedError:
            return
        assert caller is REVIEWED or (caller.namespace, caller.pod_name) == ("shop", "cart-0")

    trio.run(main, clock=MockClock())

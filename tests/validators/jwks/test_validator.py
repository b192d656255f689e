"""Accepted tokens, and errors for the others."""

import hashlib
import hmac
import json
from base64 import urlsafe_b64decode
from datetime import UTC, datetime
from typing import Any

import jwt
import pytest
import trio
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from sentry_trio.errors import NotPermittedError, ValidatorNotReadyError
from sentry_trio.proto.sentry_pb2 import SignCertificateRequest
from sentry_trio.tokens.keys import ECDSA, EDDSA, HMAC, PKCS1, PSS, VerificationKey, read_keys
from sentry_trio.validators.jwks.validator import JwksValidator
from testkit.authorities import NETWORK
from testkit.hostile_tokens import encoded, sealed

NOW = 1_800_000_000
AUDIENCE = "spiffe://example.org/ns/dapr-system/dapr-sentry"
SUBJECT = "spiffe://public/ns/shop/cart"
FAILED = "token validation failed: "
NOT_VERIFIED = f"{FAILED}could not verify message using any of the signatures or keys"
SECRET = b"s" * 64

RSA = rsa.generate_private_key(65537, 2048)
CURVES: dict[str, Any] = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}
PRIVATE: dict[str, Any] = {
    **dict.fromkeys(PKCS1 | PSS, RSA),
    **{name: ec.generate_private_key(curve) for name, curve in CURVES.items()},
    **{name: ed25519.Ed25519PrivateKey.generate() for name in EDDSA},
    **dict.fromkeys(HMAC, SECRET),
}


def jwk(algorithm: str, **changes: Any) -> dict[str, Any]:
    key = PRIVATE[algorithm]
    public = jwt.get_algorithm_by_name(algorithm).to_jwk(key if key is SECRET else key.public_key(), as_dict=True)
    made = {**public, "kid": algorithm} | changes
    return {name: value for name, value in made.items() if value is not None and name != "key_ops"}


class Keys:
    ready = True

    def __init__(self, *members: Any) -> None:
        self._read = read_keys(members, PKCS1 | PSS | ECDSA | EDDSA | HMAC)
        self._keys = self._read.usable

    async def find(self, kid: str) -> VerificationKey | None:
        await trio.lowlevel.checkpoint()
        return self._keys.get(kid)

    def why_dropped(self, kid: str) -> str | None:
        return next((each.reason for each in self._read.dropped if each.kid == kid), None)


KEYS = Keys(*map(jwk, PRIVATE), jwk("RS256", kid="pinned", alg="RS256"))


def claims(**changes: Any) -> dict[str, Any]:
    made = {"aud": [AUDIENCE, "other"], "exp": NOW + 60, "iat": NOW, "nbf": NOW, "sub": SUBJECT} | changes
    return {name: value for name, value in made.items() if value is not None}


def token(algorithm: str = "ES256", *, headers: dict[str, Any] | None = None, **changes: Any) -> str:
    headers = {"kid": algorithm} | (headers or {})
    payload = json.dumps(claims(**changes)).encode()
    return jwt.PyJWS().encode(payload, PRIVATE[algorithm], algorithm=algorithm, headers=headers)


def request(text: str, **changes: Any) -> SignCertificateRequest:
    asked: dict[str, Any] = {"id": "cart", "namespace": "shop", "certificate_signing_request": b"x", "token": text}
    return SignCertificateRequest(**(asked | changes))


async def validate(text: str, *, keys: Keys = KEYS, expiry_required: bool = True, **changes: Any) -> str:
    validator = JwksValidator(
        keys, audience=AUDIENCE, expiry_required=expiry_required, now=lambda: datetime.fromtimestamp(NOW, UTC)
    )
    return (await validator.validate(request(text, **changes), NETWORK)).trust_domain


async def refusal(text: str, **changes: Any) -> str:
    with pytest.raises(NotPermittedError) as caught:
        await validate(text, **changes)
    return str(caught.value)


@pytest.mark.parametrize("algorithm", sorted(PRIVATE))
async def test_every_algorithm(algorithm: str) -> None:
    assert await validate(token(algorithm)) == "public"


async def test_the_trust_domain_is_the_requests() -> None:
    assert await validate(token(sub="spiffe://td/ns/shop/cart"), trust_domain="td") == "td"
    assert await refusal(token(), trust_domain="td") == f'{FAILED}"sub" not satisfied: values do not match'


async def test_the_order_of_the_checks() -> None:
    class Away(Keys):
        ready = False

    assert await refusal("", keys=Away(), id="") == "the request does not contain a token"
    with pytest.raises(ValidatorNotReadyError, match=r"^jwks validator not ready$"):
        await validate("x", keys=Away(), id="")
    assert await refusal("x", id="") == "invalid request: parameter app-id cannot be empty"
    assert (await refusal("x", id="a b")).startswith("failed to construct SPIFFE ID for requestor: ")
    assert await refusal("x") == f"{FAILED}invalid JWT"


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"exp": NOW - 300}, '"exp" not satisfied'),
        ({"exp": None}, '"exp" not satisfied: required claim not found'),
        ({"exp": "soon"}, '"exp" not satisfied'),
        ({"exp": True}, '"exp" not satisfied'),
        ({"exp": -(10**400)}, '"exp" not satisfied'),
        ({"exp": 10**400}, '"exp" not satisfied'),
        ({"exp": (NOW + 60) * 1000}, '"exp" not satisfied'),
        ({"exp": 253_402_300_800}, '"exp" not satisfied'),
        ({"exp": 1e300}, '"exp" not satisfied'),
        ({"nbf": -(10**400)}, '"nbf" not satisfied'),
        ({"nbf": NOW + 301}, '"nbf" not satisfied'),
        ({"nbf": 10**400}, '"nbf" not satisfied'),
        ({"nbf": []}, '"nbf" not satisfied'),
        ({"iat": NOW + 301}, '"iat" not satisfied'),
        ({"aud": None}, 'claim "aud" not found'),
        ({"aud": "other"}, '"aud" not satisfied'),
        ({"aud": [AUDIENCE, 5]}, '"aud" not satisfied'),
        ({"aud": {AUDIENCE: 1}}, '"aud" not satisfied'),
        ({"sub": None}, '"sub" not satisfied: values do not match'),
        ({"sub": SUBJECT + "x"}, '"sub" not satisfied: values do not match'),
        ({"sub": [SUBJECT]}, '"sub" not satisfied: values do not match'),
    ],
    ids=str,
)
async def test_claims(changes: dict[str, Any], error: str) -> None:
    assert await refusal(token(**changes)) == FAILED + error


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": NOW - 299},
        {"nbf": NOW + 300},
        {"iat": NOW + 300},
        {"nbf": None},
        {"iat": None},
        {"aud": AUDIENCE},
        {"exp": 253_402_300_799},
        {"exp": NOW + 0.5, "nbf": NOW + 0.25, "iat": -1},
    ],
    ids=str,
)
async def test_claims_within_bounds(changes: dict[str, Any]) -> None:
    assert await validate(token(**changes)) == "public"


async def test_a_token_without_end_where_that_is_allowed() -> None:
    assert await validate(token(exp=None), expiry_required=False) == "public"


async def test_a_newline_after_the_token() -> None:
    assert await validate(token() + "\n") == "public"


async def test_unknown_keys() -> None:
    prefix = f"{FAILED}key provider 0 failed: "
    assert await refusal(token(headers={"kid": 'a"b'})) == (
        f'{prefix}failed to find key with key ID "a\\"b" in key set'
    )
    assert len(await refusal(token(headers={"kid": "a" * 9000}))) < 300
    missing = f'{prefix}failed to find matching key: no key ID ("kid") specified in token'
    unfit: tuple[object, ...] = ("", None, 5, ["ES256"], {})
    for kid in unfit:
        assert await refusal(forged({"alg": "ES256", "kid": kid})) == missing


def forged(header: object, payload: object | None = None, signature: bytes = b"x") -> str:
    return f"{encoded(header)}.{encoded(claims() if payload is None else payload)}.{encoded(signature)}"


PUBLIC_PEM = RSA.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize(
    "text",
    [
        forged({"alg": "none", "kid": "RS256"}, signature=b""),
        forged({"alg": "RS512", "kid": "ES256"}),
        forged({"alg": ["ES256"], "kid": "ES256"}),
        forged({"kid": "ES256"}),
        token(headers={"crit": ["exp"]}),
        token("PS256", headers={"kid": "pinned"}),
        token("RS512", headers={"kid": "pinned"}),
        token("HS256", headers={"kid": "RS256"}),
        token("ES384", headers={"kid": "ES256"}),
        token().rpartition(".")[0] + "." + encoded(urlsafe_b64decode(token().rpartition(".")[2] + "==")[:-1]),
        sealed({"alg": "ES256", "kid": "ES256", "b64": False}, claims(), PRIVATE["ES256"], "ES256"),
        sealed({"alg": "ES256", "kid": "ES256", "b64": "true"}, claims(), PRIVATE["ES256"], "ES256"),
    ],
    ids=lambda text: text[:40],
)
async def test_signatures_that_are_none(text: str) -> None:
    assert await refusal(text) == NOT_VERIFIED


async def test_harmless_header_members_are_accepted() -> None:
    assert (
        await validate(token(headers={"b64": True, "typ": "JOSE", "cty": "x", "jku": "https://x", "jwk": {}}))
        == "public"
    )


async def test_a_public_key_is_no_shared_secret() -> None:
    signed = f"{encoded({'alg': 'HS256', 'kid': 'RS256'})}.{encoded(claims())}"
    forgery = f"{signed}.{encoded(hmac.digest(PUBLIC_PEM, signed.encode(), hashlib.sha256))}"
    assert await refusal(forgery) == NOT_VERIFIED


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "a.b",
        "a.b.c.d",
        "a.b.c",
        forged(b"[" * 9000),
        forged([]),
        forged(b'{"alg":"ES256","alg":"ES256","kid":"ES256"}'),
        forged(b'{"kid":NaN}'),
        forged(b'{"kid":%s}' % (b"1" * 5000)),
        forged(b"\xff"),
        jwt.PyJWS().encode(b'{"sub":1,"sub":2}', PRIVATE["ES256"], algorithm="ES256", headers={"kid": "ES256"}),
        jwt.PyJWS().encode(b"[]", PRIVATE["ES256"], algorithm="ES256", headers={"kid": "ES256"}),
    ],
    ids=lambda text: text[:40],
)
async def test_invalid_tokens(text: str) -> None:
    assert await refusal(text) == f"{FAILED}invalid JWT"


async def test_size_is_bounded() -> None:
    assert await refusal("x" * 16385) == f"{FAILED}longer than 16384 bytes"
    assert await refusal("\u00fc" * 9000) == f"{FAILED}longer than 16384 bytes"


async def test_the_error_for_a_dropped_key_has_the_reason() -> None:
    keys = Keys(jwk("ES256", use="enc"))
    with pytest.raises(NotPermittedError) as refused:
        await validate(token(), keys=keys)
    assert str(refused.value) == (
        'token validation failed: key provider 0 failed: failed to find key with key ID "ES256" in key set (the set '
        'has it, but it is not used: its "use" is \'enc\', not "sig")'
    )

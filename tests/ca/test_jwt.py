"""JWTs, verified by PyJWT."""

import json
from base64 import urlsafe_b64decode
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from msgspec.structs import replace

from sentry_trio.ca.jwt import JwtIssuer
from sentry_trio.ca.jwt_key import JwtKeys, SigningKey, generate_jwt_key, verify_jwt_key
from sentry_trio.ca.published import PublishedKeys
from sentry_trio.ca.spiffe import SpiffeId
from sentry_trio.errors import JwtError

from .test_jwt_key import ALGORITHMS

NOW = datetime(2030, 1, 1, 12, 0, 0, 900_000, tzinfo=UTC)
SUBJECT = SpiffeId.make("acme", "shop", "checkout")


def issuer(algorithm: str = "ES256", name: str | None = "https://issuer.example") -> JwtIssuer:
    key = verify_jwt_key(generate_jwt_key(algorithm, None), algorithm, None)
    return JwtIssuer(key, issuer=name, lifetime=timedelta(hours=2), allowed_clock_skew=timedelta(minutes=15))


def parts(token: str) -> list[Any]:
    return [json.loads(urlsafe_b64decode(part + "==")) for part in token.split(".")[:2]]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_foreign_library_verifies_it(algorithm: str) -> None:
    jwts = issuer(algorithm)
    token = jwts.issue(SUBJECT, ["acme", "b"], now=datetime.now(UTC), not_after=datetime.now(UTC) + timedelta(hours=1))
    [key] = jwt.PyJWKSet.from_json(jwts.published.jwks.decode()).keys
    claims = jwt.decode(token, key, algorithms=[algorithm], audience="b", issuer="https://issuer.example")
    assert claims["sub"] == "spiffe://acme/ns/shop/checkout"
    with pytest.raises(jwt.InvalidSignatureError):
        jwt.decode(token[:-8] + "AAAAAAAA", key, algorithms=[algorithm], audience="b")


def test_a_jwt_has_the_documented_header_and_claims() -> None:
    jwts = issuer()
    header, claims = parts(jwts.issue(SUBJECT, ["acme", "b", "b"], now=NOW, not_after=NOW + timedelta(days=1)))
    assert list(header) == ["alg", "kid", "typ"]
    assert header["typ"] == "JWT"
    second = int(NOW.timestamp())
    assert len(claims.pop("jti")) == 32
    assert claims == {
        "aud": ["acme", "b", "b"],
        "exp": second + 7200,
        "iat": second,
        "iss": "https://issuer.example",
        "nbf": second - 900,
        "sub": str(SUBJECT),
        "use": "sig",
    }
    assert list(claims) == sorted(claims)


def test_it_does_not_outlive_its_certificate() -> None:
    _, claims = parts(issuer().issue(SUBJECT, ["a"], now=NOW, not_after=NOW + timedelta(minutes=5)))
    assert claims["exp"] == int(NOW.timestamp()) + 300


@pytest.mark.parametrize("name", [None, ""])
def test_without_an_issuer_it_names_none(name: str | None) -> None:
    _, claims = parts(issuer(name=name).issue(SUBJECT, ["a"], now=NOW, not_after=NOW))
    assert "iss" not in claims
    assert claims["aud"] == ["a"]


def test_no_two_are_alike() -> None:
    jwts = issuer()
    first, second = (parts(jwts.issue(SUBJECT, ["a"], now=NOW, not_after=NOW))[1]["jti"] for _ in range(2))
    assert first != second


def test_a_key_that_cannot_sign_is_found_before_it_is_asked_to() -> None:
    short = SigningKey(rsa.generate_private_key(65537, 1024), "short")
    keys = JwtKeys((short,), "PS512", PublishedKeys(b"", "PS512"))
    with pytest.raises(JwtError, match=r"^key 'short' cannot sign by PS512: "):
        JwtIssuer(keys, issuer=None, lifetime=timedelta(hours=2), allowed_clock_skew=timedelta())


@pytest.mark.parametrize(("seconds", "signer"), [(-1, 0), (0, 1), (1, 1)])
def test_a_key_signs_from_its_time_on(seconds: int, signer: int) -> None:
    keys = [SigningKey(ec.generate_private_key(ec.SECP256R1()), name) for name in ("a", "b")]
    both = (keys[0], replace(keys[1], since=NOW))
    jwts = JwtIssuer(
        JwtKeys(both, "ES256", PublishedKeys(b"", "ES256")),
        issuer=None,
        lifetime=timedelta(hours=2),
        allowed_clock_skew=timedelta(),
    )
    header, _ = parts(jwts.issue(SUBJECT, ["a"], now=NOW + timedelta(seconds=seconds), not_after=NOW))
    assert header["kid"] == "ab"[signer]

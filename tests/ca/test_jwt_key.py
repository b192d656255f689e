"""Signing keys and key sets of JWTs: what Dapr Sentry 1.18 accepts and refuses, and what it should have."""

import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from sentry_trio.ca.jwk import SCHEDULE, read_jwks, thumbprint
from sentry_trio.ca.jwt_key import StoredJwtKey, compose_jwks, generate_jwt_key, verify_jwt_key
from sentry_trio.ca.keys import KeyType, generate_key, read_private_key, write_private_key
from sentry_trio.errors import InvalidBundleError

ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
STORED = generate_jwt_key("ES256", None)
RSA = write_private_key(generate_key(KeyType.RSA2048))
SHORT = write_private_key(rsa.generate_private_key(65537, 1024))
P384 = write_private_key(generate_key(KeyType.P384))
ED25519 = write_private_key(generate_key(KeyType.ED25519))


def member(stored: StoredJwtKey = STORED, **changes: Any) -> dict[str, Any]:
    [found] = json.loads(stored.jwks)["keys"]
    return {name: value for name, value in {**found, **changes}.items() if value is not None}


def key_set(*members: dict[str, Any]) -> bytes:
    return json.dumps({"keys": members}).encode()


@pytest.mark.uncovered
@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("key_id", [None, "mine"])
def test_a_generated_key_can_be_loaded(algorithm: str, key_id: str | None) -> None:
    stored = generate_jwt_key(algorithm, key_id)
    found = verify_jwt_key(stored, algorithm, key_id)
    [key] = jwt.PyJWKSet.from_json(found.published.jwks.decode()).keys
    assert key.key_id == found.signing[0].key_id == (key_id or thumbprint(read_private_key(stored.key).public_key()))
    assert found.published.algorithm == algorithm
    assert list(member(stored)) == sorted(member(stored))
    assert b" " not in stored.jwks


def test_a_thumbprint_is_that_of_the_rfc() -> None:
    """The example of RFC 7638, 3.1, in standard base64."""
    n = (
        "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhM"
        "stn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5h"
        "ajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"
    )
    key = jwt.PyJWK({"kty": "RSA", "n": n, "e": "AQAB"}, algorithm="RS256").key
    assert thumbprint(key) == "NzbLsXh8uDCcd+6MNwXF4W/7noWXFZAfHkxZsRGC9Xs="


@pytest.mark.parametrize(
    ("pem", "algorithm", "reason"),
    [
        (RSA, "ES256", "ECDSA algorithm ES256 requires an ECDSA key, but got *rsa.PrivateKey"),
        (P384, "RS256", "RSA algorithm RS256 requires an RSA key, but got *ecdsa.PrivateKey"),
        (P384, "PS512", "RSA algorithm PS512 requires an RSA key, but got *ecdsa.PrivateKey"),
        (P384, "ES256", "ES256 requires a P-256 curve, got P-384"),
        (P384, "EdDSA", "EdDSA algorithm requires an Ed25519 key, but got *ecdsa.PrivateKey"),
        (ED25519, "RS256", "RSA algorithm RS256 requires an RSA key, but got ed25519.PrivateKey"),
        (SHORT, "RS256", "RSA algorithm RS256 requires a key of 2048 bits or more, got 1024"),
        (RSA, "HS256", "unsupported signature algorithm: HS256"),
        (RSA, "none", "unsupported signature algorithm: none"),
    ],
)
def test_a_key_has_to_fit_the_algorithm(pem: bytes, algorithm: str, reason: str) -> None:
    with pytest.raises(InvalidBundleError) as caught:
        compose_jwks(pem, algorithm, None)
    assert str(caught.value) == f"JWT signing key is incompatible with algorithm {algorithm}: {reason}"


def test_no_key_is_made_for_an_unknown_algorithm() -> None:
    with pytest.raises(InvalidBundleError, match="unsupported signature algorithm: HS256"):
        generate_jwt_key("HS256", None)
    with pytest.raises(InvalidBundleError, match=r"^JWT signing algorithm required$"):
        compose_jwks(RSA, "", None)


def test_invalid_keys() -> None:
    with pytest.raises(InvalidBundleError) as caught:
        verify_jwt_key(StoredJwtKey(b"none", STORED.jwks), "ES256", None)
    assert str(caught.value) == (
        "failed to load JWT signing key: failed to decode JWT signing key: key is not PEM encoded: it is not PEM text"
    )


RSA_MEMBER = json.loads(compose_jwks(RSA, "RS256", None))["keys"][0]
NO_MATCH = "JWKS doesn't contain a matching public key for the JWT signing key"
OTHER = member(generate_jwt_key("ES256", None))
OKP = member(generate_jwt_key("EdDSA", None))


@pytest.mark.parametrize(
    ("jwks", "key_id", "kid"),
    [
        (key_set(member()), None, member()["kid"]),
        (key_set(OTHER, OKP, member()), None, member()["kid"]),
        (json.dumps(member()).encode(), None, member()["kid"]),
        (key_set(member(kid="another")), None, "another"),
        (key_set(member(kid=None)), None, member()["kid"]),
        (key_set(member(alg="ES512", use=None)), None, member()["kid"]),
        (key_set(member(kid="x")), "x", "x"),
        (key_set({**OTHER, "kid": "x"}, member(kid="x")), "x", "x"),
    ],
    ids=range(8),  # its own would have the key's random ID
)
def test_a_key_set_that_has_the_key(jwks: bytes, key_id: str | None, kid: str) -> None:
    """Names and algorithms in the set do not matter, but for a name that was asked for."""
    found = verify_jwt_key(StoredJwtKey(STORED.key, jwks), "ES256", key_id)
    assert [each.key_id for each in found.signing] == [kid]
    # Who verifies looks for that name.
    assert kid in [each["kid"] for each in json.loads(found.published.jwks)["keys"]]


@pytest.mark.parametrize(
    ("jwks", "key_id", "message"),
    [
        (b"", None, "failed to verify JWKS: failed to parse JWKS: "),
        (b"[]", None, "failed to verify JWKS: failed to parse JWKS: "),
        (b'{"keys": 1}', None, "failed to verify JWKS: failed to parse JWKS: "),
        (b'{"keys": [{"kty": "RSA"}]}', None, "failed to verify JWKS: failed to parse JWKS: "),
        (b'{"keys": [{"kty": "x"}]}', None, "failed to verify JWKS: failed to parse JWKS: "),
        (b"\xff", None, "failed to verify JWKS: failed to parse JWKS: "),
        (b'{"keys": []}', None, "failed to verify JWKS: JWKS doesn't contain any keys"),
        (key_set(*[member()] * 101), None, "failed to verify JWKS: more than 100 keys"),
        (key_set(OTHER), None, NO_MATCH),
        (key_set(OKP), None, NO_MATCH),
        (key_set(member(use="enc")), None, NO_MATCH),
        (key_set(member()), "x", 'JWKS doesn\'t contain a key with user-provided key ID "x"'),
        (
            key_set({**OTHER, "kid": "x"}, member()),
            "x",
            'JWKS contains a key with user-provided key ID "x" but the key content doesn\'t match the signing key',
        ),
        (key_set({"kty": "oct", "k": "c2VjcmV0", "kid": "s"}), None, "failed to verify JWKS: key 's' is not public"),
    ],
)
def test_a_key_set_that_will_not_do(jwks: bytes, key_id: str | None, message: str) -> None:
    with pytest.raises(InvalidBundleError) as caught:
        verify_jwt_key(StoredJwtKey(STORED.key, jwks), "ES256", key_id)
    assert str(caught.value).startswith(message)


def test_a_private_key_is_not_published() -> None:
    private = {**member(), "d": "870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE"}
    with pytest.raises(InvalidBundleError, match="is not public: it has d"):
        read_jwks(key_set(private))


def test_keys_are_not_shown() -> None:
    keys = verify_jwt_key(STORED, "ES256", None)
    assert "PRIVATE" not in repr(STORED)
    for each in (keys, keys.signing[0]):
        assert repr(each).startswith("<sentry_trio.ca.jwt_key.")


def test_blocks_after_the_first_key_count_only_if_the_set_schedules_them() -> None:
    """Dapr Sentry reads the first block and no other; here a block that is not a scheduled key is ignored, too."""
    other = generate_jwt_key("ES256", None)
    pem = STORED.key + b"# and more\n" + other.key + b"-----BEGIN X-----\nAAAA\n-----END X-----\n"
    found = verify_jwt_key(StoredJwtKey(pem, key_set(member(), member(other))), "ES256", None)
    assert len(found.signing) == 1
    scheduled = {**member(other), SCHEDULE: {"from": 2_000_000_000}}
    found = verify_jwt_key(StoredJwtKey(pem, key_set(member(), scheduled)), "ES256", None)
    assert [each.since and each.since.timestamp() for each in found.signing] == [None, 2_000_000_000]
    with pytest.raises(InvalidBundleError, match="RS256 requires an RSA key, but got"):
        verify_jwt_key(StoredJwtKey(RSA + other.key, key_set(RSA_MEMBER, scheduled)), "RS256", None)


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
def test_an_untidy_key_set_is_read_and_published_in_normal_form(algorithm: str) -> None:
    """Go reads padding and null members; stricter verifiers do not."""
    stored = generate_jwt_key(algorithm, None)
    numbers = {name: f"{value}==" for name, value in member(stored).items() if name in ("n", "e", "x", "y")}
    untidy = json.dumps({"keys": [{**member(stored), **numbers, "x5c": None, "key_ops": None}]}).encode()
    found = verify_jwt_key(StoredJwtKey(stored.key, untidy), algorithm, None)
    assert json.loads(found.published.jwks) == {"keys": [member(stored)]}
    assert jwt.PyJWKSet.from_json(found.published.jwks.decode()).keys

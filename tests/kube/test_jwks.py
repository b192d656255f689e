"""The keys that an API server publishes: what is believed of them."""

from contextlib import suppress
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st

from sentry_trio.kube.keys import InvalidKeysError, read_issuer, read_keys
from testkit.kube.fake_review import P256_KEY, RSA_KEY, Signer

RSA = {"RS256", "RS384", "RS512"}


@pytest.mark.parametrize(
    ("jwk", "algorithms"),
    [
        (Signer().jwk(), {"ES256"}),
        (Signer().jwk(alg=None), {"ES256"}),
        (Signer().jwk(use=None), {"ES256"}),
        (Signer(ec.generate_private_key(ec.SECP384R1()), "ES384").jwk(), {"ES384"}),
        (Signer(ec.generate_private_key(ec.SECP521R1()), "ES512").jwk(alg=None), {"ES512"}),
        (Signer(RSA_KEY, "RS256").jwk(), {"RS256"}),
        (Signer(RSA_KEY, "RS256").jwk(alg="RS512"), {"RS512"}),
        (Signer(RSA_KEY, "RS256").jwk(alg=None), RSA),
    ],
)
def test_keys_and_the_tokens_that_they_verify(jwk: dict[str, Any], algorithms: set[str]) -> None:
    found = read_keys({"keys": [jwk]})
    assert {kid: key.algorithms for kid, key in found.items()} == {"first": algorithms}


UNUSABLE = [
    Signer().jwk(kid=None),
    Signer().jwk(use="enc"),
    Signer().jwk(alg="ES384"),
    Signer().jwk(alg="HS256"),
    Signer().jwk(x="AAAA"),
    Signer().jwk(x="!"),
    Signer().jwk(y=None),
    Signer().jwk(crv="secp256k1"),
    Signer(RSA_KEY, "RS256").jwk(alg="PS256"),
    Signer(RSA_KEY, "RS256").jwk(alg="none"),
    Signer(RSA_KEY, "RS256").jwk(n=5),
    Signer(RSA_KEY, "RS256").jwk(e=""),
    Signer(RSA_KEY, "RS256").jwk(e="AA"),
    Signer(rsa.generate_private_key(65537, 1024), "RS256").jwk(),
    Signer(ed25519.Ed25519PrivateKey.generate(), "EdDSA").jwk(),
    {"kty": "oct", "k": "AAAA", "kid": "first"},
    {},
    None,
    "key",
]


@pytest.mark.parametrize("jwk", UNUSABLE, ids=range(len(UNUSABLE)))
def test_unusable_keys_are_left_out(jwk: object) -> None:
    other = Signer(kid="other").jwk()
    assert list(read_keys({"keys": [jwk, other]})) == ["other"]
    with pytest.raises(InvalidKeysError, match="has no key that verifies tokens"):
        read_keys({"keys": [jwk]})


@pytest.mark.parametrize("document", [{}, {"keys": None}, {"keys": []}, {"keys": {}}, {"keys": "x"}], ids=str)
def test_no_keys(document: dict[str, Any]) -> None:
    with pytest.raises(InvalidKeysError, match="has no key that verifies tokens"):
        read_keys(document)


def test_the_first_of_two_keys_with_one_id_counts() -> None:
    found = read_keys({"keys": [Signer().jwk(), Signer(RSA_KEY, "RS256").jwk()]})
    assert found["first"].algorithms == {"ES256"}


def test_only_so_many_keys_are_read() -> None:
    assert len(read_keys({"keys": [Signer(kid=str(number)).jwk() for number in range(100)]})) == 64


def test_private_halves_are_not_read() -> None:
    private = Signer().jwk() | {"d": "AQ"}
    (key,) = read_keys({"keys": [private]}).values()
    assert not key.key.is_private


def test_an_issuer() -> None:
    assert read_issuer({"issuer": "https://issuer", "jwks_uri": "https://elsewhere"}) == "https://issuer"


@pytest.mark.parametrize("document", [{}, {"issuer": None}, {"issuer": ["x"]}, {"issuer": ""}], ids=str)
def test_no_issuer(document: dict[str, Any]) -> None:
    with pytest.raises(InvalidKeysError, match="issuer"):
        read_issuer(document)


def test_signatures() -> None:
    mine, other = Signer(), Signer(ec.generate_private_key(ec.SECP256R1()))
    key = read_keys({"keys": [mine.jwk()]})["first"]
    assert key.verifies(mine.token().encode(), "ES256")
    assert not key.verifies(other.token().encode(), "ES256")
    # This does not depend on the token.
    assert not key.verifies(mine.token().encode(), "RS256")
    assert P256_KEY.public_key() == mine.key.public_key()


values = st.none() | st.integers() | st.text() | st.sampled_from(["EC", "RSA", "P-256", "AQAB", "ES256", "sig"])
members = st.dictionaries(st.sampled_from(["kty", "kid", "alg", "use", "n", "e", "crv", "x", "y"]), values)


@given(st.lists(members | values | members.map(lambda change: Signer().jwk(**change)), max_size=3) | values)
def test_any_document(keys: Any) -> None:
    with suppress(InvalidKeysError):
        assert read_keys({"keys": keys})

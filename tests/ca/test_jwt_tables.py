"""Keys by algorithm and key sets by key: all of it, as tables."""

import json

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from sentry_trio.ca.jwt_key import StoredJwtKey, compose_jwks, verify_jwt_key
from sentry_trio.ca.keys import PrivateKey, write_private_key
from sentry_trio.errors import InvalidBundleError

pytestmark = pytest.mark.uncovered

# By what Go calls the type of a key, and the curve.
KEYS: dict[tuple[str, str], PrivateKey] = {
    ("*rsa.PrivateKey", ""): rsa.generate_private_key(65537, 2048),
    ("*ecdsa.PrivateKey", "P-224"): ec.generate_private_key(ec.SECP224R1()),
    ("*ecdsa.PrivateKey", "P-256"): ec.generate_private_key(ec.SECP256R1()),
    ("*ecdsa.PrivateKey", "P-384"): ec.generate_private_key(ec.SECP384R1()),
    ("*ecdsa.PrivateKey", "P-521"): ec.generate_private_key(ec.SECP521R1()),
    ("ed25519.PrivateKey", ""): ed25519.Ed25519PrivateKey.generate(),
}
CURVES = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}
RSA = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"]


def reason(algorithm: str, kind: str, curve: str) -> str | None:
    """Dapr Sentry 1.18's words; None if the key fits."""
    if algorithm in RSA:
        fits, text = kind == "*rsa.PrivateKey", f"RSA algorithm {algorithm} requires an RSA key, but got {kind}"
    elif algorithm == "EdDSA":
        fits, text = kind == "ed25519.PrivateKey", f"EdDSA algorithm requires an Ed25519 key, but got {kind}"
    elif kind == "*ecdsa.PrivateKey":
        fits, text = CURVES[algorithm] == curve, f"{algorithm} requires a {CURVES[algorithm]} curve, got {curve}"
    else:
        fits, text = False, f"ECDSA algorithm {algorithm} requires an ECDSA key, but got {kind}"
    return None if fits else text


@pytest.mark.parametrize(("kind", "curve"), KEYS)
@pytest.mark.parametrize("algorithm", [*RSA, *CURVES, "EdDSA"])
def test_key_and_algorithm(algorithm: str, kind: str, curve: str) -> None:
    pem = write_private_key(KEYS[kind, curve])
    expected = reason(algorithm, kind, curve)
    if expected is None:
        stored = StoredJwtKey(pem, compose_jwks(pem, algorithm, None))
        assert verify_jwt_key(stored, algorithm, None).algorithm == algorithm
        return
    for check in (
        lambda: compose_jwks(pem, algorithm, None),
        lambda: verify_jwt_key(StoredJwtKey(pem, b'{"keys": []}'), algorithm, None),
    ):
        with pytest.raises(InvalidBundleError) as caught:
            check()
        assert str(caught.value) == f"JWT signing key is incompatible with algorithm {algorithm}: {expected}"


@pytest.mark.parametrize("algorithm", ["HS256", "none", "ES256K", "rs256", "RSA-OAEP"])
def test_algorithms_that_are_not_allowed(algorithm: str) -> None:
    for key in KEYS.values():
        with pytest.raises(InvalidBundleError) as caught:
            compose_jwks(write_private_key(key), algorithm, None)
        assert str(caught.value).endswith(f": unsupported signature algorithm: {algorithm}")


MATCHING = {
    "RS256": ("*rsa.PrivateKey", ""),
    "ES256": ("*ecdsa.PrivateKey", "P-256"),
    "EdDSA": ("ed25519.PrivateKey", ""),
}


@pytest.mark.parametrize("algorithm", MATCHING)
@pytest.mark.parametrize("bare", [True, False], ids=["a single key", "a set"])
def test_the_public_values_are_compared(algorithm: str, bare: bool) -> None:
    """Of every kind of key; the same kind with another value does not match, however it is named."""
    own = KEYS[MATCHING[algorithm]]
    stranger: PrivateKey
    if isinstance(own, rsa.RSAPrivateKey):
        stranger = rsa.generate_private_key(65537, 2048)
    elif isinstance(own, ec.EllipticCurvePrivateKey):
        stranger = ec.generate_private_key(ec.SECP256R1())
    else:
        stranger = ed25519.Ed25519PrivateKey.generate()
    pem = write_private_key(own)
    [mine] = json.loads(compose_jwks(pem, algorithm, None))["keys"]
    [theirs] = json.loads(compose_jwks(write_private_key(stranger), algorithm, mine["kid"]))["keys"]

    def held(member: dict[str, str], key_id: str | None) -> str:
        document = member if bare else {"keys": [member]}
        return verify_jwt_key(StoredJwtKey(pem, json.dumps(document).encode()), algorithm, key_id).signing[0].key_id

    assert held(mine | {"alg": "unheard-of"}, None) == mine["kid"]
    assert held(mine | {"kid": "x"}, "x") == "x"
    for member, key_id, text in (
        (theirs, None, "JWKS doesn't contain a matching public key for the JWT signing key"),
        (mine | {"use": "enc"}, None, "JWKS doesn't contain a matching public key for the JWT signing key"),
        (mine, "x", 'JWKS doesn\'t contain a key with user-provided key ID "x"'),
        (
            theirs | {"kid": "x"},
            "x",
            ('JWKS contains a key with user-provided key ID "x" but the key content doesn\'t match the signing key'),
        ),
    ):
        with pytest.raises(InvalidBundleError) as caught:
            held(member, key_id)
        assert str(caught.value) == text

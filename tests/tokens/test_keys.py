"""Keys as JSON: which are usable for what, and signatures by a foreign library checked with them."""

import itertools
import json
from base64 import b64encode, urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from sentry_trio.tokens.keys import ECDSA, EDDSA, HMAC, PKCS1, PSS, DroppedKey, VerificationKey, read_keys

ALL = PKCS1 | PSS | ECDSA | EDDSA | HMAC
SECRET = bytes(range(64))


def base64url(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


@cache
def private(kind: str) -> Any:
    """A key of PyJWT's kind, made once."""
    if kind == "RSA":
        return rsa.generate_private_key(65537, 2048)
    if kind == "Ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    curves: dict[str, ec.EllipticCurve] = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1()}
    return SECRET if kind == "oct" else ec.generate_private_key(curves[kind])


@cache
def written(kind: str) -> str:
    if kind == "oct":
        return json.dumps({"kty": "oct", "k": base64url(SECRET)})
    public = private(kind).public_key()
    if kind == "RSA":
        return str(jwt.algorithms.RSAAlgorithm.to_jwk(public))
    if kind == "Ed25519":
        return str(jwt.algorithms.OKPAlgorithm.to_jwk(public))
    return str(jwt.algorithms.ECAlgorithm.to_jwk(public))


def jwk(kind: str, **members: object) -> dict[str, Any]:
    described: dict[str, Any] = json.loads(written(kind))
    described.pop("key_ops", None)
    return described | {"kid": "one"} | members


def read(*members: object, accepted: Iterable[str] = ALL) -> dict[str, VerificationKey]:
    return dict(read_keys(members, frozenset(accepted)).usable)


KINDS = [
    ("RSA", PKCS1 | PSS),
    ("P-256", {"ES256"}),
    ("P-384", {"ES384"}),
    ("P-521", {"ES512"}),
    ("Ed25519", EDDSA),
    ("oct", HMAC),
]
SIGNED = [(kind, algorithm) for kind, algorithms in KINDS for algorithm in sorted(algorithms)]


@pytest.mark.parametrize(("kind", "algorithms"), KINDS, ids=[kind for kind, _ in KINDS])
def test_a_key_verifies_algorithms_of_its_kind(kind: str, algorithms: frozenset[str]) -> None:
    assert read(jwk(kind))["one"].algorithms == algorithms


@pytest.mark.parametrize(("kind", "algorithm"), SIGNED, ids=[algorithm for _, algorithm in SIGNED])
def test_a_foreign_library_s_signatures(kind: str, algorithm: str) -> None:
    token = jwt.encode({"sub": "a"}, private(kind), algorithm=algorithm).encode()
    key = read(jwk(kind))["one"]
    assert key.verifies(token, algorithm)
    signed, _, signature = token.rpartition(b".")
    assert not key.verifies(signed + b"A." + signature, algorithm)
    assert not key.verifies(signed + b"." + signature[::-1], algorithm)
    assert not key.verifies(signed + b".", algorithm)
    assert not key.verifies(signed, algorithm)
    for other in ALL - {algorithm}:
        assert not key.verifies(token, other)


def test_no_public_key_is_taken_for_a_shared_secret() -> None:
    """RFC 8725, section 3.1: a token signed with the public key's text as secret."""
    public = private("RSA").public_key()
    for text in (public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), written("RSA").encode()):
        # PyJWT does not sign with a public key's text: joined here by hand.
        token = jwt.PyJWS().encode(b"{}", b"x" * 64, algorithm="HS256").encode()
        head = token.rpartition(b".")[0]
        signature = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256).sign(head, text)
        forged = head + b"." + base64url(signature).encode()
        for algorithm in ("HS256", "RS256", "none", ""):
            assert not read(jwk("RSA"))["one"].verifies(forged, algorithm)


def test_a_key_s_own_algorithm_is_the_only_one() -> None:
    key = read(jwk("RSA", alg="PS256"))["one"]
    assert key.algorithms == {"PS256"}
    assert not key.verifies(jwt.encode({}, private("RSA"), algorithm="RS256").encode(), "RS256")


def test_only_accepted_algorithms_remain() -> None:
    assert read(jwk("RSA"), accepted=ECDSA | {"RS512"})["one"].algorithms == {"RS512"}
    assert not read(jwk("RSA"), accepted=ECDSA)
    assert not read(jwk("oct"), accepted=PKCS1 | PSS | ECDSA | EDDSA)


@pytest.mark.parametrize(
    "member",
    [
        None,
        5,
        "RSA",
        [],
        {},
        {"kid": "one"},
        {"kid": "one", "kty": "RSA"},
        {"kid": "one", "kty": "unheard-of"},
        jwk("RSA", kid=5),
        jwk("RSA", kid=None),
        {name: value for name, value in jwk("RSA").items() if name != "kid"},
        jwk("RSA", use="enc"),
        jwk("RSA", alg="RSA-OAEP"),
        jwk("RSA", alg="ES256"),
        jwk("RSA", alg="HS256"),
        jwk("RSA", alg=["RS256"]),
        jwk("RSA", n=5),
        jwk("RSA", n="!" * 342),
        jwk("RSA", n=jwk("RSA")["n"][: 1024 // 6]),
        jwk("RSA", n=jwk("RSA")["n"] * 5),
        jwk("RSA", e="A" * 7),
        jwk("RSA", e=""),
        jwk("P-256", crv="P-384"),
        jwk("P-256", crv="secp256k1"),
        jwk("P-256", crv=""),
        jwk("P-256", y=jwk("P-256")["x"]),
        jwk("P-256", x=""),
        jwk("P-256", kty="RSA"),
        jwk("Ed25519", crv="X25519"),
        jwk("Ed25519", x="AAAA"),
        jwk("oct", k=base64url(bytes(31))),
        jwk("oct", k=base64url(bytes(769))),
    ],
    ids=itertools.count(),  # keys are new each time
)
def test_an_unusable_key_is_left_out_and_takes_no_other_with_it(member: object) -> None:
    assert list(read(member, jwk("P-256", kid="good"))) == ["good"]


def rsa_jwk(bits: int, size: int = 0) -> dict[str, Any]:
    """A key of any number of bits, in so many bytes; an odd number does for a modulus."""
    modulus = ((1 << bits) - 1).to_bytes(size or -(-bits // 8), "big")
    return {"kty": "RSA", "kid": "one", "e": "AQAB", "n": base64url(modulus)}


@pytest.mark.parametrize(
    ("bits", "size", "usable"),
    [
        (1024, 0, False),
        (1024, 256, False),  # with zeros in front
        (2040, 0, False),
        (2040, 256, False),
        (2040, 257, False),
        (2048, 0, True),
        (2048, 257, True),
        (2048, 258, True),
        (8192, 0, True),
        (8200, 0, False),
    ],
)
def test_a_modulus_is_neither_short_nor_long(bits: int, size: int, usable: bool) -> None:
    assert bool(read(rsa_jwk(bits, size))) is usable


@pytest.mark.parametrize(("exponent", "usable"), [(b"\x03", True), (b"\xff" * 4, True), (b"\xff" * 5, False)])
def test_an_exponent_is_not_long(exponent: bytes, usable: bool) -> None:
    assert bool(read(rsa_jwk(2048) | {"e": base64url(exponent)})) is usable


@pytest.mark.parametrize(
    ("size", "algorithms"),
    [(32, {"HS256"}), (47, {"HS256"}), (48, {"HS256", "HS384"}), (63, {"HS256", "HS384"}), (768, HMAC)],
)
def test_a_shared_secret_is_as_long_as_the_hash(size: int, algorithms: set[str]) -> None:
    assert read(jwk("oct", k=base64url(bytes(size))))["one"].algorithms == algorithms


def test_the_first_of_keys_with_one_id_counts() -> None:
    assert read(jwk("P-256"), jwk("RSA"))["one"].algorithms == {"ES256"}
    assert read(jwk("P-256", use="enc"), jwk("RSA"))["one"].algorithms == PKCS1 | PSS


def test_private_halves_are_not_kept() -> None:
    described: dict[str, Any] = json.loads(str(jwt.algorithms.ECAlgorithm.to_jwk(private("P-256"))))
    key = read({**described, "kid": "one", "use": "sig"})["one"].key
    assert not key.is_private


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
names = st.sampled_from(["kid", "kty", "alg", "use", "n", "e", "crv", "x", "y", "k"])
spoilt = st.builds(
    lambda kind, members: jwk(kind) | members,
    st.sampled_from([kind for kind, _ in KINDS]),
    st.dictionaries(names, json_values, min_size=1, max_size=3),
)


@given(st.lists(json_values | spoilt, max_size=3))
def test_any_set_is_read(members: list[object]) -> None:
    for key in read(*members).values():
        assert key.algorithms <= ALL
        assert not key.verifies(b"e30.e30.AAAA", min(key.algorithms))


@given(st.binary(max_size=300), st.sampled_from(SIGNED), st.integers(0, 10_000))
def test_any_bytes_in_a_token_s_place_verify_nothing(data: bytes, signed: tuple[str, str], at: int) -> None:
    kind, algorithm = signed
    key = read(jwk(kind))["one"]
    assert not key.verifies(data, algorithm)
    token = jwt.encode({"sub": "a"}, private(kind), algorithm=algorithm).encode()
    assert not key.verifies(token[: at % len(token)], algorithm)


def respelled(member: dict[str, Any], spelling: Callable[[bytes], str]) -> dict[str, Any]:
    """Returns a key with its numbers in another base64."""
    numbers = {name: spelling(urlsafe_b64decode(f"{text}==")) for name, text in member.items() if name in "nexyk"}
    return member | numbers


SPELLINGS: dict[str, Callable[[bytes], str]] = {
    "padded": lambda number: urlsafe_b64encode(number).decode(),
    "standard": lambda number: b64encode(number).decode(),
    "standard without padding": lambda number: b64encode(number).decode().rstrip("="),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize(("kind", "algorithms"), KINDS, ids=[kind for kind, _ in KINDS])
def test_other_forms_of_base64_are_read(kind: str, algorithms: frozenset[str], spelling: str) -> None:
    algorithm = min(algorithms)
    token = jwt.encode({"sub": "a"}, private(kind), algorithm=algorithm).encode()
    assert read(respelled(jwk(kind), SPELLINGS[spelling]))["one"].verifies(token, algorithm)


@pytest.mark.parametrize("member", ["alg", "use", "key_ops", "x5c", "x5t", "crv"])
def test_null_members_are_absent(member: str) -> None:
    assert read(jwk("RSA", **{member: None}))["one"].algorithms == PKCS1 | PSS


@pytest.mark.parametrize(
    ("member", "dropped"),
    [
        (5, DroppedKey(None, "it is not a JSON object")),
        ({}, DroppedKey(None, 'it has no ID ("kid")')),
        (jwk("RSA", kid=None), DroppedKey(None, 'it has no ID ("kid")')),
        (jwk("RSA", kid=5), DroppedKey(None, 'its "kid" is not a string')),
        (jwk("RSA", n=5), DroppedKey("one", 'its "n" is not a string')),
        (jwk("RSA", use="enc"), DroppedKey("one", 'its "use" is \'enc\', not "sig"')),
        (jwk("RSA", kty="PQ"), DroppedKey("one", "its \"kty\", 'PQ', is not supported")),
        (jwk("P-256", crv="secp256k1"), DroppedKey("one", "its curve, 'secp256k1', is not supported")),
        (jwk("RSA", n=jwk("RSA")["n"][:100]), DroppedKey("one", "its RSA modulus has less than 2048 bits")),
        (jwk("P-256", x="AAAA"), DroppedKey("one", "its numbers do not form a key")),
    ],
)
def test_a_dropped_key_is_named_with_the_reason(member: object, dropped: DroppedKey) -> None:
    found = read_keys([jwk("P-384", kid="good"), member], ALL)
    assert list(found.usable) == ["good"]
    assert found.dropped == (dropped,)


def test_algorithms_that_are_not_accepted_are_named() -> None:
    (kind,) = read_keys([jwk("oct")], PKCS1).dropped
    assert kind.reason == "no accepted algorithm uses a key of its kind"
    (algorithm,) = read_keys([jwk("RSA", alg="PS256")], PKCS1).dropped
    assert algorithm.reason == "its \"alg\", 'PS256', is not an algorithm of its kind that is accepted here"
    (second,) = read_keys([jwk("RSA"), jwk("P-256")], ALL).dropped
    assert second == DroppedKey("one", "an earlier key has the same ID")

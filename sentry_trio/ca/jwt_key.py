"""Signing key and key set of JWTs: make, read, compare. Pure.

Imported only where JWTs are issued, as its library is.
"""

from datetime import UTC, datetime
from typing import Final

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from sentry_trio.ca.jwk import Jwk, is_key, make_jwk, published_form, read_jwks, schedule_of, thumbprint, write_jwks
from sentry_trio.ca.keys import PrivateKey, read_private_key, read_private_keys, write_private_key
from sentry_trio.ca.published import PublishedKeys
from sentry_trio.discreet import Discreet
from sentry_trio.errors import InvalidBundleError

RSA_ALGORITHMS: Final = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
ALWAYS: Final = datetime.min.replace(tzinfo=UTC)
"""Begin of a key that signs without a known begin."""

_CURVES: Final[dict[str, type[ec.EllipticCurve]]] = {
    "ES256": ec.SECP256R1,
    "ES384": ec.SECP384R1,
    "ES512": ec.SECP521R1,
}
_NAMES: Final = {"secp224r1": "P-224", "secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}
_EDDSA: Final = "EdDSA"
_RSA_BITS: Final = 2048


class StoredJwtKey(Discreet, frozen=True):
    """Signing keys and their key set as they are stored; nothing is verified.

    Attributes:
        key: private key, PEM; during a rotation the next one follows, which Dapr Sentry ignores. Not shown by `repr`.
        jwks: JSON Web Key Set (RFC 7517).
    """

    UNSHOWN = frozenset({"key"})

    key: bytes
    jwks: bytes


class SigningKey(msgspec.Struct, frozen=True):
    """Private key, with its entry in the key set.

    Attributes:
        key: the private key.
        key_id: key ID in each token's header.
        since: time from which it signs; None if it always did.
    """

    key: PrivateKey
    key_id: str
    since: datetime | None = None

    __repr__ = object.__repr__  # shows no key


class JwtKeys(msgspec.Struct, frozen=True):
    """Signing keys that were checked against their key set.

    Attributes:
        signing: one key at least, in the order in which they are stored.
        algorithm: signing algorithm (RFC 7518, 3.1).
        published: public keys that verify the tokens.
    """

    signing: tuple[SigningKey, ...]
    algorithm: str
    published: PublishedKeys

    __repr__ = object.__repr__  # shows no key


def generate_jwt_key(algorithm: str, key_id: str | None) -> StoredJwtKey:
    """Makes a key that fits an algorithm, and its key set.

    Dapr Sentry 1.18 makes RSA keys for every algorithm, and a key set that names the thumbprint even if `--jwt-key-id`
    is set; neither loads a second time.

    Raises:
        InvalidBundleError: the algorithm is not known.
    """
    pem = write_private_key(make_signing_key(algorithm))
    return StoredJwtKey(pem, compose_jwks(pem, algorithm, key_id))


def make_signing_key(algorithm: str) -> PrivateKey:
    """Makes a private key that fits an algorithm. An RSA key takes some tenths of a second.

    Raises:
        InvalidBundleError: the algorithm is not known.
    """
    if algorithm in RSA_ALGORITHMS:
        return rsa.generate_private_key(public_exponent=65537, key_size=_RSA_BITS)
    if algorithm in _CURVES:
        return ec.generate_private_key(_CURVES[algorithm]())
    if algorithm == _EDDSA:
        return ed25519.Ed25519PrivateKey.generate()
    raise _incompatible(algorithm, _unsupported(algorithm))


def compose_jwks(pem: bytes, algorithm: str, key_id: str | None) -> bytes:
    """Returns the key set of a signing key alone.

    Raises:
        InvalidBundleError: it is not a key, or not a key for the algorithm.
    """
    public = _signing_key(pem, algorithm).public_key()
    return write_jwks([make_jwk(public, algorithm, key_id or thumbprint(public))])


def verify_jwt_key(stored: StoredJwtKey, algorithm: str, key_id: str | None) -> JwtKeys:
    """Verifies signing keys against their algorithm and their key set, with Dapr Sentry 1.18's texts.

    Beyond Dapr Sentry, a key set with private keys is rejected, as it would be published; and a signing key without a
    name in the set is published under the name that its tokens have.

    Args:
        stored: both.
        algorithm: `--jwt-signing-algorithm`.
        key_id: `--jwt-key-id`; None for the key's name in the key set, or its thumbprint.

    Raises:
        InvalidBundleError: a key or the key set is invalid, or they do not fit; the text has Dapr Sentry's reason.
    """
    key = _signing_key(stored.key, algorithm)
    keys = read_jwks(stored.jwks)
    first = _first(key, keys, key_id)
    # A configured name allows one key; more may follow if keys have names of their own.
    following = signing_keys(stored, keys)[1:] if key_id is None else []
    signing = [first]
    for each, member in following:
        if reason := _misfit(each, algorithm):
            raise _incompatible(algorithm, reason)
        signing.append(_named(each, member))
    return JwtKeys(tuple(signing), algorithm, PublishedKeys(published_form(_all_named(keys, signing)), algorithm))


def signing_keys(stored: StoredJwtKey, keys: list[Jwk]) -> list[tuple[PrivateKey, Jwk]]:
    """Returns the stored private keys, each with its key of the set.

    The first is the one that Dapr Sentry reads. A later one counts if the set has the time from which it signs.

    Args:
        stored: the private keys.
        keys: the key set.

    Raises:
        InvalidBundleError: the first is not a key, or not in the set.
    """
    found = []
    for number, key in enumerate(read_private_keys(stored.key)):
        member = next((each for each in keys if is_key(each, key.public_key())), None)
        if number == 0 and member is None:
            raise InvalidBundleError("JWKS doesn't contain a matching public key for the JWT signing key")
        if member is not None and (number == 0 or ((times := schedule_of(member)) and times.since)):
            found.append((key, member))
    return found


def _first(key: PrivateKey, keys: list[Jwk], key_id: str | None) -> SigningKey:
    public = key.public_key()
    same = [each for each in keys if is_key(each, public)]
    if key_id is None:
        if not same:
            raise InvalidBundleError("JWKS doesn't contain a matching public key for the JWT signing key")
        return _named(key, same[0])
    named = [each for each in keys if each.get("kid") == key_id]
    if not named:
        raise InvalidBundleError(f'JWKS doesn\'t contain a key with user-provided key ID "{key_id}"')
    if not any(is_key(each, public) for each in named):
        raise InvalidBundleError(
            f'JWKS contains a key with user-provided key ID "{key_id}" but the key content doesn\'t match the '
            "signing key"
        )
    return SigningKey(key, key_id)


def _named(key: PrivateKey, member: Jwk) -> SigningKey:
    """Returns a key with its name in the set, for verifiers."""
    times = schedule_of(member)
    return SigningKey(key, member.get("kid") or thumbprint(key.public_key()), None if times is None else times.since)


def _all_named(keys: list[Jwk], signing: list[SigningKey]) -> list[Jwk]:
    """Returns the set with a name for each signing key: verifiers look only for a token's `kid`."""
    named = []
    for member in keys:
        found = next(
            (each for each in signing if not member.get("kid") and is_key(member, each.key.public_key())), None
        )
        named.append(member if found is None else {**member, "kid": found.key_id})
    return named


def _signing_key(pem: bytes, algorithm: str) -> PrivateKey:
    try:
        key = read_private_key(pem)
    except InvalidBundleError as error:
        raise InvalidBundleError(
            f"failed to load JWT signing key: failed to decode JWT signing key: {error}"
        ) from error
    if not algorithm:
        raise InvalidBundleError("JWT signing algorithm required")
    if reason := _misfit(key, algorithm):
        raise _incompatible(algorithm, reason)
    return key


def _incompatible(algorithm: str, reason: str) -> InvalidBundleError:
    return InvalidBundleError(f"JWT signing key is incompatible with algorithm {algorithm}: {reason}")


def _unsupported(algorithm: str) -> str:
    return f"unsupported signature algorithm: {algorithm}"


def _misfit(key: PrivateKey, algorithm: str) -> str | None:
    """Returns the reason why a key does not fit an algorithm, in the words of Dapr Sentry 1.18 with Go's type names."""
    if algorithm in RSA_ALGORITHMS:
        wanted: type[PrivateKey] = rsa.RSAPrivateKey
        family, article = f"RSA algorithm {algorithm}", "an RSA"
    elif algorithm in _CURVES:
        wanted, family, article = ec.EllipticCurvePrivateKey, f"ECDSA algorithm {algorithm}", "an ECDSA"
    elif algorithm == _EDDSA:
        wanted, family, article = ed25519.Ed25519PrivateKey, "EdDSA algorithm", "an Ed25519"
    else:
        return _unsupported(algorithm)
    if not isinstance(key, wanted):
        return f"{family} requires {article} key, but got {_go_type(key)}"
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size < _RSA_BITS:
        # RFC 7518, 3.3 and 3.5; Dapr Sentry 1.18 signs with shorter ones if they are long enough for the hash.
        return f"{family} requires a key of {_RSA_BITS} bits or more, got {key.key_size}"
    if isinstance(key, ec.EllipticCurvePrivateKey) and not isinstance(key.curve, _CURVES[algorithm]):
        return f"{algorithm} requires a {_NAMES[_CURVES[algorithm]().name]} curve, got {_NAMES[key.curve.name]}"
    return None


def _go_type(key: PrivateKey) -> str:
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return "ed25519.PrivateKey"
    return "*rsa.PrivateKey" if isinstance(key, rsa.RSAPrivateKey) else "*ecdsa.PrivateKey"

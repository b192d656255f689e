"""The key that JWTs are signed with, and the key set that they are verified by: made, read, held to each other. Pure.

Imported only where JWTs are issued, as its library is.
"""

from base64 import b64encode
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final, assert_never

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey, import_key

from sentry_trio.ca.keys import PrivateKey, PublicKey, read_private_key, write_private_key
from sentry_trio.ca.published import PublishedKeys
from sentry_trio.errors import InvalidBundleError

_RSA: Final = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
_CURVES: Final[dict[str, type[ec.EllipticCurve]]] = {
    "ES256": ec.SECP256R1,
    "ES384": ec.SECP384R1,
    "ES512": ec.SECP521R1,
}
_NAMES: Final = {"secp224r1": "P-224", "secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}
_EDDSA: Final = "EdDSA"
_RSA_BITS: Final = 2048
_MOST_KEYS: Final = 100
# What takes part in a thumbprint: RFC 7638, 3.2, and RFC 8037, 2.
_REQUIRED: Final = {"RSA": ("e", "kty", "n"), "EC": ("crv", "kty", "x", "y"), "OKP": ("crv", "kty", "x")}
# Members that only private and secret keys have: RFC 7518, 6.2.2, 6.3.2 and 6.4.1.
_PRIVATE: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})


@dataclass(frozen=True, slots=True)
class StoredJwtKey:
    """A signing key and its key set as they are stored; nothing is verified.

    Attributes:
        key: private key, PEM.
        jwks: JSON Web Key Set (RFC 7517).
    """

    key: bytes
    jwks: bytes

    def __repr__(self) -> str:
        """Without the key."""
        return f"StoredJwtKey(jwks={self.jwks!r})"


@dataclass(frozen=True, slots=True, repr=False)
class JwtKey:
    """A signing key that was held to its key set.

    Attributes:
        key: signs.
        algorithm: by which (RFC 7518, 3.1).
        key_id: named in each token's header.
        published: what tokens are verified by.
    """

    key: PrivateKey
    algorithm: str
    key_id: str
    published: PublishedKeys


def generate_jwt_key(algorithm: str, key_id: str | None) -> StoredJwtKey:
    """Makes a key that fits an algorithm, and its key set.

    Dapr Sentry 1.18 makes RSA keys whatever the algorithm, and writes a key set that names the thumbprint even where
    `--jwt-key-id` says otherwise; neither loads a second time.

    Raises:
        InvalidBundleError: the algorithm is not known.
    """
    key: PrivateKey
    if algorithm in _RSA:
        key = rsa.generate_private_key(public_exponent=65537, key_size=_RSA_BITS)
    elif algorithm in _CURVES:
        key = ec.generate_private_key(_CURVES[algorithm]())
    elif algorithm == _EDDSA:
        key = ed25519.Ed25519PrivateKey.generate()
    else:
        raise _incompatible(algorithm, _unsupported(algorithm))
    pem = write_private_key(key)
    return StoredJwtKey(pem, compose_jwks(pem, algorithm, key_id))


def compose_jwks(pem: bytes, algorithm: str, key_id: str | None) -> bytes:
    """The key set of a signing key alone, with members in the order of the alphabet, as Dapr Sentry 1.18 writes it.

    Raises:
        InvalidBundleError: it is no key, or none for the algorithm.
    """
    public = _public(_signing_key(pem, algorithm))
    member = {**_members(public), "alg": algorithm, "kid": key_id or thumbprint(public), "use": "sig"}
    return _json({"keys": [member]})


def verify_jwt_key(stored: StoredJwtKey, algorithm: str, key_id: str | None) -> JwtKey:
    """Holds a signing key to its algorithm and its key set, with Dapr Sentry 1.18's texts.

    Beyond Dapr Sentry, a key set with private keys is refused, as it would be published.

    Args:
        stored: both.
        algorithm: `--jwt-signing-algorithm`.
        key_id: `--jwt-key-id`; None means the thumbprint, or what the key set itself calls the key.

    Raises:
        InvalidBundleError: what is wrong.
    """
    key = _signing_key(stored.key, algorithm)
    public = _public(key)
    keys = read_jwks(stored.jwks)
    same = [each for each in keys if _is(each, public)]
    if key_id is None:
        if not same:
            raise InvalidBundleError("JWKS doesn't contain a matching public key for the JWT signing key")
        # A verifier looks for what the set says.
        key_id = same[0].get("kid") or thumbprint(public)
    else:
        named = [each for each in keys if each.get("kid") == key_id]
        if not named:
            raise InvalidBundleError(f'JWKS doesn\'t contain a key with user-provided key ID "{key_id}"')
        if not any(_is(each, public) for each in named):
            raise InvalidBundleError(
                f'JWKS contains a key with user-provided key ID "{key_id}" but the key content doesn\'t match the '
                "signing key"
            )
    return JwtKey(key, algorithm, key_id, PublishedKeys(_json({"keys": keys}), algorithm))


def read_jwks(text: bytes) -> list[dict[str, Any]]:
    """Reads public keys: an object with `keys`, or a single key.

    Raises:
        InvalidBundleError: it is none, has no keys or more than 100, or a private one among them.
    """
    try:
        document = msgspec.json.decode(text, type=dict[str, Any])
        keys = msgspec.convert(document.get("keys", [document]), list[dict[str, Any]])
    except (msgspec.DecodeError, UnicodeError) as error:
        raise _unreadable(error) from error
    if not keys:
        raise InvalidBundleError("failed to verify JWKS: JWKS doesn't contain any keys")
    if len(keys) > _MOST_KEYS:
        raise InvalidBundleError(f"failed to verify JWKS: more than {_MOST_KEYS} keys")
    for each in keys:
        if private := sorted(_PRIVATE & each.keys()):
            raise InvalidBundleError(
                f"failed to verify JWKS: key {each.get('kid', '')!r} is not public, as it has {', '.join(private)}: "
                "it would be published; leave out all but its public members"
            )
        try:
            import_key(each)
        except (JoseError, ValueError, KeyError, TypeError) as error:
            raise _unreadable(error) from error
    return keys


def _unreadable(error: Exception) -> InvalidBundleError:
    return InvalidBundleError(f"failed to verify JWKS: failed to parse JWKS: {error}")


def thumbprint(key: PublicKey) -> str:
    """SHA-256 thumbprint (RFC 7638) in standard base64 with padding, which is unusual and what Dapr Sentry 1.18 has."""
    return b64encode(sha256(_json(_members(key))).digest()).decode()


def _members(key: PublicKey) -> dict[str, Any]:
    members: dict[str, Any] = _jose(key).as_dict(private=False)
    return {name: members[name] for name in _REQUIRED[members["kty"]]}


def _jose(key: PublicKey) -> Key:
    match key:
        case rsa.RSAPublicKey():
            return RSAKey(key, key)
        case ec.EllipticCurvePublicKey():
            return ECKey(key, key)
        case ed25519.Ed25519PublicKey():
            return OKPKey(key, key)
        case _:
            assert_never(key)


def _is(member: dict[str, Any], key: PublicKey) -> bool:
    """Whether a key of a set is this one, and is for signatures; names and algorithms do not matter."""
    if member.get("use", "sig") != "sig":
        return False
    own = _members(key)
    theirs = import_key(member).as_dict(private=False)
    return {name: theirs.get(name) for name in own} == own


def _public(key: PrivateKey) -> PublicKey:
    return key.public_key()


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
    """Why a key does not fit an algorithm, in the words of Dapr Sentry 1.18, with Go's names of types."""
    if algorithm in _RSA:
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
    if isinstance(key, ec.EllipticCurvePrivateKey) and not isinstance(key.curve, _CURVES[algorithm]):
        return f"{algorithm} requires a {_NAMES[_CURVES[algorithm]().name]} curve, got {_NAMES[key.curve.name]}"
    return None


def _go_type(key: PrivateKey) -> str:
    match key:
        case rsa.RSAPrivateKey():
            return "*rsa.PrivateKey"
        case ec.EllipticCurvePrivateKey():
            return "*ecdsa.PrivateKey"
        case ed25519.Ed25519PrivateKey():
            return "ed25519.PrivateKey"
        case _:
            assert_never(key)


def _json(value: object) -> bytes:
    return msgspec.json.encode(value, order="sorted")

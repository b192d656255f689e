"""Public keys as JSON (RFC 7517), and signatures checked by them."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final, TypeAlias

import msgspec
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from sentry_trio.tokens.compact import InvalidTokenError, split_token

# Each algorithm belongs to one kind of key. Where that is checked no token can have a public key taken for a shared
# secret (RFC 8725, section 3.1).
PKCS1: Final = frozenset({"RS256", "RS384", "RS512"})
PSS: Final = frozenset({"PS256", "PS384", "PS512"})
ECDSA: Final = frozenset({"ES256", "ES384", "ES512"})
EDDSA: Final = frozenset({"EdDSA"})
HMAC: Final = frozenset({"HS256", "HS384", "HS512"})

_CURVES: Final = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}
# Bytes that a shared secret has at least: as many as the hash (RFC 7518, section 3.2).
_SECRETS: Final = {"HS256": 32, "HS384": 48, "HS512": 64}

# A base64 character carries six bits. A modulus below 2048 bits is rejected (RFC 7518, section 3.3); one beyond
# 8192, or a large exponent, takes milliseconds for each received token.
_SHORTEST_MODULUS: Final = 2048 // 6
_LONGEST_MODULUS: Final = -(-8192 // 6)
_LONGEST_EXPONENT: Final = 6
_LONGEST_SECRET: Final = 1024
# Characters of a text that a message shows.
_SHOWN: Final = 40

# Members whose value is base64url without padding (RFC 7518, 6).
_BASE64URL: Final = frozenset({"n", "e", "x", "y", "k", "d", "p", "q", "dp", "dq", "qi"})
_TO_BASE64URL: Final = str.maketrans("+/", "-_")

Key: TypeAlias = RSAKey | ECKey | OKPKey | OctKey


class VerificationKey(msgspec.Struct, frozen=True):
    """A key that signatures are checked by.

    Attributes:
        key: the key.
        algorithms: those that it verifies, a single one where the key says so.
    """

    key: Key
    algorithms: frozenset[str]

    def verifies(self, token: bytes, algorithm: str) -> bool:
        """True if the signature of a compact token is by this key; `algorithm` is the one in the token's header."""
        if algorithm not in self.algorithms:
            return False
        try:
            compact = split_token(token)
            # Not by joserfc's own reading of tokens, which takes no header with a name that it does not know.
            return JWSRegistry.algorithms[algorithm].verify(compact.signed, compact.signature, self.key)
        except (InvalidTokenError, JoseError, ValueError):
            return False


class DroppedKey(msgspec.Struct, frozen=True):
    """A key of a set that cannot be used.

    Attributes:
        kid: its ID; None if it has none.
        reason: the reason, one line without any part of the key.
    """

    kid: str | None
    reason: str


class ReadKeys(msgspec.Struct, frozen=True):
    """Keys of a set.

    Attributes:
        usable: keys by ID; of several with one ID, the first.
        dropped: the others, in their order.
    """

    usable: Mapping[str, VerificationKey]
    dropped: tuple[DroppedKey, ...]


def normalized(jwk: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a key without null members, and with numbers in base64url without padding.

    Go's libraries, and so Dapr Sentry 1.18, treat a null member as absent and read padded and standard base64 as well;
    key sets of both kinds are in use.
    """
    return {name: _without_padding(name, value) for name, value in jwk.items() if value is not None}


def _without_padding(name: str, value: object) -> object:
    if name in _BASE64URL and isinstance(value, str):
        return value.rstrip("=").translate(_TO_BASE64URL)
    return value


class _Jwk(msgspec.Struct):
    """The members of a JWK that matter; private halves are not even read."""

    kid: str = ""
    kty: str = ""
    alg: str = ""
    use: str = "sig"
    n: str = ""
    e: str = ""
    crv: str = ""
    x: str = ""
    y: str = ""
    k: str = ""


def read_keys(members: Iterable[object], accepted: Collection[str]) -> ReadKeys:
    """Reads the keys of a set; those that cannot be used are left out (RFC 7517, 5) and named with the reason.

    A key without ID is not usable here. Null members, padding and standard base64 are accepted: see `normalized`.

    Args:
        members: members of the set, from JSON.
        accepted: the algorithms that tokens may be signed by.
    """
    usable: dict[str, VerificationKey] = {}
    dropped: list[DroppedKey] = []
    for member in members:
        kid = member.get("kid") if isinstance(member, Mapping) else None
        shown = kid if isinstance(kid, str) and kid else None
        try:
            described = _describe(member, usable)
            usable[described.kid] = _verification_key(described, frozenset(accepted))
        except _UnusableError as error:
            dropped.append(DroppedKey(shown, str(error)))
    return ReadKeys(usable, tuple(dropped))


class _UnusableError(Exception):
    """A key cannot be used; the text is the reason."""


def _describe(member: object, earlier: Collection[str]) -> _Jwk:
    """Reads the members of a key.

    Raises:
        _UnusableError: it is not a key, has no ID or the ID of an earlier key, or is not for signatures.
    """
    if not isinstance(member, Mapping):
        raise _UnusableError("it is not a JSON object")
    members = normalized(member)
    for name in _Jwk.__struct_fields__:
        if not isinstance(members.get(name, ""), str):
            raise _UnusableError(f'its "{name}" is not a string')
    described = msgspec.convert(members, _Jwk)
    if not described.kid:
        raise _UnusableError('it has no ID ("kid")')
    if described.kid in earlier:
        raise _UnusableError("an earlier key has the same ID")
    if described.use != "sig":
        raise _UnusableError(f'its "use" is {described.use[:_SHOWN]!r}, not "sig"')
    return described


def _verification_key(jwk: _Jwk, accepted: frozenset[str]) -> VerificationKey:
    """Returns the key with the algorithms that it verifies.

    Raises:
        _UnusableError: it verifies none that is accepted, or its numbers do not form a key.
    """
    algorithms = _algorithms(jwk)
    if not algorithms & accepted:
        raise _UnusableError("no accepted algorithm uses a key of its kind")
    if jwk.alg:
        algorithms &= {jwk.alg}
    if not algorithms & accepted:
        raise _UnusableError(f'its "alg", {jwk.alg[:_SHOWN]!r}, is not an algorithm of its kind that is accepted here')
    try:
        return VerificationKey(_key(jwk), algorithms & accepted)
    except (ValueError, JoseError) as error:
        raise _UnusableError("its numbers do not form a key") from error


def _algorithms(jwk: _Jwk) -> frozenset[str]:
    """Returns the algorithms that a key of this kind and size can verify.

    Raises:
        _UnusableError: there is none.
    """
    match jwk.kty:
        case "RSA":
            # Zeros in front, `A` in base64, make a number no greater.
            if len(jwk.n.lstrip("A")) <= _SHORTEST_MODULUS:
                raise _UnusableError("its RSA modulus has less than 2048 bits")
            if len(jwk.n) > _LONGEST_MODULUS or len(jwk.e) > _LONGEST_EXPONENT:
                raise _UnusableError("its RSA modulus has more than 8192 bits, or its exponent more than 32")
            return PKCS1 | PSS
        case "EC" if jwk.crv in _CURVES:
            return frozenset({_CURVES[jwk.crv]})
        case "OKP" if jwk.crv == "Ed25519":
            return EDDSA
        case "EC" | "OKP":
            raise _UnusableError(f"its curve, {jwk.crv[:_SHOWN]!r}, is not supported")
        case "oct":
            if len(jwk.k) > _LONGEST_SECRET or len(jwk.k) * 6 < 8 * min(_SECRETS.values()):
                raise _UnusableError("its secret is shorter than 256 bits or longer than 6144")
            return frozenset(name for name, least in _SECRETS.items() if len(jwk.k) * 6 >= least * 8)
        case _:
            raise _UnusableError(f'its "kty", {jwk.kty[:_SHOWN]!r}, is not supported')


def _key(jwk: _Jwk) -> Key:
    """The key itself.

    Raises:
        ValueError: its numbers make none.
        JoseError: likewise.
    """
    if jwk.kty == "RSA":
        return RSAKey.import_key({"kty": "RSA", "n": jwk.n, "e": jwk.e})
    if jwk.kty == "EC":
        return ECKey.import_key({"kty": "EC", "crv": jwk.crv, "x": jwk.x, "y": jwk.y})
    if jwk.kty == "OKP":
        return OKPKey.import_key({"kty": "OKP", "crv": jwk.crv, "x": jwk.x})
    return OctKey.import_key({"kty": "oct", "k": jwk.k})

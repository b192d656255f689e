"""The public keys that a cluster signs its service account tokens with, as its API server publishes them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey

from sentry_trio.errors import SentryError

# What API servers sign with and accept. Each belongs to one kind of key: where it is checked, no token can have a
# public key taken for a shared secret.
_RSA: Final = frozenset({"RS256", "RS384", "RS512"})
_CURVES: Final = {"P-256": frozenset({"ES256"}), "P-384": frozenset({"ES384"}), "P-521": frozenset({"ES512"})}
ALGORITHMS: Final = _RSA.union(*_CURVES.values())
"""The signature algorithms that tokens are checked by here; all are asymmetric."""

# Enough for any rotation; a document is not trusted to be small.
_MOST_KEYS: Final = 64
# The smallest modulus that is still believed: 2048 bits, of which a base64 character carries six.
_SHORTEST_MODULUS: Final = 2048 // 6


class InvalidKeysError(SentryError):
    """A document is no set of keys, or no description of an issuer."""


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """One public key of a cluster.

    Attributes:
        key: the key.
        algorithms: those that it verifies, a single one where the key says so.
    """

    key: RSAKey | ECKey
    algorithms: frozenset[str]

    def verifies(self, token: bytes, algorithm: str) -> bool:
        """Whether the signature of a compact JWT is by this key; `algorithm` is the one in the token's header.

        Raises:
            JoseError: the signature cannot be checked.
        """
        if algorithm not in self.algorithms:
            return False
        return jws.validate_compact(jws.extract_compact(token), self.key, [algorithm])


class _Key(msgspec.Struct):
    """The members of a JWK (RFC 7517) that matter; private ones are not even read."""

    kid: str
    kty: str
    alg: str = ""
    use: str = "sig"
    n: str = ""
    e: str = ""
    crv: str = ""
    x: str = ""
    y: str = ""


class _Discovery(msgspec.Struct):
    issuer: str


def read_issuer(document: Mapping[str, Any]) -> str:
    """The issuer that a discovery document (OpenID Connect Discovery 1.0, section 3) tells of.

    Raises:
        InvalidKeysError: there is none in it.
    """
    try:
        issuer = msgspec.convert(document, _Discovery).issuer
    except msgspec.ValidationError as error:
        raise InvalidKeysError(f"no issuer in the API server's discovery document: {error}") from error
    if not issuer:
        raise InvalidKeysError("the issuer in the API server's discovery document is empty")
    return issuer


def read_keys(document: Mapping[str, Any]) -> dict[str, VerificationKey]:
    """The usable keys of a JWK set, by key ID; others are left out, as RFC 7517, section 5, has it.

    Raises:
        InvalidKeysError: there is no usable key in it.
    """
    members = document.get("keys")
    found: dict[str, VerificationKey] = {}
    for kid, key in _usable(members[:_MOST_KEYS] if isinstance(members, list) else []):
        found.setdefault(kid, key)
    if not found:
        raise InvalidKeysError("no key to check tokens with in the API server's JWK set")
    return found


def _usable(members: list[object]) -> Iterator[tuple[str, VerificationKey]]:
    for member in members:
        try:
            described = msgspec.convert(member, _Key)
            if described.use == "sig" and (key := _key(described)):
                yield described.kid, key
        except (ValueError, JoseError):  # msgspec's errors are ValueErrors
            continue


def _key(jwk: _Key) -> VerificationKey | None:
    if jwk.kty == "RSA" and len(jwk.n) > _SHORTEST_MODULUS:
        return _bound(RSAKey.import_key({"kty": "RSA", "n": jwk.n, "e": jwk.e}), jwk.alg, _RSA)
    if jwk.kty == "EC" and jwk.crv in _CURVES:
        return _bound(
            ECKey.import_key({"kty": "EC", "crv": jwk.crv, "x": jwk.x, "y": jwk.y}), jwk.alg, _CURVES[jwk.crv]
        )
    return None


def _bound(key: RSAKey | ECKey, algorithm: str, fitting: frozenset[str]) -> VerificationKey | None:
    algorithms = fitting & {algorithm} if algorithm else fitting
    return VerificationKey(key, algorithms) if algorithms else None

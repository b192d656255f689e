"""Public keys as JSON (RFC 7517), and signatures checked by them."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

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

# A base64 character carries six bits. A modulus below 2048 bits is not believed (RFC 7518, section 3.3); one beyond
# 8192, or a large exponent, takes milliseconds for each token that anybody sends.
_SHORTEST_MODULUS: Final = 2048 // 6
_LONGEST_MODULUS: Final = -(-8192 // 6)
_LONGEST_EXPONENT: Final = 6
_LONGEST_SECRET: Final = 1024

Key: TypeAlias = RSAKey | ECKey | OKPKey | OctKey


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """A key that signatures are checked by.

    Attributes:
        key: the key.
        algorithms: those that it verifies, a single one where the key says so.
    """

    key: Key
    algorithms: frozenset[str]

    def verifies(self, token: bytes, algorithm: str) -> bool:
        """Whether the signature of a compact token is by this key; `algorithm` is the one in the token's header."""
        if algorithm not in self.algorithms:
            return False
        try:
            compact = split_token(token)
            # Not by joserfc's own reading of tokens, which takes no header with a name that it does not know.
            return JWSRegistry.algorithms[algorithm].verify(compact.signed, compact.signature, self.key)
        except (InvalidTokenError, JoseError, ValueError):
            return False


class _Jwk(msgspec.Struct):
    """The members of a JWK that matter; private halves are not even read."""

    kid: str
    kty: str
    alg: str = ""
    use: str = "sig"
    n: str = ""
    e: str = ""
    crv: str = ""
    x: str = ""
    y: str = ""
    k: str = ""


def read_keys(members: Iterable[object], accepted: Collection[str]) -> dict[str, VerificationKey]:
    """The usable ones of a set's keys, by key ID; others are left out, as RFC 7517, section 5, has it.

    Of several with one ID the first counts. A key without ID is not usable here.

    Args:
        members: of the set, as JSON has them.
        accepted: the algorithms that tokens may be signed by.
    """
    found: dict[str, VerificationKey] = {}
    for kid, key in _usable(members, frozenset(accepted)):
        found.setdefault(kid, key)
    return found


def _usable(members: Iterable[object], accepted: frozenset[str]) -> Iterator[tuple[str, VerificationKey]]:
    for member in members:
        try:
            described = msgspec.convert(member, _Jwk)
            if described.use != "sig" or not (algorithms := _algorithms(described) & accepted):
                continue
            if described.alg:
                algorithms &= {described.alg}
            if algorithms:
                yield described.kid, VerificationKey(_key(described), algorithms)
        except (ValueError, JoseError):  # msgspec's errors are ValueErrors
            continue


def _algorithms(jwk: _Jwk) -> frozenset[str]:
    """What a key of this kind and size can verify."""
    if jwk.kty == "RSA":
        # Zeros in front, `A` in base64, make a number no greater.
        long_enough = len(jwk.n.lstrip("A")) > _SHORTEST_MODULUS
        fits = long_enough and len(jwk.n) <= _LONGEST_MODULUS and len(jwk.e) <= _LONGEST_EXPONENT
        return PKCS1 | PSS if fits else frozenset()
    if jwk.kty == "EC":
        return ECDSA & {_CURVES.get(jwk.crv, "")}
    if jwk.kty == "OKP":
        return EDDSA if jwk.crv == "Ed25519" else frozenset()
    if jwk.kty == "oct" and len(jwk.k) <= _LONGEST_SECRET:
        return frozenset(name for name, least in _SECRETS.items() if len(jwk.k) * 6 >= least * 8)
    return frozenset()


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

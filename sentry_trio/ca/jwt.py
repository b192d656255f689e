"""JWTs beside certificates: composed and signed. Pure; imported only where they are issued."""

import secrets
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from sentry_trio.ca.jwt_key import JwtKey
from sentry_trio.ca.keys import PrivateKey
from sentry_trio.ca.spiffe import SpiffeId

_ID_BYTES: Final = 16


class JwtIssuer:
    """Issues JWTs of one key, as Dapr Sentry 1.18 does.

    Args:
        key: signs.
        issuer: the claim `iss`; left out if empty or None.
        lifetime: of a token whose certificate lasts that long.
        allowed_clock_skew: how far back its validity begins.

    Attributes:
        published: what the tokens are verified by.
    """

    def __init__(self, key: JwtKey, *, issuer: str | None, lifetime: timedelta, allowed_clock_skew: timedelta) -> None:
        self.published = key.published
        self._issuer = issuer
        self._lifetime = lifetime
        self._skew = allowed_clock_skew
        self._algorithm = JWSRegistry.algorithms[key.algorithm]
        self._key = _jose(key.key)
        self._header = _part({"alg": key.algorithm, "kid": key.key_id, "typ": "JWT"})

    def issue(self, subject: SpiffeId, audiences: Sequence[str], *, now: datetime, not_after: datetime) -> str:
        """A compact JWS (RFC 7515, 3.1), members of header and claims in the order of the alphabet.

        Args:
            subject: who it speaks for.
            audiences: whom it is for, in this order.
            now: the present time, aware.
            not_after: the end of the certificate that it goes with, which no token outlives.
        """
        claims: dict[str, Any] = {
            "aud": list(audiences),
            "exp": int(min(now + self._lifetime, not_after).timestamp()),
            "iat": int(now.timestamp()),
            "jti": secrets.token_hex(_ID_BYTES),
            "nbf": int((now - self._skew).timestamp()),
            "sub": str(subject),
            "use": "sig",
        }
        if self._issuer:
            claims["iss"] = self._issuer
        signed = self._header + b"." + _part(claims)
        signature = self._algorithm.sign(signed, self._key)
        return (signed + b"." + _base64(signature)).decode("ascii")


def _jose(key: PrivateKey) -> Any:
    if isinstance(key, rsa.RSAPrivateKey):
        return RSAKey(key, key)
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return ECKey(key, key)
    return OKPKey(key, key)


def _part(members: dict[str, Any]) -> bytes:
    return _base64(msgspec.json.encode(members, order="sorted"))


def _base64(data: bytes) -> bytes:
    return urlsafe_b64encode(data).rstrip(b"=")

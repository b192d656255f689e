"""JWTs beside certificates: composed and signed. Pure; imported only where they are issued."""

import secrets
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from joserfc.jws import JWSRegistry

from sentry_trio.ca.jwk import jose_key
from sentry_trio.ca.jwt_key import JwtKeys, SigningKey
from sentry_trio.ca.signatures import signs_slowly
from sentry_trio.ca.spiffe import SpiffeId
from sentry_trio.errors import JwtError

_ID_BYTES: Final = 16
_ALWAYS: Final = datetime.min.replace(tzinfo=UTC)


class JwtIssuer:
    """Issues JWTs, as Dapr Sentry 1.18 does.

    Each is signed with the key whose time came last: during a rotation all who know the key set change over at the same
    moment, and need not be notified.

    Args:
        keys: sign.
        issuer: the claim `iss`; left out if empty or None.
        lifetime: of a token whose certificate lasts that long.
        allowed_clock_skew: how far back its validity begins.

    Raises:
        JwtError: a key cannot sign.

    Attributes:
        published: what the tokens are verified by.
        is_slow: true if a signature takes long enough to delay other calls.
    """

    def __init__(
        self, keys: JwtKeys, *, issuer: str | None, lifetime: timedelta, allowed_clock_skew: timedelta
    ) -> None:
        self.published = keys.published
        self.is_slow = any(signs_slowly(each.key) for each in keys.signing)
        self._issuer = issuer
        self._lifetime = lifetime
        self._skew = allowed_clock_skew
        self._algorithm = JWSRegistry.algorithms[keys.algorithm]
        latest_first = sorted(keys.signing, key=lambda each: each.since or _ALWAYS, reverse=True)
        self._signers = [_Signer(each, keys.algorithm) for each in latest_first]
        # The trial: a key that cannot do it, such as one of RSA that is too short for the hash, is rejected here.
        for signer in self._signers:
            self._sign(signer, b"")

    def issue(self, subject: SpiffeId, audiences: Sequence[str], *, now: datetime, not_after: datetime) -> str:
        """A compact JWS (RFC 7515, 3.1), members of header and claims in the order of the alphabet.

        Args:
            subject: who it speaks for.
            audiences: the claim `aud`, in this order.
            now: the present time, aware.
            not_after: the end of the certificate that it goes with, which no token outlives.

        Raises:
            JwtError: it cannot be signed.
        """
        claims: dict[str, Any] = {
            "aud": list(audiences),
            "exp": int((now + min(self._lifetime, not_after - now)).timestamp()),
            "iat": int(now.timestamp()),
            "jti": secrets.token_hex(_ID_BYTES),
            "nbf": int((now - self._skew).timestamp()),
            "sub": str(subject),
            "use": "sig",
        }
        if self._issuer:
            claims["iss"] = self._issuer
        signer = self._signer(now)
        signed = signer.header + b"." + _part(claims)
        return (signed + b"." + _base64(self._sign(signer, signed))).decode("ascii")

    def _sign(self, signer: "_Signer", signed: bytes) -> bytes:
        try:
            signature: bytes = self._algorithm.sign(signed, signer.key)
        except (ValueError, UnsupportedAlgorithm) as error:
            raise JwtError(f"key {signer.key_id!r} cannot sign by {self._algorithm.name}: {error}") from error
        return signature

    def _signer(self, now: datetime) -> "_Signer":
        # The last one is the oldest; it signs if a clock says that no key's time has come yet.
        return next((each for each in self._signers if each.since <= now), self._signers[-1])


class _Signer:
    """A key as it is used: with the header that its tokens have in common."""

    def __init__(self, signing: SigningKey, algorithm: str) -> None:
        self.key_id = signing.key_id
        self.since = signing.since or _ALWAYS
        self.key = jose_key(signing.key)
        self.header = _part({"alg": algorithm, "kid": signing.key_id, "typ": "JWT"})


def _part(members: dict[str, Any]) -> bytes:
    return _base64(msgspec.json.encode(members, order="sorted"))


def _base64(data: bytes) -> bytes:
    return urlsafe_b64encode(data).rstrip(b"=")

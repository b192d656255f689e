"""JWTs beside certificates: composed and signed. Pure; imported only where they are issued."""

import secrets
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from joserfc.jws import JWSRegistry

from sentry_trio.ca.jwk import jose_key
from sentry_trio.ca.jwt_key import ALWAYS, JwtKeys, SigningKey
from sentry_trio.ca.signatures import signing_seconds
from sentry_trio.ca.spiffe import SpiffeId
from sentry_trio.errors import JwtError

_ID_BYTES: Final = 16


class JwtIssuer:
    """Issues JWTs, as Dapr Sentry 1.18 does.

    Each is signed with the key whose time came last: during a rotation all processes with the key set switch at the
    same moment, without a notification.

    Args:
        keys: signing keys.
        issuer: the claim `iss`; omitted if empty or None.
        lifetime: lifetime of a token, unless its certificate ends earlier.
        allowed_clock_skew: time before its issue at which its validity begins.

    Raises:
        JwtError: a key cannot sign.

    Attributes:
        published: public keys that verify the tokens.
        signing_seconds: approximate CPU time of a signature, in seconds.
    """

    def __init__(
        self, keys: JwtKeys, *, issuer: str | None, lifetime: timedelta, allowed_clock_skew: timedelta
    ) -> None:
        self.published = keys.published
        self.signing_seconds = max(signing_seconds(each.key) for each in keys.signing)
        self._issuer = issuer
        self._lifetime = lifetime
        self._skew = allowed_clock_skew
        self._algorithm = JWSRegistry.algorithms[keys.algorithm]
        latest_first = sorted(keys.signing, key=lambda each: each.since or ALWAYS, reverse=True)
        self._signers = [_Signer(each, keys.algorithm) for each in latest_first]
        # The trial: a key that cannot sign, e.g. an RSA key that is too short for the hash, is rejected here.
        for signer in self._signers:
            self._sign(signer, b"")

    def issue(self, subject: SpiffeId, audiences: Sequence[str], *, now: datetime, not_after: datetime) -> str:
        """Returns a compact JWS (RFC 7515, 3.1), with members of header and claims in the order of the alphabet.

        Args:
            subject: the claim `sub`.
            audiences: the claim `aud`, in this order.
            now: the current time, aware.
            not_after: end of the certificate beside it, which no token outlives.

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
        # The last one is the oldest; it signs if no key's time has come yet by this clock.
        return next((each for each in self._signers if each.since <= now), self._signers[-1])


class _Signer:
    """Key with the header that its tokens have in common."""

    def __init__(self, signing: SigningKey, algorithm: str) -> None:
        self.key_id = signing.key_id
        self.since = signing.since or ALWAYS
        self.key = jose_key(signing.key)
        self.header = _part({"alg": algorithm, "kid": signing.key_id, "typ": "JWT"})


def _part(members: dict[str, Any]) -> bytes:
    return _base64(msgspec.json.encode(members, order="sorted"))


def _base64(data: bytes) -> bytes:
    return urlsafe_b64encode(data).rstrip(b"=")

"""Facts about JWTs and their keys for modules that issue none; imported without the library."""

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, Protocol

import msgspec

from sentry_trio.ca.spiffe import SpiffeId

MAX_AGE: Final = timedelta(hours=1)
"""Time for which the key set may be cached, as in Dapr Sentry 1.18."""


class PublishedKeys(msgspec.Struct, frozen=True):
    """Public keys of a run's tokens.

    Attributes:
        jwks: canonical compact JSON of the public key set (RFC 7517).
        algorithm: JWS algorithm of the tokens, e.g. `RS256` (RFC 7518, 3.1).
        max_age: time for which the key set may be cached.
    """

    jwks: bytes
    algorithm: str
    max_age: timedelta = MAX_AGE

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the key set in hex; equal on replicas that agree."""
        return hashlib.sha256(self.jwks).hexdigest()


class Jwts(Protocol):
    """Makes JWTs; see `jwt.JwtIssuer`.

    Attributes:
        published: public keys that verify them.
        signing_seconds: approximate CPU time of a signature, in seconds.
    """

    published: PublishedKeys
    signing_seconds: float

    def issue(self, subject: SpiffeId, audiences: Sequence[str], *, now: datetime, not_after: datetime) -> str:
        """Returns a compact JWS for a subject and these audiences.

        Raises:
            JwtError: it cannot be signed.
        """

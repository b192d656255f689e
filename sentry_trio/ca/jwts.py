"""What whoever hands out JWTs needs of whoever makes them; costs nothing where none are made."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from sentry_trio.ca.published import PublishedKeys
from sentry_trio.ca.spiffe import SpiffeId


class Jwts(Protocol):
    """Makes JWTs; see `jwt.JwtIssuer`.

    Attributes:
        published: what they are verified by.
    """

    published: PublishedKeys

    def issue(self, subject: SpiffeId, audiences: Sequence[str], *, now: datetime, not_after: datetime) -> str:
        """A compact JWS that speaks for a subject to these audiences.

        Raises:
            JwtError: it cannot be signed.
        """

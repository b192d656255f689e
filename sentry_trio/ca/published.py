"""What the world is told of the keys that JWTs are signed with."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PublishedKeys:
    """The public keys that a run's tokens verify with.

    Attributes:
        jwks: canonical compact JSON of the public key set (RFC 7517).
        algorithm: the JWS algorithm that tokens are signed with, e.g. `RS256` (RFC 7518, 3.1).
    """

    jwks: bytes
    algorithm: str

"""The list of all deliberate differences from Dapr Sentry; docs/differences.md is generated from it."""

from collections.abc import Mapping
from typing import Final

from . import cluster, credentials, helm, jwks, jwts, oidc, running, signing, starting
from .entry import Difference

AREAS: Final[Mapping[str, tuple[Difference, ...]]] = {
    "Starting": starting.ENTRIES,
    "Credentials": credentials.ENTRIES,
    "Signing": signing.ENTRIES,
    "Running": running.ENTRIES,
    "In a cluster": cluster.ENTRIES,
    "OIDC": oidc.ENTRIES,
    "Helm": helm.ENTRIES,
    "JWTs": jwts.ENTRIES,
    "The jwks validator": jwks.ENTRIES,
}
"""The differences by the heading under which the documentation lists them."""

DIFFERENCES: Final = tuple(entry for entries in AREAS.values() for entry in entries)
BY_ID: Final = {entry.id: entry for entry in DIFFERENCES}

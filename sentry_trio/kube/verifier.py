"""Local verification of tokens, by the cluster's public keys."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Final

from sentry_trio.errors import NotPermittedError
from sentry_trio.grpc.admission import Network
from sentry_trio.kube.keys import ALGORITHMS, ClusterKeys
from sentry_trio.kube.tokens import (
    Caller,
    Claims,
    Header,
    TokenChecker,
    caller_of,
    encode_token,
    read_claims,
    read_header,
    read_subject,
    unstructured,
    wrong_audience,
)

LEEWAY: Final = timedelta(minutes=1)
"""Tolerated difference between this clock and the API server's, which tolerates as much itself."""


class LocalVerifier:
    """Verifies the cluster's own tokens, for a tenth of the CPU of a review and without a request to the API server.

    Tokens that the cluster's keys cannot decide are reviewed: those that are not a JWT or have an unusual
    header, other issuers' tokens, keys that are not known even after one refresh, algorithms that are not expected,
    tokens without an expiry or without the UID of their pod, and those that are not valid yet, because this
    machine's clock may be slow.

    A token is accepted until it expires, even if its service account has been deleted. The caller has to look up the
    pod by its UID.

    Args:
        keys: the cluster's public keys.
        reviewer: decides on tokens that these keys cannot decide.
        audiences: a token must be for one of them.
        now: the wall clock; aware.
    """

    def __init__(
        self, keys: ClusterKeys, reviewer: TokenChecker, audiences: Sequence[str], *, now: Callable[[], datetime]
    ) -> None:
        self._keys = keys
        self._reviewer = reviewer
        self._audiences = tuple(audiences)
        self._now = now

    async def check(self, token: str, network: Network) -> Caller:
        """Returns the caller that the token authenticates.

        Raises:
            NotPermittedError: it authenticates no pod of this cluster, and never will; the texts are the reviewer's if
                it has one for the case.
            ApiUnavailableError: the reviewer was needed and unavailable.

        Cancellation: at once.
        """
        encoded = encode_token(token)
        return await self._verify(encoded) or await self._reviewer.check(token, network)

    async def _verify(self, token: bytes) -> Caller | None:
        """Returns the caller of a token; None if the reviewer must decide."""
        header = read_header(token)
        if header is None:
            return None
        if _is_forgeable(header.alg):
            raise NotPermittedError("invalid token: its signature algorithm is not accepted")
        if header.alg not in ALGORITHMS:
            return None
        claims = read_claims(token)
        if not await self._is_signed(token, header, claims):
            return None
        return self._caller_of_signed(claims)

    async def _is_signed(self, token: bytes, header: Header, claims: Claims) -> bool:
        """Returns True if the cluster has signed the token; False if the reviewer must decide.

        Raises:
            NotPermittedError: the signature is not valid.
        """
        key = await self._keys.find(claims.issuer, header.kid)
        if key is None:
            return False
        if not key.verifies(token, header.alg):
            raise NotPermittedError("invalid token: its signature is not the cluster's")
        return True

    def _caller_of_signed(self, claims: Claims) -> Caller | None:
        """Returns the caller of signed claims; None if they are incomplete."""
        now = self._now()
        if claims.expires_at is None or (claims.not_before is not None and claims.not_before > now + LEEWAY):
            return None
        if claims.expires_at < now - LEEWAY:
            raise NotPermittedError("invalid token: it has expired")
        if not set(self._audiences).intersection(claims.audiences):
            raise wrong_audience(self._audiences)
        namespace, service_account = read_subject(claims.subject)
        if (namespace, service_account) != (claims.namespace, claims.service_account):
            raise unstructured()
        caller = caller_of(claims, namespace, service_account)
        return None if caller.pod_uid is None else caller


def _is_forgeable(algorithm: str) -> bool:
    """Returns True if anyone can make such a signature: without a key, or with a public one."""
    return algorithm.lower() == "none" or algorithm.upper().startswith("HS")

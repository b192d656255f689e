"""Public keys that a cluster signs its service account tokens with, as its API server publishes them."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, Final

import msgspec
import trio

from sentry_trio.conditions import Condition, Conditions
from sentry_trio.errors import ApiRejectedError, ApiUnavailableError, ApiUnreachableError, SentryError
from sentry_trio.key_cache import PAUSE, KeyCache
from sentry_trio.telemetry.logs import get_logger
from sentry_trio.tokens import keys
from sentry_trio.tokens.keys import ECDSA, PKCS1, VerificationKey

DISCOVERY: Final = "/.well-known/openid-configuration"
JWKS: Final = "/openid/v1/jwks"

REFRESH: Final = 300.0
"""Seconds from one refresh to the next by default; a key that was withdrawn from the set is accepted that long."""

ALGORITHMS: Final = PKCS1 | ECDSA
"""The signature algorithms that API servers sign with and accept; all are asymmetric."""

# Enough for any rotation; a document is not trusted to be small.
_MOST_KEYS: Final = 64


_log: Final = get_logger("dapr.sentry.identity.kubernetes")


class ClusterKeys(KeyCache[VerificationKey]):
    """Issuer and public keys of the cluster's service account tokens, from its API server.

    If the API server cannot be reached, the last good set is kept. Reading needs the permissions of the ClusterRole
    `system:service-account-issuer-discovery`, which every service account has by default.

    Args:
        get: reads a JSON document of the API server; raises ApiUnavailableError if it may succeed later, else
            ApiRejectedError.
        refresh: seconds from one refresh to the next, 10 s if that fails.
        condition: set while the set cannot be read.

    Attributes:
        issuer: issuer of the cluster's tokens; None while no set has been read.
    """

    def __init__(
        self,
        get: Callable[[str], Awaitable[dict[str, Any]]],
        *,
        refresh: float = REFRESH,
        condition: Condition | None = None,
    ) -> None:
        super().__init__()
        self.issuer: str | None = None
        self._get = get
        self._refresh_interval = refresh
        self._condition = condition or Conditions().condition("cluster-keys")
        self._failing = False

    async def find(self, issuer: str, kid: str) -> VerificationKey | None:
        """Returns the key with ID `kid` of the cluster's issuer; None if key or issuer are not known.

        Cancellation: at once.
        """
        if self.issuer not in {None, issuer}:
            return None
        with suppress(trio.TooSlowError):
            await self.lookup(kid)
        # The reading may have brought another issuer.
        return (self.keys or {}).get(kid) if self.issuer == issuer else None

    async def _load(self) -> float:
        try:
            issuer = read_issuer(await self._get(DISCOVERY))
            keys = read_keys(await self._get(JWKS))
        except (ApiUnavailableError, ApiRejectedError, InvalidKeysError) as error:
            self._failed(error)
            return PAUSE
        if self._failing or self.keys is None:
            _log.info("reading the cluster's token keys succeeds again", issuer=issuer, keys=sorted(keys))
        self._failing = False
        self._condition.clear()
        self.issuer, self.keys = issuer, keys
        return self._refresh_interval

    def _failed(self, error: SentryError) -> None:
        self._failing = True
        meanwhile = "tokens are reviewed by the API server" if self.keys is None else "the last key set stays in use"
        text = f"failed to read the cluster's token keys, {meanwhile}: {error}"
        # The session reports a server that does not answer at all.
        if not isinstance(error, ApiUnreachableError) and self._condition.set(text):
            _log.warning(text)


class InvalidKeysError(SentryError):
    """A document is not a valid key set or discovery document."""


class _Discovery(msgspec.Struct):
    issuer: str


def read_issuer(document: Mapping[str, Any]) -> str:
    """Returns the issuer in a discovery document (OpenID Connect Discovery 1.0, section 3).

    Raises:
        InvalidKeysError: it has none.
    """
    try:
        issuer = msgspec.convert(document, _Discovery).issuer
    except msgspec.ValidationError as error:
        raise InvalidKeysError(f"the API server's discovery document has no issuer: {error}") from error
    if not issuer:
        raise InvalidKeysError("the API server's discovery document has an empty issuer")
    return issuer


def read_keys(document: Mapping[str, Any]) -> Mapping[str, VerificationKey]:
    """Returns the usable keys of a JWK set, by key ID; others are left out (RFC 7517, 5).

    Raises:
        InvalidKeysError: it has no usable key.
    """
    members = document.get("keys")
    found = keys.read_keys(members[:_MOST_KEYS] if isinstance(members, list) else [], ALGORITHMS).usable
    if not found:
        raise InvalidKeysError("the API server's key set has no key that verifies tokens")
    return found

"""The cluster's keys, kept up to date."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn, Protocol

import trio

from sentry_trio.conditions import Condition, Conditions
from sentry_trio.errors import ApiRefusedError, ApiUnavailableError, ApiUnreachableError
from sentry_trio.kube.jwks import InvalidKeysError, read_issuer, read_keys
from sentry_trio.kube.single_flight import SingleFlight
from sentry_trio.telemetry.logs import get_logger
from sentry_trio.tokens.keys import VerificationKey

DISCOVERY: Final = "/.well-known/openid-configuration"
JWKS: Final = "/openid/v1/jwks"

REFRESH: Final = 300.0
"""Seconds from one refresh to the next by default; a key that was withdrawn from the set is accepted that long."""

PAUSE: Final = 10.0
"""Seconds between two refreshes at the least, whoever asks for them."""

_log: Final = get_logger("dapr.sentry.identity.kubernetes")


class Documents(Protocol):
    """What is asked of the API server here."""

    async def get(self, path: str) -> dict[str, Any]:
        """A JSON document; raises ApiUnavailableError where it may be had later, else ApiRefusedError."""


@dataclass(frozen=True, slots=True)
class _Loaded:
    """The last good answer of the API server.

    Attributes:
        issuer: of the tokens that it signs now.
        keys: by key ID.
    """

    issuer: str
    keys: Mapping[str, VerificationKey]


class ClusterKeys:
    """The issuer and the public keys of the cluster's service account tokens, from its API server.

    The set is read by `keep` on a timer, and once more when a key is asked for that is not in it. When the API
    server is away the last good set is kept. Reading takes the rights of the ClusterRole
    `system:service-account-issuer-discovery`, which every service account has by default.

    Args:
        api: the API server.
        refresh: seconds from one refresh to the next.
        condition: set while the set cannot be read.
    """

    def __init__(self, api: Documents, *, refresh: float = REFRESH, condition: Condition | None = None) -> None:
        self._api = api
        self._refresh_interval = refresh
        self._condition = condition or Conditions().condition("cluster-keys")
        self._loaded: _Loaded | None = None
        self._flights = SingleFlight[None]()
        self._next = float("-inf")
        self._failing = False

    @property
    def issuer(self) -> str | None:
        """The issuer of the cluster's tokens; None while no set has been read."""
        return None if self._loaded is None else self._loaded.issuer

    async def find(self, issuer: str, kid: str) -> VerificationKey | None:
        """The key with ID `kid`, where `issuer` is the cluster's; None where that is not known here.

        A key that is not in the set may be new: the set is read again, at most every 10 s, one reading for all.

        Cancellation: at once.
        """
        if self._loaded is None or (self._loaded.issuer == issuer and kid not in self._loaded.keys):
            await self._flights.run(DISCOVERY, self._refresh)
        # Reading it again may have brought another set.
        loaded = self._loaded
        return loaded.keys.get(kid) if loaded is not None and loaded.issuer == issuer else None

    async def keep(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> NoReturn:
        """Reads the set now and at each refresh, every 10 s while that fails; runs until cancelled.

        Reports readiness after the first reading, be it good or not: tokens can be reviewed meanwhile.

        Cancellation: at once.
        """
        await self._flights.run(DISCOVERY, self._refresh)
        task_status.started()
        while True:
            await trio.sleep(PAUSE if self._failing else self._refresh_interval)
            await self._flights.run(DISCOVERY, self._refresh)

    async def _refresh(self) -> None:
        if trio.current_time() < self._next:
            return
        await self._read()
        # Only now, so that one who lost its patience has not used up the others' turn.
        self._next = trio.current_time() + PAUSE

    async def _read(self) -> None:
        try:
            issuer = read_issuer(await self._api.get(DISCOVERY))
            keys = read_keys(await self._api.get(JWKS))
        except (ApiUnavailableError, ApiRefusedError, InvalidKeysError) as error:
            self._failing = True
            meanwhile = "tokens are reviewed by the API server" if self._loaded is None else "the last set is kept"
            text = f"failed to read the cluster's token keys, {meanwhile}: {error}"
            # The session reports a server that does not answer at all.
            if not isinstance(error, ApiUnreachableError) and self._condition.set(text):
                _log.warning(text)
            return
        if self._failing or self._loaded is None:
            _log.info("the cluster's token keys are read", issuer=issuer, keys=sorted(keys))
        self._failing = False
        self._condition.clear()
        self._loaded = _Loaded(issuer, keys)

"""The JWT signing key in the Secret, as a run in Kubernetes mode knows it; imported only where JWTs are asked for."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sentry_trio.conditions import Conditions
from sentry_trio.environments.jwt import JwtKeeper, Opened
from sentry_trio.kube.api import Api
from sentry_trio.settings.configuration import Configuration
from sentry_trio.settings.options import Options
from sentry_trio.stores.jwt_secret import JwtSecretStore, keys_of_paths
from sentry_trio.stores.secret_content import Keys
from sentry_trio.stores.secret_guard import Guarded
from sentry_trio.telemetry.logs import get_logger
from sentry_trio.telemetry.metrics import Metrics

_log: Final = get_logger("dapr.sentry.ca.jwt")


@dataclass(frozen=True, slots=True)
class OpenedInSecret(Opened):
    """What a run issues JWTs with.

    Attributes:
        guarded: what is to be watched beside the trust bundle.
    """

    guarded: Guarded


class JwtSecret:
    """Opens signing key and key set for each run; see `JwtKeeper`.

    Args:
        options: name the keys of the Secret.
        api: the API server.
        taken: the trust bundle's keys of the Secret.
        metrics: told of rotations.
        now: the wall clock, aware.
        conditions: where lasting problems with the objects are reported.

    Raises:
        InvalidOptionsError: two parts would have one key of the Secret.
    """

    def __init__(
        self,
        options: Options,
        api: Api,
        taken: Keys,
        *,
        metrics: Metrics,
        now: Callable[[], datetime],
        conditions: Conditions,
    ) -> None:
        key, jwks = keys_of_paths(options.jwt_key_path, options.jwks_path, taken=taken.names)
        self._keeper = JwtKeeper(options, metrics=metrics, now=now)
        self._store = JwtSecretStore(api, options.namespace, key, jwks, conditions=conditions)

    async def open(self, configuration: Configuration, *, may_generate: bool) -> OpenedInSecret:
        """See `JwtKeeper.open`; the key set is published in the ConfigMap as well."""
        opened = await self._keeper.open(self._store, configuration, may_generate=may_generate)
        if await self._store.publish(opened.stored):
            _log.info(f"Published the public keys of JWTs in the ConfigMap ({self._store.place})")
        return OpenedInSecret(opened.issuer, opened.stored, opened.rotate, self._store.guarded(opened.stored))

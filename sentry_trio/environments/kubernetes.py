"""Kubernetes mode: a trust bundle in a Secret, a Configuration object, and pods that show a token of their own."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from typing import Final

import trio

from sentry_trio.ca.parts import Parts
from sentry_trio.conditions import Conditions
from sentry_trio.environments.clocks import ClockGuard
from sentry_trio.environments.cluster_resources import ClusterResources, PodWorkloads, open_cluster_resources
from sentry_trio.environments.environment import Environment
from sentry_trio.environments.run_inputs import Sources, causes_of
from sentry_trio.environments.settings import EnvironmentSettings
from sentry_trio.environments.token_validators import Made
from sentry_trio.errors import Part, SentryError, StoreError
from sentry_trio.event_reasons import EventReason
from sentry_trio.proto.sentry_pb2 import SignCertificateRequest
from sentry_trio.reload import Changed, ReloadCause, Trigger
from sentry_trio.settings.configuration import Configuration
from sentry_trio.stores.configuration_object import DEFAULT_NAME, read_configuration_object, watch_configuration
from sentry_trio.stores.secret import SecretStore
from sentry_trio.stores.secret_content import names_of_paths
from sentry_trio.telemetry.logs import get_logger
from sentry_trio.telemetry.metrics import Metrics
from sentry_trio.validators import Validators
from sentry_trio.validators.kubernetes import KubernetesValidator

TARGET: Final = "sentry-kubernetes-validator"
"""Dapr's name of the readiness target that waits for the first listing of pods and Configurations."""

COUNT_TIMEOUT: Final = 10.0
"""Seconds to wait for the first listing of pods before they are counted."""

_log: Final = get_logger("dapr.sentry")
_ca_log: Final = get_logger("dapr.sentry.ca")
_jwt_log: Final = get_logger("dapr.sentry.ca.jwt")


@asynccontextmanager
async def open_kubernetes(
    settings: EnvironmentSettings,
    environ: Mapping[str, str],
    *,
    metrics: Metrics,
    now: Callable[[], datetime],
    conditions: Conditions,
) -> AsyncIterator["Kubernetes"]:
    """Opens the session with the API server and begins to follow the cluster, once per process.

    Only readiness waits for the first listing of pods. Until then, calls wait, and get Unavailable if that takes too
    long.

    Raises:
        SentryError: see `open_cluster_resources`.

    Cancellation: at once.
    """
    async with (
        open_cluster_resources(settings, environ, now=now, conditions=conditions) as cluster,
        Kubernetes(settings, cluster, metrics=metrics, now=now).open() as environment,
    ):
        yield environment


class Kubernetes(Environment):
    """Environment in a Kubernetes cluster.

    Args:
        settings: see `EnvironmentSettings`.
        cluster: connections and caches.
        metrics: counts changes of the trust bundle.
        now: the wall clock, aware.
    """

    _storage = "kubernetes secret store"

    def __init__(
        self,
        settings: EnvironmentSettings,
        cluster: ClusterResources,
        *,
        metrics: Metrics,
        now: Callable[[], datetime],
    ) -> None:
        self._cluster = cluster
        super().__init__(
            settings,
            workloads=PodWorkloads(cluster.index, cluster.conditions, now),
            clocks=ClockGuard(now, server_offset=cluster.clock_offset),
            metrics=metrics,
            now=now,
            conditions=cluster.conditions,
        )
        identity = settings.identity
        self._publishes_jwks = settings.jwt is None or settings.jwt.publishes_jwks
        self._store = SecretStore(
            cluster.api,
            identity.namespace,
            names_of_paths(settings.paths, with_jwt=settings.jwt is not None),
            withdrawn=() if self._publishes_jwks else (Part.JWKS,),
            conditions=cluster.conditions,
        )
        self._validator = KubernetesValidator(
            cluster.checker, cluster.index, trust_domain=identity.trust_domain, namespace=identity.namespace
        )
        self._targets = {TARGET: lambda: cluster.index.ready}
        self._configuration_source = f"Configuration {identity.namespace}/{settings.configuration or DEFAULT_NAME}"

    def notify(self, reason: EventReason, message: str) -> None:
        """Records a Kubernetes Event; neither waits nor fails."""
        self._cluster.events.record(reason, message)

    async def is_published(self, stored: Parts) -> bool:
        """Publishes the stored trust anchors in the ConfigMap; returns false if it cannot be read or written now."""
        try:
            await self._store.publish(Part.ANCHORS, stored)
        except SentryError as error:
            _ca_log.warning(f"cannot check whether the trust anchors are published: {error}")
            return False
        return True

    async def managed_by(self) -> str | None:
        """Returns the program or chart that writes the Secret's certificates; None if the Secret names none."""
        return await self._store.managed_by()

    async def _open_sources(self) -> Sources:
        self._cluster.domain.refresh()
        return Sources(self._store, self._watch_objects)

    async def _read_configuration(self) -> Configuration:
        identity, name = self._settings.identity, self._settings.configuration
        configuration = await read_configuration_object(self._cluster.api, identity.namespace, name)
        _log.info(f"Adding validator 'kubernetes' with Sentry ID: {identity}")
        return configuration

    async def _accepted(self, stored: Parts, *, generated: bool) -> None:
        if generated:
            await self._report_generated()
        if Part.ANCHORS in stored and await self._store.publish(Part.ANCHORS, stored):
            _ca_log.info(f"Published the trust anchors in {self._store.config_map}")
        if Part.JWKS in stored:
            await self._publish_jwks(stored)

    async def _publish_jwks(self, stored: Parts) -> None:
        try:
            is_changed = await self._store.publish(Part.JWKS, stored)
        except StoreError as error:
            if self._publishes_jwks:
                raise
            _jwt_log.warning(f"cannot remove the public keys of JWTs from {self._store.config_map}: {error}")
            return
        if is_changed:
            self._report_jwks()

    def _report_jwks(self) -> None:
        place = self._store.locate(Part.JWT_KEY, Part.JWKS)
        if self._publishes_jwks:
            _jwt_log.info(f"Published the public keys of JWTs in the ConfigMap ({place})")
        else:
            _jwt_log.warning(
                f"Removed the public keys of JWTs from {self._store.config_map}: the OIDC server serves them while "
                "they are rotated; programs that read the ConfigMap need --jwks-in-config-map"
            )

    async def _report_generated(self) -> None:
        """Reports a new certificate authority, with a warning if pods may trust a lost one: the Secret was emptied."""
        text = "generated a self-signed certificate authority, as the Secret was empty"
        with trio.move_on_after(COUNT_TIMEOUT):
            await self._cluster.index.wait_ready()
        if sidecars := self._cluster.index.sidecars:
            text += (
                f"; pods with a Dapr sidecar: {sidecars}. They trust it only after they are restarted. If the "
                "Secret was emptied by mistake, restore it now and restart this process"
            )
            _ca_log.warning(text, sidecars=sidecars)
        self.notify(EventReason.GENERATED, text)

    def _validators(self, added: Made) -> Validators:
        kubernetes = SignCertificateRequest.KUBERNETES
        return Validators(present={kubernetes: self._validator, **added.validators}, default=kubernetes)

    async def _cluster_domain(self) -> Callable[[], str]:
        await self._cluster.domain.wait_tried()
        return lambda: self._cluster.domain.current

    async def _watch_objects(
        self, stored: Parts, configuration: Configuration, changed: Changed, *, in_use: bool
    ) -> None:
        async def parts_changed(parts: frozenset[Part]) -> None:
            await changed(*causes_of(parts, self._store))

        async def configuration_changed() -> None:
            await changed(ReloadCause(Trigger.CONFIGURATION, (self._configuration_source,)))

        async with trio.open_nursery() as watching:
            watching.start_soon(partial(self._store.watch, stored, parts_changed, publish=in_use))
            watching.start_soon(
                watch_configuration,
                self._cluster.api,
                self._settings.identity.namespace,
                self._settings.configuration,
                configuration,
                configuration_changed,
            )

"""The trust bundle of a cluster: its Secret, the ConfigMap that publishes it, and the pods that use it."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import trio

from sentry_trio.ca.parts import Parts
from sentry_trio.cli.ca.flags import CaOptions
from sentry_trio.cli.ca.places import Place, Sidecars
from sentry_trio.environments.cluster_resources import root_fingerprints, roots_held
from sentry_trio.errors import ApiUnavailableError, Part
from sentry_trio.kube.index import Index
from sentry_trio.kube.session import Session, open_session
from sentry_trio.kube.uptake import anchor_sets, measure
from sentry_trio.stores.secret import SecretStore
from sentry_trio.stores.secret_content import names_of_paths

_PATIENCE: Final = 30.0  # s for the listing of pods


class _Cluster(Place):
    """Secret, ConfigMap and pods of a cluster."""

    def __init__(self, store: SecretStore, session: Session) -> None:
        super().__init__(store)
        self._secret = store
        self._session = session

    async def is_published(self, stored: Parts) -> bool:
        return await self._secret.publishes(Part.ANCHORS, stored)

    async def managed_by(self) -> str | None:
        return await self._secret.managed_by()

    def clock_offset(self) -> timedelta | None:
        return self._session.clock_offset

    async def sidecars(self, roots: Mapping[str, datetime], published_at: datetime | None, now: datetime) -> Sidecars:
        index = Index(self._session, fingerprints=root_fingerprints)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(index.keep)
            with trio.move_on_after(_PATIENCE) as waiting:
                await index.wait_ready()
            nursery.cancel_scope.cancel()
        if waiting.cancelled_caught:
            raise ApiUnavailableError(f"cannot list pods within {_PATIENCE:g} s")
        return Sidecars(
            measure(index.pods, roots, published_at=published_at, now=now),
            anchor_sets(index.pods),
            roots_held(index.pods),
        )


@asynccontextmanager
async def open_cluster(
    options: CaOptions, paths: Mapping[Part, Path], environ: Mapping[str, str]
) -> AsyncIterator[Place]:
    """Opens the trust bundle of a cluster; a session of the Kubernetes API lasts as long as the block.

    Args:
        options: name namespace and kubeconfig.
        paths: their base names are the keys of the Secret.
        environ: variables that name the API server in a pod.

    Raises:
        InvalidConfigurationError: there is no usable configuration for the Kubernetes API.
    """
    async with open_session(kubeconfig=options.kubeconfig, environ=environ if options.in_pod else {}) as session:
        yield _Cluster(SecretStore(session, options.namespace, names_of_paths(paths, with_jwt=False)), session)

"""Connections and caches of Kubernetes mode, which live as long as the process."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from datetime import datetime, timedelta
from typing import Final

import msgspec
import trio
from msgspec.structs import replace

from sentry_trio.ca.certificates import Certificate, fingerprint, read_certificates
from sentry_trio.ca.spiffe import SpiffeId
from sentry_trio.conditions import Conditions
from sentry_trio.environments.settings import EnvironmentSettings
from sentry_trio.environments.workloads import Workloads
from sentry_trio.errors import InvalidBundleError, InvalidOptionsError
from sentry_trio.kube.access_review import check_permissions, optional_permissions, required_permissions
from sentry_trio.kube.api import Api
from sentry_trio.kube.cluster_domain import ClusterDomain
from sentry_trio.kube.events import EventRecorder
from sentry_trio.kube.index import Index
from sentry_trio.kube.keys import ClusterKeys
from sentry_trio.kube.pods import Pod
from sentry_trio.kube.reachability import wait_reachable
from sentry_trio.kube.session import Session, open_session
from sentry_trio.kube.token_review import TokenReviewer
from sentry_trio.kube.tokens import TokenChecker, audiences
from sentry_trio.kube.uptake import Uptake, anchor_sets, anchor_texts, measure
from sentry_trio.kube.verifier import LocalVerifier
from sentry_trio.lifetimes import outliving
from sentry_trio.stores.configuration_object import DEFAULT_NAME
from sentry_trio.stores.secret_object import NAME
from sentry_trio.telemetry.logs import get_logger, instance_of

MAX_ROOTS: Final = 256
"""Different trust anchors of sidecars that are read at once: reading one takes up to half a millisecond."""

_SKIP_CHECK: Final = "DAPR_UNSAFE_SKIP_CONTAINER_UID_GID_CHECK"

_log: Final = get_logger("dapr.sentry")


class ClusterResources(msgspec.Struct, frozen=True):
    """Caches and connections that live as long as the process.

    Attributes:
        api: the API server.
        index: its pods and Configurations.
        checker: authenticates tokens.
        events: Events for the cluster's operators.
        conditions: reports of lasting problems with the cluster.
        domain: the DNS domain of its services.
        clock_offset: returns the lead of the API server's clock over this machine's, if known.
    """

    api: Api
    index: Index
    checker: TokenChecker
    events: EventRecorder
    conditions: Conditions
    domain: ClusterDomain
    clock_offset: Callable[[], timedelta | None]


class PodWorkloads(Workloads):
    """Sidecars of the running pods of a cluster.

    Args:
        index: the pods.
        conditions: while any lasts, pods may be missing.
        now: the wall clock, aware.
    """

    def __init__(self, index: Index, conditions: Conditions, now: Callable[[], datetime]) -> None:
        self._index = index
        self._conditions = conditions
        self._now = now

    def anchor_sets(self) -> Mapping[frozenset[str], tuple[str, ...]] | None:
        """Returns the sets that sidecars hold; None until all pods have been listed."""
        return anchor_sets(self._index.pods) if self._index.ready else None

    def held_roots(self) -> tuple[Certificate, ...]:
        """Returns the trust anchors that sidecars hold."""
        return roots_held(self._index.pods)

    def uptake(self, roots: Mapping[str, datetime], published_at: datetime | None) -> Uptake | None:
        """Counts the sidecars; None until all pods have been listed."""
        if not self._index.ready:
            return None
        found = measure(self._index.pods, roots, published_at=published_at, now=self._now())
        return replace(found, held_by_all=None) if self._conditions.active else found


@asynccontextmanager
async def open_cluster_resources(
    settings: EnvironmentSettings, environ: Mapping[str, str], *, now: Callable[[], datetime], conditions: Conditions
) -> AsyncIterator[ClusterResources]:
    """Opens the session with the API server, checks permissions, and begins to follow the cluster.

    Args:
        settings: see `EnvironmentSettings`; those of the cluster among them.
        environ: variables that name the API server in a pod.
        now: the wall clock, aware.
        conditions: reports of lasting problems with the cluster.

    Raises:
        InvalidOptionsError: the process runs as root.
        SentryError: there are no credentials for the API server, or permissions are missing.

    Cancellation: at once.
    """
    refuse_root(environ, os.geteuid())
    identity, cluster = settings.identity, settings.cluster
    assert cluster is not None  # noqa: S101  # for the type checker
    async with AsyncExitStack() as outer:
        session = await outer.enter_async_context(
            open_session(kubeconfig=cluster.kubeconfig, environ=environ, condition=conditions.condition("api-server"))
        )
        _log.info(f"Using the Kubernetes API server {session.server}")
        await wait_reachable(session.server, session.get_raw)
        await check_permissions(
            session,
            required_permissions(identity.namespace, bundle=NAME, configuration=settings.configuration or DEFAULT_NAME),
            optional_permissions(identity.namespace, bundle=NAME),
        )
        events = EventRecorder(session, identity.namespace, NAME, instance=instance_of(environ))
        await outer.enter_async_context(_kept(events.keep))
        index = Index(session, conditions=conditions, containers=cluster.names_images, fingerprints=root_fingerprints)
        await outer.enter_async_context(_kept(index.keep))
        checker = await outer.enter_async_context(
            _token_checker(identity, cluster.keys_refresh, session, now, conditions)
        )
        domain = ClusterDomain(identity.trust_domain)
        await outer.enter_async_context(_kept(domain.keep))
        yield ClusterResources(session, index, checker, events, conditions, domain, lambda: session.clock_offset)


@asynccontextmanager
async def _token_checker(
    identity: SpiffeId,
    keys_refresh: float | None,
    session: Session,
    now: Callable[[], datetime],
    conditions: Conditions,
) -> AsyncIterator[TokenChecker]:
    """Yields the checker of tokens, which asks the API server or uses the cluster's keys, while the block runs."""
    wanted = audiences(identity.trust_domain, identity.namespace)
    reviewer = TokenReviewer(session.create, wanted, now=now, condition=conditions.condition("token-reviews"))
    async with _kept(reviewer.keep):
        if keys_refresh is None:
            yield reviewer
            return
        keys = ClusterKeys(session.get, refresh=keys_refresh, condition=conditions.condition("cluster-keys"))
        async with _kept(keys.keep):
            yield LocalVerifier(keys, reviewer, wanted, now=now)


def _kept(keep: Callable[[], Awaitable[None]]) -> AbstractAsyncContextManager[None]:
    """Runs `keep` until the block has ended, which does not wait for its first result."""

    async def beside(*, task_status: trio.TaskStatus[None]) -> None:
        task_status.started()
        await keep()

    return outliving(beside)


def refuse_root(environ: Mapping[str, str], uid: int) -> None:
    """Refuses to run as root, which is not needed here and which an intruder would have.

    Raises:
        InvalidOptionsError: `uid` is root's; with Dapr Sentry 1.18's text.
    """
    if uid == 0 and environ.get(_SKIP_CHECK) != "true":
        raise InvalidOptionsError(
            f"error creating security: current user UID({uid}) is root. Dapr must be run as a non-root user in "
            "Kubernetes environments. To override this check, set the environment variable "
            f"'{_SKIP_CHECK}=true'"
        )


def root_fingerprints(anchors: str) -> frozenset[str]:
    """Returns the fingerprints of a sidecar's trust anchors; none if it cannot read them either."""
    try:
        found = read_certificates(anchors.encode(errors="replace"), role="trust anchors")
    except InvalidBundleError:
        return frozenset()
    return frozenset(map(fingerprint, found))


def roots_held(pods: Iterable[Pod]) -> tuple[Certificate, ...]:
    """Returns the trust anchors that sidecars keep while they run, those of the most sidecars first.

    Stops reading after `MAX_ROOTS` of them, because a tenant may give each pod different ones.
    """
    found: dict[Certificate, None] = {}
    for text in anchor_texts(pods):
        if len(found) >= MAX_ROOTS:
            break
        found.update(dict.fromkeys(read_certificates(text.encode(errors="replace"), role="trust anchors")))
    return tuple(found)

"""Kubernetes mode: a trust bundle in a Secret, a Configuration object, and pods that show a token of their own."""

import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import trio

from sentry_trio.ca.bundle import StoredBundle, TrustBundle, verify
from sentry_trio.ca.generate import generate
from sentry_trio.ca.keys import KeyType
from sentry_trio.conditions import Conditions
from sentry_trio.environments import Ingredients, Notice, names_to_sign, report_changes
from sentry_trio.environments.token_validators import TokenValidators
from sentry_trio.errors import BundlePart, InvalidBundleError, InvalidOptionsError, StoreError
from sentry_trio.kube.access_review import check_permissions, optional_permissions, required_permissions
from sentry_trio.kube.api import Api
from sentry_trio.kube.cluster_domain import ClusterDomain
from sentry_trio.kube.events import EventRecorder, Involved, Reason
from sentry_trio.kube.index import Index
from sentry_trio.kube.keys import ClusterKeys
from sentry_trio.kube.reachability import wait_reachable
from sentry_trio.kube.session import open_session
from sentry_trio.kube.token_review import TokenReviewer
from sentry_trio.kube.tokens import TokenChecker, audiences
from sentry_trio.kube.verifier import LocalVerifier
from sentry_trio.lifetimes import outliving
from sentry_trio.proto.sentry_pb2 import SignCertificateRequest
from sentry_trio.reload import Changed, ReloadCause, Trigger
from sentry_trio.settings.configuration import Configuration
from sentry_trio.settings.options import Options, TokenVerification
from sentry_trio.stores.configuration_object import DEFAULT_NAME, read_configuration_object, watch_configuration
from sentry_trio.stores.secret import SecretStore
from sentry_trio.stores.secret_content import Keys
from sentry_trio.telemetry.logs import get_logger
from sentry_trio.telemetry.metrics import Metrics
from sentry_trio.validators import Validators
from sentry_trio.validators.kubernetes import KubernetesValidator

if TYPE_CHECKING:
    from sentry_trio.environments.jwt_secret import JwtSecret, OpenedInSecret

TARGET: Final = "sentry-kubernetes-validator"
"""Dapr's name of the readiness target that waits for the first listing of pods and Configurations."""

COUNT_TIMEOUT: Final = 10.0
"""Seconds to wait for the first listing of pods before they are counted."""

_BUNDLE: Final = "dapr-trust-bundle"
_SKIP_CHECK: Final = "DAPR_UNSAFE_SKIP_CONTAINER_UID_GID_CHECK"
# Control-plane services that the API server calls by DNS names.
_CALLED_BY_DNS_NAME: Final = ("dapr-injector", "dapr-operator")
_REASONS: Final[Mapping[Notice, Reason]] = {
    Notice.GENERATED: Reason.GENERATED,
    Notice.REPLACED: Reason.REPLACED,
    Notice.JWT_KEYS_REPLACED: Reason.JWT_KEYS_REPLACED,
    Notice.RELOAD_FAILED: Reason.RELOAD_FAILED,
    Notice.EXPIRY_NEAR: Reason.EXPIRY_NEAR,
}

_log: Final = get_logger("dapr.sentry")
_ca_log: Final = get_logger("dapr.sentry.ca")


@asynccontextmanager
async def open_kubernetes(
    options: Options,
    environ: Mapping[str, str],
    *,
    metrics: Metrics,
    now: Callable[[], datetime],
    conditions: Conditions,
) -> AsyncIterator["Kubernetes"]:
    """Opens the session with the API server and begins to follow the cluster, once per process.

    Only readiness waits for the first listing of pods; until then, calls are answered Unavailable.

    Args:
        options: the command line.
        environ: the environment: where the API server is.
        metrics: told when the trust bundle changes.
        now: the wall clock, aware.
        conditions: where lasting problems with the cluster are reported.

    Raises:
        InvalidOptionsError: the process runs as root.
        SentryError: there are no credentials for the API server, or rights are missing.

    Cancellation: at once.
    """
    refuse_root(environ, os.geteuid())
    kubeconfig = Path(options.kubeconfig) if options.kubeconfig else None
    async with AsyncExitStack() as outer:
        session = await outer.enter_async_context(
            open_session(kubeconfig=kubeconfig, environ=environ, condition=conditions.condition("api-server"))
        )
        _log.info(f"Using the Kubernetes API server {session.server}")
        await wait_reachable(session)
        await check_permissions(
            session,
            required_permissions(options.namespace, bundle=_BUNDLE, configuration=options.config or DEFAULT_NAME),
            optional_permissions(options.namespace, bundle=_BUNDLE),
        )
        events = EventRecorder(session, options.namespace, Involved("Secret", _BUNDLE), instance=_instance(environ))
        await outer.enter_async_context(outliving(events.keep))
        index = Index(session, conditions=conditions, containers=options.image_extension)
        await outer.enter_async_context(outliving(partial(_beside, index.keep)))
        wanted = audiences(options.trust_domain, options.namespace)
        reviewer = TokenReviewer(session, wanted, now=now, condition=conditions.condition("token-reviews"))
        await outer.enter_async_context(outliving(reviewer.keep))
        checker: TokenChecker = reviewer
        if options.token_verification is TokenVerification.LOCAL:
            keys = ClusterKeys(
                session,
                refresh=options.token_keys_refresh.total_seconds(),
                condition=conditions.condition("cluster-keys"),
            )
            await outer.enter_async_context(outliving(partial(_beside, keys.keep)))
            checker = LocalVerifier(keys, checker, wanted, now=now)
        validators = TokenValidators(options, metrics=metrics, now=now)
        await outer.enter_async_context(outliving(validators.keep))
        domain = ClusterDomain(options.trust_domain)
        await outer.enter_async_context(outliving(partial(_beside, domain.keep)))
        cluster = Cluster(session, index, checker, events, conditions, domain)
        yield Kubernetes(options, cluster, validators, metrics=metrics, now=now)


def _instance(environ: Mapping[str, str]) -> str:
    """The name of this pod, which is its host name."""
    return environ.get("HOSTNAME") or socket.gethostname()


async def _beside(keep: Callable[..., Awaitable[None]], *, task_status: trio.TaskStatus[None]) -> None:
    """Keeps something, and is started before that is ready."""
    task_status.started()
    await keep()


def refuse_root(environ: Mapping[str, str], uid: int) -> None:
    """Root is not needed here, and who breaks in has it then.

    Raises:
        InvalidOptionsError: `uid` is root's; with Dapr Sentry 1.18's text.
    """
    if uid == 0 and environ.get(_SKIP_CHECK) != "true":
        raise InvalidOptionsError(
            f"error creating security: current user UID({uid}) is root. Dapr must be run as a non-root user in "
            "Kubernetes environments. To override this check, set the environment variable "
            f"'{_SKIP_CHECK}=true'"
        )


@dataclass(frozen=True, slots=True)
class Cluster:
    """What is kept up to date for as long as the process lasts.

    Attributes:
        api: the API server.
        index: its pods and Configurations.
        checker: tells who a token speaks for.
        events: where the cluster's operators look.
        conditions: where lasting problems with the cluster are reported.
        domain: the DNS domain of its services.
    """

    api: Api
    index: Index
    checker: TokenChecker
    events: EventRecorder
    conditions: Conditions
    domain: ClusterDomain


class Kubernetes:
    """A cluster, as an environment; see `Environment`.

    Args:
        options: the command line.
        cluster: what is kept up to date.
        validators: makes those that a configuration asks for.
        metrics: told when the trust bundle changes.
        now: the wall clock, aware.
    """

    def __init__(
        self,
        options: Options,
        cluster: Cluster,
        validators: TokenValidators,
        *,
        metrics: Metrics,
        now: Callable[[], datetime],
    ) -> None:
        self._options = options
        self._cluster = cluster
        self._metrics = metrics
        self._now = now
        keys = Keys.of_paths(options.issuer_ca_path, options.issuer_certificate_path, options.issuer_key_path)
        self._keys = keys
        self._store = SecretStore(
            cluster.api,
            options.namespace,
            keys,
            beside=(options.jwt_key_path.name, options.jwks_path.name),
            conditions=cluster.conditions,
        )
        self._jwt = _jwt_secret(options, cluster, keys, metrics, now)
        self._validators = validators
        self._read: tuple[StoredBundle, Configuration] | None = None
        self._validator = KubernetesValidator(
            cluster.checker, cluster.index, trust_domain=options.trust_domain, namespace=options.namespace
        )

    def tell(self, notice: Notice, message: str) -> None:
        """Records a Kubernetes Event; neither waits nor fails."""
        self._cluster.events.record(_REASONS[notice], message)

    async def ingredients(self, *, may_generate: bool) -> Ingredients:
        """Reads Configuration and Secret anew, or fills the Secret where it is empty; see `Environment`.

        Of several replicas that find it empty, one fills it and the others use what that one wrote.
        """
        options = self._options
        self._cluster.domain.refresh()
        configuration = await read_configuration_object(self._cluster.api, options.namespace, options.config)
        *_, sentry_id = audiences(options.trust_domain, options.namespace)
        _log.info(f"Adding validator 'kubernetes' with Sentry ID: {sentry_id}")
        made = await self._validators.make(configuration.jwks)
        _ca_log.info("Using kubernetes secret store for trust bundle storage")
        stored = await self._store.load()
        if stored is not None:
            _ca_log.info("Root and issuer certs found: using credentials from store")
        elif may_generate:
            stored = await self._generated(configuration)
        else:
            raise StoreError(
                f"the trust bundle is gone from Secret {self._store.place}: none is generated in its place while one "
                "is in use; restore it, or restart the process to begin with a new certificate authority"
            )
        self._read = stored, configuration
        bundle = self._verified(stored)
        if await self._store.publish(stored):
            _ca_log.info(f"Published the trust anchors in ConfigMap {self._store.place}")
        jwts = None if self._jwt is None else await self._jwt.open(configuration, may_generate=may_generate)
        await self._cluster.domain.wait_tried()
        return Ingredients(
            configuration=configuration,
            bundle=bundle,
            cluster_domain=lambda: self._cluster.domain.current,
            jwts=None if jwts is None else jwts.issuer,
            validators=Validators(
                present={SignCertificateRequest.KUBERNETES: self._validator, **made.validators},
                default=SignCertificateRequest.KUBERNETES,
            ),
            targets={TARGET: lambda: self._cluster.index.ready, **made.targets},
            watch=partial(self._watch, stored, configuration, jwts),
            chain_source=f"issuer chain {self._keys.chain} in Secret {self._store.place}",
            configuration_source=f"Configuration {options.namespace}/{options.config or DEFAULT_NAME}",
        )

    async def watch_rejected(self, changed: Changed) -> None:
        """Watches the Secret and the Configuration that were read last, and leaves the ConfigMap; see `Environment`."""
        if self._read is not None:
            await self._watch(*self._read, None, changed, publish=False)

    async def _generated(self, configuration: Configuration) -> StoredBundle:
        _ca_log.info("Root and issuer certs not found: generating self signed CA")
        options = self._options
        own = generate(
            options.trust_domain,
            options.namespace,
            KeyType(options.ca_key_type),
            now=self._now(),
            allowed_clock_skew=configuration.allowed_clock_skew,
        )
        _ca_log.info("Generating self-signed CA certs and persisting to store")
        stored = await self._store.create(own)
        if stored == own:
            self._metrics.issuer_changed()
            _ca_log.info("Self-signed certs and JWT root key generated and persisted successfully")
            await self._report_generated()
        return stored

    async def _report_generated(self) -> None:
        """Reports a new certificate authority, with a warning if pods may trust a lost one: the Secret was emptied."""
        text = "generated a self-signed certificate authority, as the Secret was empty"
        with trio.move_on_after(COUNT_TIMEOUT):
            await self._cluster.index.wait_ready()
        if sidecars := self._cluster.index.sidecars:
            text += (
                f"; pods with a Dapr sidecar: {sidecars}. These do not trust it until they are restarted. If the "
                "Secret was emptied by mistake, restore it now and restart this process"
            )
            _ca_log.warning(text, sidecars=sidecars)
        self.tell(Notice.GENERATED, text)

    def _verified(self, stored: StoredBundle) -> TrustBundle:
        try:
            return verify(stored, self._now(), names_to_sign(self._options, _CALLED_BY_DNS_NAME))
        except InvalidBundleError as error:
            names = {
                BundlePart.ANCHORS: self._keys.anchors,
                BundlePart.CHAIN: self._keys.chain,
                BundlePart.KEY: self._keys.key,
            }
            at_fault = ", ".join(f"{part.value} {names[part]}" for part in error.parts)
            raise InvalidBundleError(f"{error} ({at_fault} in Secret {self._store.place})", *error.parts) from error

    async def _watch(
        self,
        stored: StoredBundle,
        configuration: Configuration,
        jwts: "OpenedInSecret | None",
        changed: Changed,
        *,
        publish: bool = True,
    ) -> None:
        options = self._options

        async def reload(*causes: ReloadCause) -> None:
            report_changes(self._metrics, *causes)
            await changed(*causes)

        async def configuration_changed() -> None:
            name = f"Configuration {options.namespace}/{options.config or DEFAULT_NAME}"
            await reload(ReloadCause(Trigger.CONFIGURATION, (name,)))

        async with trio.open_nursery() as watching:
            watching.start_soon(self._hold, configuration)
            beside = () if jwts is None else (jwts.guarded,)
            watching.start_soon(partial(self._store.watch, stored, reload, beside=beside, publish=publish))
            if jwts is not None:
                watching.start_soon(jwts.rotate, changed)
            watching.start_soon(
                watch_configuration,
                self._cluster.api,
                options.namespace,
                options.config,
                configuration,
                configuration_changed,
            )

    async def _hold(self, configuration: Configuration) -> None:
        with self._validators.in_use(configuration.jwks):
            await trio.sleep_forever()


def _jwt_secret(
    options: Options, cluster: Cluster, keys: Keys, metrics: Metrics, now: Callable[[], datetime]
) -> "JwtSecret | None":
    if not options.jwt_enabled:
        return None
    from sentry_trio.environments.jwt_secret import JwtSecret

    return JwtSecret(options, cluster.api, keys, metrics=metrics, now=now, conditions=cluster.conditions)

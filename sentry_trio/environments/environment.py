"""Environment of an authority: the parts that both modes share."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Final, Self

import trio

from sentry_trio.backoff import CHANCE
from sentry_trio.ca.bundle import TrustBundle, verify
from sentry_trio.ca.parts import Parts, bundle_of
from sentry_trio.ca.renewal_next import roots_made_here
from sentry_trio.ca.renewal_policy import RenewalPolicy
from sentry_trio.ca.renewal_root import new_parts
from sentry_trio.ca.spiffe import names_to_sign
from sentry_trio.conditions import RESTART, Conditions
from sentry_trio.environments.clocks import ClockGuard
from sentry_trio.environments.rejection import RejectionWatch
from sentry_trio.environments.renewal import RenewalOfRun, Renewer
from sentry_trio.environments.renewal_report import RenewalReporter
from sentry_trio.environments.root_keys import RootKeyAccess
from sentry_trio.environments.run_inputs import RunInputs, Sources, report_changes, warn_of_settings
from sentry_trio.environments.settings import EnvironmentSettings
from sentry_trio.environments.token_validators import Made, TokenValidators
from sentry_trio.environments.trust_gate import TrustGate
from sentry_trio.environments.workloads import Workloads
from sentry_trio.errors import InvalidBundleError, Part, StoreError
from sentry_trio.event_reasons import EventReason
from sentry_trio.lifetimes import outliving
from sentry_trio.reload import Changed, ReloadCause, Trigger
from sentry_trio.renewal_status import RenewalStatus
from sentry_trio.settings.configuration import Configuration
from sentry_trio.stores.part_store import PartStore, fill
from sentry_trio.telemetry.logs import get_logger
from sentry_trio.telemetry.metrics import Metrics
from sentry_trio.validators import Validators

if TYPE_CHECKING:
    from sentry_trio.environments.jwt import JwtKeeper, JwtSettings, OpenedJwtKeys

_ca_log: Final = get_logger("dapr.sentry.ca")


class Environment(ABC):
    """Environment of an authority. It outlives the runs.

    Args:
        settings: see `EnvironmentSettings`.
        workloads: the trust anchors that they hold.
        clocks: hold renewals while the wall clock cannot be trusted.
        metrics: counts changes of the trust bundle.
        now: the wall clock, aware.
        conditions: reports of lasting problems.
        chance: a number from 0 to below 1, by which replicas differ.
    """

    def __init__(
        self,
        settings: EnvironmentSettings,
        *,
        workloads: Workloads,
        clocks: ClockGuard,
        metrics: Metrics,
        now: Callable[[], datetime],
        conditions: Conditions,
        chance: Callable[[], float] = CHANCE,
    ) -> None:
        self._settings = settings
        self._token_validators = TokenValidators(
            str(settings.identity), settings.configuration, metrics=metrics, now=now
        )
        self._metrics = metrics
        self._now = now
        self._root_keys = RootKeyAccess(settings.passphrase_file)
        self._renewer = Renewer(
            settings.renewal,
            RenewalReporter(workloads, self.notify, metrics=metrics, now=now),
            self.is_published,
            self.managed_by,
            now=now,
            clocks=clocks,
            root_keys=self._root_keys,
            chance=chance,
        )
        self._gate = TrustGate(workloads, self.notify, allowed=settings.allowed_cut, metrics=metrics, now=now)
        self._rejections = RejectionWatch(self._gate, clocks, conditions.condition(RESTART))
        self._jwt_keeper = None if settings.jwt is None else self._make_jwt_keeper(settings.jwt)
        self._had_jwt_keys = False
        self._last_read: tuple[Sources, Parts, Configuration] | None = None

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Self]:
        """Keeps the key sets of validators up to date beside the block; runs are made and serve within it."""
        async with outliving(self._token_validators.keep):
            yield self

    @abstractmethod
    def notify(self, reason: EventReason, message: str) -> None:
        """Reports an event to operators, beside the log; neither waits nor fails."""

    @property
    def renewal(self) -> RenewalStatus | None:
        """State of CA renewal; None before the first run."""
        return self._renewer.status

    async def is_published(self, stored: Parts) -> bool:  # noqa: ARG002  # for environments that publish apart
        """Publishes the stored trust anchors unless they are published; returns false if that fails."""
        return True

    async def managed_by(self) -> str | None:
        """Returns the program that manages the trust bundle; None unless another program is known to.

        Raises:
            SentryError: the store cannot be read now.
        """
        return None

    async def run_inputs(self, *, may_generate: bool) -> RunInputs:
        """Reads the inputs of a run again, or generates credentials if there are none.

        Args:
            may_generate: true for the first run of a process. Later an empty store is a mistake that must not cost the
                authority its keys, and is not filled.

        Raises:
            SentryError: the reason why there can be no run.

        Cancellation: at once, but for a write of generated credentials to files, which is finished.
        """
        sources = await self._open_sources()
        store = sources.store
        configuration = await self._read_configuration()
        added = await self._token_validators.make(configuration.jwks)
        policy = self._renewer.policy_for(configuration)
        stored, generated = await self._load_bundle(store, policy, may_generate=may_generate)
        if await self.managed_by() is None:
            stored = await self._renewer.promote(store, stored, policy)
        self._last_read = sources, stored, configuration
        self._rejections.read(stored)
        bundle = self._verified(store, stored)
        if generated and not self._has_replicas:
            self._gate.generated(bundle)
        renewal = RenewalOfRun(store=store, stored=stored, bundle=bundle, policy=policy)
        self._rejections.check(renewal)
        await self._accepted(stored, generated=generated)
        jwt_keys = await self._open_jwt_keys(store, configuration, may_generate=may_generate)
        if jwt_keys is not None:
            stored = {**stored, **jwt_keys.stored}
        cluster_domain = await self._cluster_domain()
        warn_of_settings(configuration, self._settings.configuration, self._settings.identity.trust_domain)
        return RunInputs(
            configuration=configuration,
            bundle=bundle,
            validators=self._validators(added),
            targets={**self._targets, **added.targets},
            watch=partial(self._watch, sources, stored, configuration, jwt_keys, renewal),
            request_arrived=self._gate.request_arrived,
            chain_source=store.locate(Part.CHAIN),
            configuration_source=self._configuration_source,
            cluster_domain=cluster_domain,
            jwts=None if jwt_keys is None else jwt_keys.issuer,
            own_roots=roots_made_here(renewal.stored, bundle),
        )

    async def watch_rejected(self, changed: Changed) -> None:
        """Watches the content that `run_inputs` read last, if it rejected the trust bundle; runs until cancelled.

        Args:
            changed: called when any of it has changed.
        """
        if self._last_read is not None:
            sources, stored, configuration = self._last_read
            await self._watch(sources, stored, configuration, None, None, changed)

    def _make_jwt_keeper(self, settings: "JwtSettings") -> "JwtKeeper":
        from sentry_trio.environments.jwt import JwtKeeper

        return JwtKeeper(
            settings,
            metrics=self._metrics,
            now=self._now,
            is_held=lambda: self._publishes_jwks and self._renewer.is_propagating,
        )

    async def _open_jwt_keys(
        self, store: PartStore, configuration: Configuration, *, may_generate: bool
    ) -> "OpenedJwtKeys | None":
        if self._jwt_keeper is None:
            return None
        # Also after a first attempt that ended before this: no keys can be lost that were never opened.
        may_generate_keys = may_generate or not self._had_jwt_keys
        keys = await self._jwt_keeper.open(store, configuration, may_generate=may_generate_keys)
        self._had_jwt_keys = True
        await self._accepted(keys.stored, generated=False)
        return keys

    async def _load_bundle(self, store: PartStore, policy: RenewalPolicy, *, may_generate: bool) -> tuple[Parts, bool]:
        """Returns the stored trust bundle, unverified, and true if it was generated."""
        _ca_log.info(f"Using {self._storage} for trust bundle storage")
        if stored := await store.read_bundle():
            _ca_log.info("Root and issuer certs found: using credentials from store")
            return stored, False
        if not may_generate:
            raise StoreError(
                f"the trust bundle is missing from {store.place}: no new one is generated while one is in use; "
                f"restore {self._restored}, or start a new process to generate a new certificate authority"
            )
        _ca_log.info("Root and issuer certs not found: generating self signed CA")
        passphrase = await self._root_keys.passphrase() if policy.keeps_root_key else None
        own = new_parts(policy, self._now(), passphrase)
        _ca_log.info("Generating self-signed CA certs and persisting to store")
        stored, generated = await fill(store, own)
        if generated:
            self._metrics.issuer_changes.inc()
            _ca_log.info("Self-signed certs and JWT root key generated and persisted successfully")
        else:
            _ca_log.info(f"Another replica was first to fill {store.place}: using its trust bundle")
        return stored, generated

    def _verified(self, store: PartStore, stored: Parts) -> TrustBundle:
        names = names_to_sign(self._settings.identity, in_cluster=self._settings.cluster is not None)
        try:
            return verify(bundle_of(stored), self._now(), names)
        except InvalidBundleError as error:
            if error.fault is not None:
                self._metrics.trust_bundle_refused(error.fault)
            text = f"{error} ({store.locate(*error.parts)})"
            raise InvalidBundleError(text, *error.parts, fault=error.fault) from error

    async def _watch(
        self,
        sources: Sources,
        stored: Parts,
        configuration: Configuration,
        jwt_keys: "OpenedJwtKeys | None",
        renewal: RenewalOfRun | None,
        changed: Changed,
    ) -> None:
        async def reload(*causes: ReloadCause) -> None:
            others = [cause for cause in causes if cause.trigger is not Trigger.TRUST_BUNDLE]
            has_stepped = renewal is not None and renewal.has_stepped
            if others or (causes and not has_stepped):
                report_changes(causes, self._metrics)
                await changed(*causes)
            else:
                # After a step of its own the renewal reloads by itself.
                self._renewer.parts_changed()

        with self._token_validators.in_use(configuration.jwks):
            async with trio.open_nursery() as watching:
                if jwt_keys is not None:
                    watching.start_soon(jwt_keys.rotate, changed)
                if renewal is not None:
                    self._rejections.use(renewal)
                    watching.start_soon(self._rejections.watch, changed)
                    watching.start_soon(self._renewer.renew, renewal, changed)
                await sources.watch(stored, configuration, reload, in_use=renewal is not None)

    # --- differences between environments

    _storage: str
    _restored: str = "it"
    _has_replicas: bool = True
    _publishes_jwks: bool = False
    """True if rotated keys are published beside the trust anchors, in one object."""
    _configuration_source: str
    _targets: Mapping[str, Callable[[], bool]] = {}

    @abstractmethod
    async def _open_sources(self) -> Sources:
        """Opens the sources of the next run; their watch reports changes from here on."""

    @abstractmethod
    async def _read_configuration(self) -> Configuration:
        """Reads and validates the configuration."""

    @abstractmethod
    async def _accepted(self, stored: Parts, *, generated: bool) -> None:
        """Publishes or checks parts that were verified: the trust bundle, then the keys of JWTs."""

    @abstractmethod
    def _validators(self, added: Made) -> Validators:
        """Returns the validators of this environment and those that the configuration adds."""

    @abstractmethod
    async def _cluster_domain(self) -> Callable[[], str]:
        """Returns a function that returns the DNS domain of control-plane services."""

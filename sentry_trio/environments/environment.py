"""Environment of an authority, apart from what differs between the modes."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from sentry_trio.ca.bundle import TrustBundle, verify
from sentry_trio.ca.certificates import Certificate
from sentry_trio.ca.general_names import AlternativeNames
from sentry_trio.ca.parts import Parts, bundle_of
from sentry_trio.ca.renewal_policy import RenewalPolicy, policy_from
from sentry_trio.ca.renewal_root import new_parts
from sentry_trio.ca.renewal_state import roots_made_here
from sentry_trio.ca.spiffe import dns_names, sentry_id
from sentry_trio.conditions import RESTART, Conditions
from sentry_trio.environments.clocks import ClockGuard
from sentry_trio.environments.rejection import RejectionWatch
from sentry_trio.environments.renewal import RenewalOfRun, Renewer
from sentry_trio.environments.root_keys import RootKeyAccess
from sentry_trio.environments.run_inputs import RunInputs, Sources
from sentry_trio.environments.token_validators import Made, TokenValidators
from sentry_trio.environments.trust_gate import TrustGate
from sentry_trio.errors import InvalidBundleError, Part, StoreError
from sentry_trio.event_reasons import EventReason
from sentry_trio.reload import Changed, ReloadCause, Trigger
from sentry_trio.renewal_status import RenewalStatus
from sentry_trio.settings.configuration import Configuration
from sentry_trio.settings.options import Options
from sentry_trio.stores.part_store import PartStore, fill
from sentry_trio.telemetry.logs import get_logger
from sentry_trio.telemetry.metrics import Metrics
from sentry_trio.validators import Validators

if TYPE_CHECKING:
    from sentry_trio.environments.jwt import JwtKeeper, OpenedJwtKeys
    from sentry_trio.kube.uptake import Uptake

_log: Final = get_logger("dapr.sentry")
_ca_log: Final = get_logger("dapr.sentry.ca")


class Environment(ABC):
    """Environment of an authority. It outlives the runs.

    Args:
        options: the command line.
        token_validators: makes the validators that a configuration adds.
        metrics: counts changes of the trust bundle.
        now: the wall clock, aware.
        conditions: where lasting problems are reported.

    Attributes:
        called_by_dns_name: app IDs of control-plane services that are called by DNS names.
    """

    called_by_dns_name: Sequence[str] = ()

    def __init__(
        self,
        options: Options,
        token_validators: TokenValidators,
        *,
        metrics: Metrics,
        now: Callable[[], datetime],
        conditions: Conditions,
    ) -> None:
        self._options = options
        self._token_validators = token_validators
        self._metrics = metrics
        self._now = now
        self._root_keys = RootKeyAccess(options.ca_root_key_passphrase_file)
        self._renewer = Renewer(
            self,
            replace(
                policy_from(options, options.trust_domain, options.namespace),
                enabled=options.ca_renewal_enabled,
                threshold=options.ca_renewal_threshold,
            ),
            metrics=metrics,
            now=now,
            clocks=ClockGuard(now, server_offset=self.clock_offset),
            root_keys=self._root_keys,
        )
        self._gate = TrustGate(self, allowed=options.allow_trust_cut, metrics=metrics, now=now)
        self._rejections = RejectionWatch(self._gate, conditions.condition(RESTART))
        self._jwt_keeper = self._make_jwt_keeper() if options.jwt_enabled else None
        self._had_jwt_keys = False
        self._last_read: tuple[Sources, Parts, Configuration] | None = None

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
        """Returns the program that keeps the trust bundle, if it is known to be another one than this.

        Raises:
            SentryError: it cannot be found out now.
        """
        return None

    def clock_offset(self) -> timedelta | None:
        """Returns how far another clock is ahead of this machine's; None if there is none to compare."""
        return None

    def anchor_sets(self) -> Mapping[frozenset[str], tuple[str, ...]] | None:
        """Returns the sets of trust anchors that workloads cannot exchange, by fingerprints, with those who hold them.

        None if nothing is known of the workloads.
        """
        return None

    def held_roots(self) -> Sequence[Certificate]:
        """Returns the trust anchors in these sets, as far as they are known."""
        return ()

    def uptake(
        self,
        roots: Mapping[str, datetime],  # noqa: ARG002  # for environments that know their sidecars
        published_at: datetime | None,  # noqa: ARG002
    ) -> "Uptake | None":
        """Counts sidecars by the roots that they hold; None if nothing is known of them.

        Args:
            roots: fingerprints of the roots made here, the newest first, and when sidecars that hold one alone are cut
                off.
            published_at: when the newest was published; None if it is the only one.
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
        managed_by = await self.managed_by()
        if managed_by is None:
            stored = await self._renewer.promote(store, stored, policy)
        self._last_read = sources, stored, configuration
        self._rejections.read(stored)
        bundle = self._verified(store, stored)
        if generated and not self._has_replicas:
            self._gate.generated(bundle)
        renewal = RenewalOfRun(store=store, stored=stored, bundle=bundle, policy=policy, managed_by=managed_by)
        self._rejections.check(renewal)
        await self._accepted(stored, generated=generated)
        jwt_keys = None
        if self._jwt_keeper is not None:
            # Also after a first attempt that ended before this: no keys can be lost that were never opened.
            may_generate_keys = may_generate or not self._had_jwt_keys
            jwt_keys = await self._jwt_keeper.open(store, configuration, may_generate=may_generate_keys)
            self._had_jwt_keys = True
            stored = {**stored, **jwt_keys.stored}
            await self._accepted(jwt_keys.stored, generated=False)
        cluster_domain = await self._cluster_domain()
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
        """Watches what `run_inputs` has read last, if it then rejected the trust bundle; runs until cancelled.

        Args:
            changed: called when any of it has changed.
        """
        if self._last_read is not None:
            sources, stored, configuration = self._last_read
            await self._watch(sources, stored, configuration, None, None, changed)

    def _make_jwt_keeper(self) -> "JwtKeeper":
        from sentry_trio.environments.jwt import JwtKeeper

        return JwtKeeper(
            self._options,
            metrics=self._metrics,
            now=self._now,
            is_held=lambda: self._publishes_jwks and self._renewer.is_propagating,
        )

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
            self._metrics.issuer_changed()
            _ca_log.info("Self-signed certs and JWT root key generated and persisted successfully")
        else:
            _ca_log.info(f"Another replica was first to fill {store.place}: using its trust bundle")
        return stored, generated

    def _verified(self, store: PartStore, stored: Parts) -> TrustBundle:
        try:
            return verify(bundle_of(stored), self._now(), self._names_to_sign())
        except InvalidBundleError as error:
            if error.fault is not None:
                self._metrics.trust_bundle_refused(error.fault)
            text = f"{error} ({store.locate(*error.parts)})"
            raise InvalidBundleError(text, *error.parts, fault=error.fault) from error

    def _names_to_sign(self) -> AlternativeNames:
        """Returns the names that certificates of this authority will have, to check its name constraints."""
        options = self._options
        namespace = options.namespace
        names = tuple(name for each in self.called_by_dns_name for name in dns_names(each, namespace, namespace, ""))
        return AlternativeNames(names, (sentry_id(options.trust_domain, namespace),))

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
                self._report_changes(causes)
                await changed(*causes)
            else:
                # After a step of its own the renewal reloads by itself.
                self._renewer.parts_changed()

        with self._token_validators.in_use(configuration.jwks):
            async with trio.open_nursery() as watching:
                if jwt_keys is not None:
                    watching.start_soon(jwt_keys.rotate, changed)
                if renewal is not None:
                    self._gate.use(renewal.stored, renewal.bundle, renewal.policy)
                    self._rejections.used()
                    watching.start_soon(self._rejections.watch, changed)
                    watching.start_soon(self._renewer.renew, renewal, changed)
                await sources.watch(stored, configuration, reload, in_use=renewal is not None)

    def _report_changes(self, causes: Sequence[ReloadCause]) -> None:
        """Logs what changed and counts new issuer credentials.

        The two lines about issuer credentials are Dapr Sentry's, which writes them for any file in their directory.
        """
        for cause in causes:
            sources = list(cause.sources)
            if cause.trigger is Trigger.TRUST_BUNDLE:
                self._metrics.issuer_changed()
                _log.debug("Received issuer credentials changed signal", sources=sources)
                _log.warning("Issuer credentials changed; reloading", sources=sources)
            elif cause.trigger is Trigger.JWT_KEY:
                _log.warning("JWT signing key changed; reloading", sources=sources)
            else:
                _log.warning("Configuration changed; reloading", sources=sources)

    # --- what differs between environments

    _storage: str
    _restored: str = "it"
    _has_replicas: bool = True
    _publishes_jwks: bool = False
    """True if rotated keys are published beside the trust anchors, in one object."""
    _configuration_source: str
    _targets: Mapping[str, Callable[[], bool]] = {}

    @abstractmethod
    async def _open_sources(self) -> Sources:
        """Opens what the next run is read from; changes from here on are reported by its watch."""

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

"""Renewal of the certificate authority: brought up to date when a run is made, and carried out while it serves."""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, NoReturn

import msgspec
import trio
from msgspec.structs import replace

from sentry_trio.backoff import Backoff
from sentry_trio.ca.bundle import TrustBundle
from sentry_trio.ca.certificates import Certificate
from sentry_trio.ca.expiry import WARNING_PERIOD
from sentry_trio.ca.keys import KeyType
from sentry_trio.ca.parts import BUNDLE, BUNDLE_AND_RENEWAL, Parts, merged
from sentry_trio.ca.renewal import Plan, Situation, plan, promote
from sentry_trio.ca.renewal_policy import RenewalPolicy
from sentry_trio.environments.clocks import ClockGuard, seconds_until
from sentry_trio.environments.renewal_report import RenewalReporter
from sentry_trio.environments.root_keys import RootKeyAccess
from sentry_trio.errors import InvalidBundleError, InvalidOptionsError, Part, SentryError, StoreError
from sentry_trio.reload import Changed, ReloadCause, Trigger
from sentry_trio.renewal_status import HoldReason, Phase, RenewalStatus, Step
from sentry_trio.settings.configuration import Configuration
from sentry_trio.stores.part_store import PartStore
from sentry_trio.telemetry.logs import get_logger

if TYPE_CHECKING:
    from sentry_trio.kube.uptake import Uptake

LOOK: Final = 60.0
"""Seconds between two looks at store, clock and sidecars, at most."""

SPREAD: Final = timedelta(seconds=30)
"""Most time by which replicas differ in taking a step; one of them then does."""

_RETRY: Final = 5.0  # s, grows
_LONGEST_RETRY: Final = 300.0  # s

_log: Final = get_logger("dapr.sentry.ca")


class RenewalOfRun(msgspec.Struct, kw_only=True):
    """Renewal as one run sees it.

    Attributes:
        store: the store of the trust bundle.
        stored: stored parts from which the run was made.
        bundle: the trust bundle in it.
        policy: parameters of renewals.
        awaited: the step that is due, after the pause that keeps replicas apart.
        has_stepped: a step was stored that the run was not replaced for yet.
        read_only_since: time, in seconds, since which a step of a renewal in progress cannot be stored; None if it can.
    """

    store: PartStore
    stored: Parts
    bundle: TrustBundle
    policy: RenewalPolicy
    awaited: Step | None = None
    has_stepped: bool = False
    read_only_since: float | None = None

    __repr__ = object.__repr__  # shows no stored key


class Renewer:
    """Carries out the renewal that `sentry_trio.ca.renewal` plans; outlives the runs.

    A step is one write of the store, if that has not changed since the plan. Of several replicas one stores it, and the
    others notice the change like any other. A step that changes the trust bundle is followed by a reload. Failures are
    logged, counted, and retried after 5 s, later 300 s at most; the current issuer signs meanwhile.

    Args:
        policy: parameters of renewals; lifetime of certificates and clock skew are those of the configuration.
        reporter: reports state and steps, and knows the anchors of sidecars.
        is_published: publishes the stored trust anchors unless they are published; returns false if that fails.
        managed_by: returns the name of a program that manages the trust bundle, or None; this may change during a run.
        now: the wall clock, aware.
        clocks: hold steps while the wall clock cannot be trusted.
        root_keys: read the passphrase of root keys that are kept.
        chance: a number from 0 to below 1.
    """

    def __init__(
        self,
        policy: RenewalPolicy,
        reporter: RenewalReporter,
        is_published: Callable[[Parts], Awaitable[bool]],
        managed_by: Callable[[], Awaitable[str | None]],
        *,
        now: Callable[[], datetime],
        clocks: ClockGuard,
        root_keys: RootKeyAccess,
        chance: Callable[[], float],
    ) -> None:
        self._policy = policy
        self._reporter = reporter
        self._is_published = is_published
        self._managed_by = managed_by
        self._now = now
        self._clocks = clocks
        self._root_keys = root_keys
        self._chance = chance
        self._changed = trio.Event()
        self._begun_by: Certificate | None = None
        self._undone_at: datetime | None = None

    @property
    def status(self) -> RenewalStatus | None:
        """State of CA renewal; None before the first look."""
        return self._reporter.status

    @property
    def is_propagating(self) -> bool:
        """True while a new trust anchor is published whose issuer is to sign next, and before the first look."""
        status = self.status
        return status is None or (status.phase == Phase.DISTRIBUTING and status.next_step is not None)

    def parts_changed(self) -> None:
        """Makes the current run check its store at once."""
        self._changed.set()

    def policy_for(self, configuration: Configuration) -> RenewalPolicy:
        """Returns the policy with the lifetimes of a configuration.

        If these leave no time for a renewal, none begins and a warning says so: a configuration that Dapr Sentry
        accepts must not keep the process from serving.

        Raises:
            InvalidOptionsError: the flags alone leave no time.
        """
        replace(self._policy, workload_ttl=timedelta(), allowed_clock_skew=timedelta()).check()
        policy = replace(
            self._policy,
            workload_ttl=configuration.workload_cert_ttl,
            allowed_clock_skew=configuration.allowed_clock_skew,
        )
        try:
            policy.check()
        except InvalidOptionsError as error:
            _log.warning(f"the certificate authority is not renewed: {error}")
            return replace(policy, enabled=False)
        return policy

    # --- when a run is made

    async def promote(self, store: PartStore, stored: Parts, policy: RenewalPolicy) -> Parts:
        """Switches to a stored next pair if that is due, before the trust bundle is verified.

        So a process that starts after its issuer has expired uses the next one, or makes one if the key of the root is
        kept. A failure is logged; verification then decides if the stored parts can be used.

        Returns:
            The current content of the store.

        Raises:
            SentryError: the store cannot be read again.
        """
        if self._clocks.reason_to_hold(policy.allowed_clock_skew) is not None:
            return stored
        while stored:
            try:
                situation = await self._root_keys.opened(Situation(now=self._now()), policy)
                planned = promote(stored, policy, situation)
                if planned.step is None:
                    if planned.held is not None and planned.has_root_key:
                        _log.error(f"the certificate authority cannot be renewed: {planned.held}")
                    return stored
                is_done = await self._store_step(store, stored, planned)
            except InvalidBundleError:
                return stored
            except SentryError as error:
                _log.error(f"failed to switch to the next issuer: {error}")
                return stored
            if is_done:
                return merged(stored, planned.changes)
            stored = await store.read_bundle()
        raise StoreError(f"the trust bundle is missing from {store.place}")

    # --- while it serves

    async def renew(self, run: RenewalOfRun, changed: Changed) -> NoReturn:
        """Takes the steps that are due until cancelled.

        Args:
            run: the run that serves.
            changed: requests a reload after a step.

        Cancellation: at once, but for a write of files and between Secret and ConfigMap.
        """
        backoff = Backoff(first=_RETRY, longest=_LONGEST_RETRY, chance=self._chance)
        while True:
            self._changed = trio.Event()
            try:
                pause = await self._look(run, changed)
            except SentryError as error:
                _log.error(f"failed to renew the certificate authority, still using the current one: {error}")
                self._reporter.look_failed(error)
                pause = backoff.next()
            else:
                backoff.reset()
            with trio.move_on_after(pause):
                await self._changed.wait()

    async def _look(self, run: RenewalOfRun, changed: Changed) -> float:
        """Takes the step that is due; returns the seconds until the next look."""
        found = await run.store.read_bundle()
        if any(found.get(part) != run.stored[part] for part in BUNDLE):
            if run.has_stepped:
                await _reload(run, changed)
            return LOOK  # another writer has changed it, which the watch reports
        uptake = self._reporter.uptake(run.bundle, found)
        planned, reason = await self._plan(run, found, uptake)
        stray_keys = run.store.locate(*planned.stray_keys) if planned.stray_keys else ""
        self._reporter.report(planned, reason, uptake, stray_keys)
        if planned.step is None:
            return seconds_until(planned.due, self._now(), most=LOOK)
        if planned.step is not run.awaited:
            run.awaited = planned.step
            return self._chance() * min(SPREAD, run.policy.lifetime / 100).total_seconds()
        is_done = await self._store_step(run.store, found, planned)
        run.awaited = None
        if is_done:
            if not planned.changes.keys().isdisjoint(BUNDLE):
                run.has_stepped = True
                await _reload(run, changed)
        else:
            _log.debug("another writer changed the trust bundle or the state of its renewal")
        return 0.0

    async def _plan(self, run: RenewalOfRun, found: Parts, uptake: "Uptake | None") -> tuple[Plan, HoldReason | None]:
        """Returns the plan and, if its step is held, the reason."""
        is_published = Part.NEXT_CHAIN not in found or await self._is_published(found)
        hold = self._clocks.reason_to_hold(run.policy.allowed_clock_skew)
        situation = Situation(
            now=self._now(),
            is_published=is_published,
            held_by_all=None if uptake is None else uptake.held_by_all,
            hold=hold,
            managed_by=await self._managed_by(),
            seals_root_keys=self._root_keys.seals,
        )
        problem = await self._root_keys.problem(found, run.policy, situation)
        situation = replace(situation, root_key_problem=problem)
        # Planning without writing makes no keys.
        look = plan(found, run.policy, replace(situation, hold=hold or "this is only a look"))
        is_due = look.next_step_at is not None and look.next_step_at <= situation.now
        self._notice_undone(run.bundle.issuer, look.phase, is_due=is_due)
        situation = replace(situation, undone_at=self._undone_at)
        read_only = await run.store.read_only_reason() if is_due and hold is None else None
        if read_only is not None:
            return self._read_only(run, look, read_only)
        run.read_only_since = None
        if is_due:
            situation = await self._root_keys.opened(replace(situation, root_key_problem=None), run.policy)
        planned = await _planned(found, run.policy, situation) if is_due else look
        if planned.step is not None:
            return planned, None
        # A wrong clock is reported before a step is due, too: it dates certificates.
        planned = replace(planned, held=hold or planned.held)
        if planned.held is not None and planned.held in (problem, situation.root_key_problem):
            return planned, HoldReason.ROOT_KEY
        return planned, None if planned.held is None else _hold_reason(situation)

    def _notice_undone(self, issuer: Certificate, phase: Phase, *, is_due: bool) -> None:
        """Notices that a renewal has ended before the next issuer signed, and another is due: no command did that."""
        if phase is Phase.DISTRIBUTING:
            self._begun_by = issuer
        elif self._begun_by is not None:
            self._undone_at = self._now() if is_due and self._begun_by == issuer else None
            self._begun_by = None

    def _read_only(self, run: RenewalOfRun, look: Plan, read_only: str) -> tuple[Plan, HoldReason | None]:
        """Returns the plan if a step is due that can never be stored.

        A step of a renewal in progress is reported unless another process, which can write the store, takes it soon.
        A renewal that cannot begin is reported before it is too late.
        """
        if look.phase in {Phase.DISTRIBUTING, Phase.SIGNING}:
            run.read_only_since = run.read_only_since or trio.current_time()
            has_waited = trio.current_time() - run.read_only_since >= _LONGEST_RETRY
            held = f"{read_only}: make it writable" if has_waited else None
            return replace(look, held=held, due=None), None if held is None else HoldReason.READ_ONLY
        limit = run.bundle.not_after - run.policy.workload_ttl - run.policy.allowed_clock_skew
        if self._now() < limit - WARNING_PERIOD:
            due = limit - WARNING_PERIOD
            return replace(look, next_step=None, next_step_at=None, due=due, held=None), None
        held = f"{read_only}: make it writable, or replace the certificate authority by hand"
        return replace(look, held=held, due=None), HoldReason.READ_ONLY

    async def _store_step(self, store: PartStore, found: Parts, planned: Plan) -> bool:
        """Stores a step, if the store still holds the parts on which it was planned."""
        expected = {part: found.get(part) for part in BUNDLE_AND_RENEWAL}
        try:
            is_done = await store.replace(planned.changes, expected=expected)
        except SentryError:
            self._reporter.step_failed(planned)
            raise
        if is_done:
            self._reporter.step_stored(planned)
        return is_done


async def _planned(found: Parts, policy: RenewalPolicy, situation: Situation) -> Plan:
    if policy.key_type is KeyType.RSA2048 or policy.keeps_root_key:
        # Making a key of RSA, or decrypting one, takes some tenths of a second.
        return await trio.to_thread.run_sync(plan, found, policy, situation)
    return plan(found, policy, situation)


async def _reload(run: RenewalOfRun, changed: Changed) -> None:
    """Requests the reload that a stored step needs.

    Raises:
        StoreError: the run was not replaced.
    """
    await changed(ReloadCause(Trigger.CA_RENEWAL, run.store.sources(BUNDLE)))
    await trio.lowlevel.checkpoint()  # a run that was replaced ends here
    raise StoreError(f"{run.store.place} contains a renewal step that could not be loaded yet")


def _hold_reason(situation: Situation) -> HoldReason:
    if situation.hold is not None:
        return HoldReason.CLOCK
    return HoldReason.BUNDLE if situation.is_published else HoldReason.CONFIG_MAP

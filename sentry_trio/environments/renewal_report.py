"""Reports of CA renewal: its state for health and metrics, log lines and Events for problems."""

from collections.abc import Callable, Collection, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from sentry_trio.ca.bundle import TrustBundle
from sentry_trio.ca.expiry import WARNING_PERIOD
from sentry_trio.ca.lineage import root_ends
from sentry_trio.ca.parts import Parts
from sentry_trio.ca.renewal import Plan
from sentry_trio.ca.renewal_next import roots_made_here
from sentry_trio.ca.renewal_record import read_record
from sentry_trio.environments.workloads import Workloads
from sentry_trio.errors import ApiUnavailableError, Part, SentryError
from sentry_trio.event_reasons import EventReason
from sentry_trio.renewal_status import HoldReason, RenewalStatus, Step
from sentry_trio.telemetry.logs import get_logger
from sentry_trio.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from sentry_trio.kube.uptake import Uptake

_MOST_NAMES: Final = 10
_REPORTED_EVERY: Final = timedelta(days=1)
_REASONS: Final[Mapping[Step, tuple[EventReason, ...]]] = {
    Step.PUBLISH: (EventReason.RENEWAL_BEGUN,),
    Step.PUBLISH_AND_SWITCH: (EventReason.RENEWAL_BEGUN, EventReason.ISSUER_SWITCHED),
    Step.SWITCH: (EventReason.ISSUER_SWITCHED,),
    Step.RENEW_ISSUER: (EventReason.ISSUER_SWITCHED,),
    Step.ERASE: (EventReason.OLD_KEY_ERASED,),
    Step.CUT: (EventReason.BRIDGE_ENDED,),
    Step.REJECT: (EventReason.RENEWAL_HELD,),
}

_log: Final = get_logger("dapr.sentry.ca")


class RenewalReporter:
    """Keeps the state of CA renewal, and reports problems.

    Args:
        workloads: the trust anchors that they hold.
        notify: reports an event to operators.
        metrics: show the state, and count steps.
        now: the wall clock, aware.

    Attributes:
        status: the state; None before the first report.
    """

    def __init__(
        self,
        workloads: Workloads,
        notify: Callable[[EventReason, str], None],
        *,
        metrics: Metrics,
        now: Callable[[], datetime],
    ) -> None:
        self.status: RenewalStatus | None = None
        self._workloads = workloads
        self._notify = notify
        self._metrics = metrics
        self._now = now
        self._held: str | None = None
        self._stray_keys = ""
        self._misconfiguration: str | None = None
        self._reported: dict[EventReason, datetime] = {}

    def uptake(self, bundle: TrustBundle, found: Parts) -> "Uptake | None":
        """Counts sidecars by the roots made here that they hold; None if nothing is known of them.

        Args:
            bundle: the trust bundle in use.
            found: stored parts.
        """
        roots = root_ends(bundle.anchors, bundle.chain, roots_made_here(found, bundle), self._now())
        record = read_record(found.get(Part.RECORD))
        is_first = record is None or len(record.published) < 2  # before and after
        return self._workloads.uptake(roots, None if record is None or is_first else record.published[-1].since)

    def report(self, planned: Plan, reason: HoldReason | None, uptake: "Uptake | None", stray_keys: str) -> None:
        """Reports the state after a look at the store.

        Args:
            planned: plan for these.
            reason: reason why a due step is not taken; None if none is held.
            uptake: anchors of sidecars.
            stray_keys: names and places of the plan's stray keys; empty if there are none.
        """
        end = planned.bridge_end
        if uptake is not None and uptake.first_end is not None:
            end = uptake.first_end
        self._show(
            RenewalStatus(
                phase=planned.phase,
                generation=planned.generation,
                next_step=planned.next_step,
                next_step_at=planned.next_step_at,
                bridge_end=end,
                held=planned.held,
                held_reason=reason,
                sidecars=None if uptake is None else uptake.counts,
                injector_stale=None if uptake is None else uptake.injector_stale,
                has_root_key=planned.has_root_key,
            )
        )
        self._report_hold(planned)
        self._report_stray_keys(stray_keys)
        self._report_misconfiguration(planned.misconfiguration)
        if uptake is not None and uptake.injector_stale:
            text = "new pods do not get the newest trust anchor: restart dapr-sidecar-injector"
            self._report_daily(EventReason.INJECTOR_STALE, text)
        if uptake is not None and uptake.pinned and end is not None and end - self._now() < WARNING_PERIOD:
            self._report_daily(EventReason.SIDECARS_NEED_RESTART, _pinned_text(uptake.pinned, end))

    def _show(self, status: RenewalStatus) -> None:
        self.status = status
        self._metrics.ca_renewal(status)

    def look_failed(self, error: SentryError) -> None:
        """Reports that the store could not be read or written.

        If a step is due, sends an event once a day, unless the API server cannot be reached.
        """
        if self.status is None:
            return
        self._show(replace(self.status, held=str(error), held_reason=HoldReason.STORE))
        is_due = self.status.next_step_at is not None and self.status.next_step_at <= self._now()
        if is_due and not isinstance(error, ApiUnavailableError):
            self._report_daily(EventReason.RENEWAL_HELD, f"CA renewal is held: {error}")

    def step_stored(self, planned: Plan) -> None:
        """Reports that a step was stored."""
        step = planned.step
        assert step is not None  # noqa: S101  # for the type checker
        is_root_key_erased = step is Step.DISCARD and _erases_root_key(planned)
        reasons = (EventReason.ROOT_KEY_ERASED,) if is_root_key_erased else _REASONS.get(step, ())
        log = _log.debug if step is Step.NOTE else _log.warning if is_root_key_erased else _log.info
        log(f"CA renewal: {planned.text}", step=step)
        self._metrics.ca_step_stored(step)
        if Part.CHAIN in planned.changes:
            self._metrics.issuer_changes.inc()
        for reason in reasons:
            self._notify(reason, planned.text)

    def step_failed(self, planned: Plan) -> None:
        """Counts a step that could not be stored."""
        assert planned.step is not None  # noqa: S101  # for the type checker
        self._metrics.ca_step_failed(planned.step)

    def _report_hold(self, planned: Plan) -> None:
        held = planned.held
        if held is not None and planned.next_step_at is not None and planned.next_step_at > self._now():
            return  # nothing is late yet
        if held is not None and held != self._held:
            text = f"CA renewal is held: {held}"
            _log.warning(text)
            self._notify(EventReason.RENEWAL_HELD, text)
        self._held = held

    def _report_stray_keys(self, stray_keys: str) -> None:
        if stray_keys and stray_keys != self._stray_keys:
            _log.warning(
                f"no renewal needs or removes these private keys beside the trust bundle: {stray_keys}; "
                "move them elsewhere, or erase them if nothing else needs them"
            )
        self._stray_keys = stray_keys

    def _report_misconfiguration(self, reason: str | None) -> None:
        if reason is not None and reason != self._misconfiguration:
            _log.warning(f"the certificate authority is not renewed: {reason}")
        self._misconfiguration = reason

    def _report_daily(self, reason: EventReason, text: str) -> None:
        last = self._reported.get(reason)
        if last is None or abs(self._now() - last) >= _REPORTED_EVERY:  # the clock may have been ahead
            self._reported[reason] = self._now()
            _log.warning(text)
            self._notify(reason, text)


def _erases_root_key(planned: Plan) -> bool:
    """Returns whether a step removes the key of the issuer's root, and not only keys that are left over."""
    return planned.has_root_key and planned.changes.get(Part.ROOT_KEY, b"") is None


def _pinned_text(pods: Collection[str], end: datetime) -> str:
    names = ", ".join(list(pods)[:_MOST_NAMES])
    more = f" and {len(pods) - _MOST_NAMES} more" if len(pods) > _MOST_NAMES else ""
    return f"restart these pods before {end:%Y-%m-%dT%H:%M:%SZ}, when their trust anchors expire: {names}{more}"

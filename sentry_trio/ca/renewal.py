"""Renewal of the certificate authority: steps that are due now, and the time of the next plan. Pure.

A new root R2, cross-signed by the current issuer, is published beside the current one; later its issuer I2 takes over.
Clients verify I2's certificates with the chain `[I2, R2x, I1]` whether they know R1, R2 or both, so none has to
restart before I1 expires. The stored parts show the phase:

    steady         one generation
    distributing   R2 is published; the next pair, chain and key of I2, is stored beside the current one
    signing        I2 signs; the previous pair is kept, as a way back
    retiring       no certificate of I1 is left, and its key is erased; the chain still has the bridge, R2x and I1
    steady         the bridge has expired and is cut off

If the key of R1 is kept, a renewal is another issuer I2 below R1: steady, signing, retiring until I1 expires. Trust
anchors do not change. R1 itself is renewed with the chain `[I2, R2x]`, in which R1 has signed R2x.

Each step is one write of the store, against the content that it was planned for. After a crash, a write of another
replica or an edit between two steps, there is only another plan.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Final

from msgspec.structs import replace

from sentry_trio.ca.certificates import read_certificates
from sentry_trio.ca.parts import KEYS_BESIDE, PREVIOUS, Parts
from sentry_trio.ca.renewal_commands import RenewalCommands, RenewalRequest
from sentry_trio.ca.renewal_policy import RenewalPolicy, Situation
from sentry_trio.ca.renewal_schedule import Due, names_of
from sentry_trio.ca.renewal_state import State, read_state
from sentry_trio.discreet import Discreet
from sentry_trio.errors import Fault, InvalidBundleError, Part, RenewalRejectedError
from sentry_trio.renewal_status import Phase, Step

__all__ = ["Plan", "RenewalPolicy", "RenewalRequest", "Situation", "plan", "promote"]

_HOLD: Final = timedelta(minutes=10)
_REPAIRS: Final = frozenset({RenewalRequest.ROLLBACK, RenewalRequest.DISTRUST, RenewalRequest.REPLACE_EXPIRED})
"""Commands for an issuer that is not valid yet: it was made while the clock was ahead, or the clock lags now."""


class Plan(Discreet, frozen=True, kw_only=True):
    """Step that is due, and the time of the next plan.

    Attributes:
        phase: phase of the stored parts, before the step.
        generation: number of the current generation.
        step: the step that is due; None if there is none.
        changes: contents that the step writes, all at once; None for a part that is removed. Not shown by `repr`.
        text: the step for people; the state if no step is due.
        due: time to plan again if nothing changes until then; None for never. In the past if a step is due.
        next_step: the step that is due, or else the next one; None if none is planned.
        next_step_at: time at which that is due; in the past if it is held.
        bridge_end: last second in which clients that hold only former roots work; None without a bridge.
        held: reason why a step that is due is not taken, or none can be; None if there is none.
        has_root_key: true if the key of the issuer's root is stored.
        stray_keys: private keys beside the trust bundle that no renewal needs or removes.
        misconfiguration: reason why a generated authority is not renewed, with the remedy; None if there is none.
    """

    UNSHOWN = frozenset({"changes"})

    phase: Phase
    generation: int
    step: Step | None
    changes: Mapping[Part, bytes | None]
    text: str
    due: datetime | None
    next_step: Step | None
    next_step_at: datetime | None
    bridge_end: datetime | None
    held: str | None
    has_root_key: bool
    stray_keys: tuple[Part, ...]
    misconfiguration: str | None


def plan(stored: Parts, policy: RenewalPolicy, situation: Situation, request: RenewalRequest | None = None) -> Plan:
    """Returns the step that is due.

    Args:
        stored: all parts of the trust bundle and of its renewal that are stored, read at one moment.
        policy: parameters.
        situation: circumstances.
        request: command to follow; None for the step that is due.

    Raises:
        RenewalRejectedError: the command cannot be followed.
        InvalidBundleError: the trust bundle does not verify, for another reason than that it has expired; or a time
            would be after the year 9999.
        ClockError: the clock is before the release of this program.
    """
    with _dating():
        planner = _Planner(_state(stored, policy, situation, request), situation)
        if request is None:
            return planner.plan()
        try:
            return planner.follow(request)
        except InvalidBundleError as error:
            raise RenewalRejectedError(f"the command {request.value} cannot be executed: {error}") from error


def _state(stored: Parts, policy: RenewalPolicy, situation: Situation, request: RenewalRequest | None) -> State:
    now, is_published = situation.now, situation.is_published
    try:
        return read_state(stored, policy, now, is_published=is_published)
    except InvalidBundleError as error:
        if request not in _REPAIRS or error.fault in {Fault.UNREADABLE, Fault.FOREIGN_BLOCK}:
            raise
    begin = max(now, *(each.not_before for each in read_certificates(stored[Part.CHAIN])))
    return replace(read_state(stored, policy, begin, is_published=is_published), now=now)


def promote(stored: Parts, policy: RenewalPolicy, situation: Situation) -> Plan:
    """Returns the switch to a next pair, if it is due when the store is read, or else a plan without a step.

    An issuer that has expired is renewed if the key of its root is kept. To be called before the trust bundle is
    verified: an issuer that has expired meanwhile must not keep the process from using the next one.

    Raises:
        InvalidBundleError: as `plan`.
    """
    with _dating():
        state = read_state(stored, policy, situation.now, is_published=False)
        return _Planner(state, situation).promote()


@contextmanager
def _dating() -> Iterator[None]:
    try:
        yield
    except OverflowError as error:
        raise InvalidBundleError(
            f"cannot plan the renewal of the certificate authority: {error}; set the clock"
        ) from error


class _Planner:
    """Chooses the step that is due.

    Args:
        state: state of the stored parts.
        situation: circumstances.
    """

    def __init__(self, state: State, situation: Situation) -> None:
        self._state = state
        self._now = situation.now
        self._schedule = RenewalCommands(state, situation)

    def plan(self) -> Plan:
        """Returns the step that is due."""
        schedule = self._schedule
        steps = list(schedule.steps())
        due = [each for each in steps if each.at <= self._now]
        for each in due:
            if schedule.obstacle(each.step) is None:
                return self._take(each)
        if due:
            again = [each.at for each in steps if each.at > self._now]
            return self._idle(due[0], due=min([self._now + _HOLD, *again]), held=schedule.obstacle(due[0].step))
        upcoming = min(steps, key=attrgetter("at"), default=None)
        return self._idle(upcoming, due=None if upcoming is None else upcoming.at, held=schedule.worry())

    def promote(self) -> Plan:
        """Returns the switch to a next pair; see the function of the module."""
        state, schedule = self._state, self._schedule
        # A pair without a bridge that can have one gets it from the first plan, while the current issuer signs.
        may_switch = state.switch_at_last <= self._now or not state.are_foreign(PREVIOUS)
        if state.next is not None and state.switch <= self._now and may_switch and not schedule.may_adopt(state.next):
            return self._take(schedule.switch())
        if state.next is None and state.is_expired:
            return self.plan()
        return self._idle(None, due=None, held=None)

    def follow(self, request: RenewalRequest) -> Plan:
        """Returns the step of a command."""
        due = self._schedule.asked(request)
        if due.step is Step.SWITCH:  # no command begins it
            return self._idle(due, due=due.at, held=self._schedule.worry())
        return self._take(due)

    def _take(self, due: Due) -> Plan:
        due.take()
        draft = self._schedule.draft
        return self._plan(due.step, draft.changes(), draft.text, due=due.at, upcoming=due, held=None)

    def _idle(self, upcoming: Due | None, *, due: datetime | None, held: str | None) -> Plan:
        why_not = self._schedule.why_not_renewed()
        text = held or (f"not renewed: {why_not}" if why_not else "no step is due")
        if left_alone := self._schedule.left_alone():
            text = f"{text}; left alone: {names_of(left_alone)}"
        return self._plan(None, {}, text, due=due, upcoming=upcoming, held=held)

    def _plan(
        self,
        step: Step | None,
        changes: Mapping[Part, bytes | None],
        text: str,
        *,
        due: datetime | None,
        upcoming: Due | None,
        held: str | None,
    ) -> Plan:
        state = self._state
        return Plan(
            phase=state.phase,
            generation=state.record.present.number,
            step=step,
            changes=changes,
            text=text,
            due=due,
            next_step=None if upcoming is None else upcoming.step,
            next_step_at=None if upcoming is None else upcoming.at,
            bridge_end=state.bridge_end,
            held=held,
            has_root_key=state.names_root(Part.ROOT_KEY),
            stray_keys=tuple(part for part in self._schedule.left_alone() if part in KEYS_BESIDE),
            misconfiguration=self._schedule.misconfiguration(),
        )

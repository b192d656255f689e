"""Renewal of the certificate authority: steps that are due now, and when to plan again. Pure.

A new root R2, cross-signed by the present issuer, is published beside the present one; later its issuer I2 takes over.
Clients verify I2's certificates with the chain `[I2, R2x, I1]` whether they know R1, R2 or both, so none has to
restart before I1 expires. What is stored says how far a renewal is:

    steady         one generation
    distributing   R2 is published; the next pair, chain and key of I2, is stored beside the present one
    signing        I2 signs; the previous pair is kept, as a way back
    retiring       no certificate of I1 is left, and its key is erased; the chain still has the bridge, R2x and I1
    steady         the bridge has expired and is cut off

Each step is one write of the store, made on what it was planned on. So a crash, another replica or an edit between two
steps only means another plan.
"""

import enum
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from operator import attrgetter
from typing import Final, NamedTuple, assert_never

from sentry_trio.ca.generation import bridge_impossible
from sentry_trio.ca.parts import NEXT, PREVIOUS, REJECTED, Parts
from sentry_trio.ca.renewal_state import Next, RenewalPolicy, State, read_state
from sentry_trio.ca.renewal_steps import Draft
from sentry_trio.errors import InvalidBundleError, Part, RenewalRejectedError
from sentry_trio.renewal_status import Phase, Step

__all__ = ["Plan", "RenewalPolicy", "RenewalRequest", "Situation", "plan", "promote"]

_HOLD: Final = timedelta(minutes=10)
_REJECTED_KEPT: Final = timedelta(days=1)


class RenewalRequest(enum.Enum):
    """Commands; the values are those of the command line."""

    START = "start"
    CANCEL = "cancel"
    ROLLBACK = "rollback"
    FLATTEN = "flatten"
    REPLACE_EXPIRED = "replace-expired"
    DISTRUST = "distrust"


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """Circumstances that the stored parts do not show.

    Attributes:
        now: the present time, aware.
        is_published: true if clients that follow the trust anchors get the stored ones; always true for files.
        hold: why no step may be taken now, e.g. because clocks disagree; None if one may.
        managed_by: names a program that keeps the trust bundle, e.g. `cert-manager`; None if there is none.
        is_cut_accepted: true if a command may cut off clients that ordinarily would not.
    """

    now: datetime
    is_published: bool = True
    hold: str | None = None
    managed_by: str | None = None
    is_cut_accepted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Step that is due, and when to plan again.

    Attributes:
        phase: of what is stored, before the step.
        generation: its number.
        step: the step that is due; None if none is.
        changes: what it writes, all at once; None for a part that is removed. Not shown by `repr`.
        text: the same for people; the state if no step is due.
        due: when to plan again if nothing changes until then; None for never. In the past if a step is due.
        next_step: the step that is due, or else the next one; None if none is planned.
        next_step_at: when that is due; in the past if it is held.
        bridge_end: last second in which clients that hold only former roots work; None without a bridge.
        held: why a step that is due is not taken, or why none can be; None if nothing is in the way.
    """

    phase: Phase
    generation: int
    step: Step | None
    changes: Mapping[Part, bytes | None] = field(repr=False)
    text: str
    due: datetime | None
    next_step: Step | None
    next_step_at: datetime | None
    bridge_end: datetime | None
    held: str | None


def plan(stored: Parts, policy: RenewalPolicy, situation: Situation, request: RenewalRequest | None = None) -> Plan:
    """Returns the step that is due.

    Args:
        stored: all parts of the trust bundle and of its renewal that are stored, read at one moment.
        policy: how renewals are done.
        situation: circumstances.
        request: a command to follow; None for what time brings.

    Raises:
        RenewalRejectedError: the command cannot be followed.
        InvalidBundleError: the trust bundle does not verify, for another reason than that it has expired; or a time
            would be after the year 9999.
        ClockError: the clock is before the release of this program.
    """
    with _dating():
        state = read_state(stored, policy, situation.now, is_published=situation.is_published)
        planner = _Planner(state, situation)
        if request is None:
            return planner.plan()
        try:
            return planner.follow(request)
        except InvalidBundleError as error:
            raise RenewalRejectedError(f"the command {request.value} cannot be executed: {error}") from error


def promote(stored: Parts, policy: RenewalPolicy, now: datetime) -> Plan:
    """Returns the switch to a next pair, if it is due when the store is read, or else a plan without a step.

    To be called before the trust bundle is verified: an issuer that has expired meanwhile must not keep the process
    from using the next one.

    Raises:
        InvalidBundleError: as `plan`.
    """
    with _dating():
        state = read_state(stored, policy, now, is_published=False)
        return _Planner(state, Situation(now=now)).promote()


@contextmanager
def _dating() -> Iterator[None]:
    try:
        yield
    except OverflowError as error:
        raise InvalidBundleError(
            f"cannot plan the renewal of the certificate authority: {error}; set the clock"
        ) from error


class _Due(NamedTuple):
    """A step, when it is due, and what takes it; it may still be held."""

    at: datetime
    step: Step
    take: Callable[[], None]


class _Planner:
    """Decides which step is due.

    Args:
        state: what is stored.
        situation: circumstances.
    """

    def __init__(self, state: State, situation: Situation) -> None:
        self._state = state
        self._situation = situation
        self._now = situation.now
        self._draft = Draft(state)
        self._bridge_refusal = None if state.is_expired else bridge_impossible(state.bundle, state.now)

    # --- what time brings

    def plan(self) -> Plan:
        steps = list(self._schedule())
        due = [each for each in steps if each.at <= self._now]
        for each in due:
            if self._obstacle(each.step) is None:
                return self._take(each)
        if due:
            again = [each.at for each in steps if each.at > self._now]
            return self._idle(due[0], due=min([self._now + _HOLD, *again]), held=self._obstacle(due[0].step))
        upcoming = min(steps, key=attrgetter("at"), default=None)
        return self._idle(upcoming, due=None if upcoming is None else upcoming.at, held=self._worry())

    def promote(self) -> Plan:
        state = self._state
        # A pair without a bridge that can have one gets it from the first plan, while the present issuer signs.
        may_switch = state.switch_at_last <= self._now or not state.are_foreign(PREVIOUS)
        if state.next is not None and state.switch <= self._now and may_switch and not self._may_adopt(state.next):
            return self._take(_Due(state.switch, Step.SWITCH, self._draft.switch))
        return self._idle(None, due=None, held=self._worry())

    def _schedule(self) -> Iterator[_Due]:
        """Yields steps; the more urgent first."""
        state, draft = self._state, self._draft
        if not self._is_in_charge:
            return
        if state.next is not None:
            if self._may_adopt(state.next):
                at = self._now if state.room is None else min(state.room, state.limit)
                yield _Due(at, Step.ADOPT, partial(draft.adopt, state.next))
            yield _Due(state.switch, Step.SWITCH, draft.switch)
            yield _Due(state.switch_at_last, Step.SWITCH, draft.switch)  # whatever is in the way of the other
        if state.is_expired:
            return  # All other stored parts may be needed for a manual repair.
        if state.misfit is not None:
            yield _Due(self._now, Step.REJECT, draft.reject)
        if state.settled is not None and Part.PREVIOUS_KEY in state.stored and state.phase is not Phase.STEADY:
            yield _Due(state.settled, Step.ERASE, draft.erase)
        if self._may_begin():
            yield self._beginning(state.begin)
        if state.phase is Phase.RETIRING:
            yield _Due(state.cut, Step.CUT, draft.cut)
        if leftovers := self._leftovers():
            yield _Due(self._now, Step.DISCARD, partial(draft.discard, leftovers))
        if state.record.rejected_at is not None:
            yield _Due(state.record.rejected_at + _REJECTED_KEPT, Step.DISCARD, partial(draft.discard, REJECTED))
        if not state.is_noted:
            yield _Due(self._now, Step.NOTE, draft.note)

    def _beginning(self, at: datetime) -> _Due:
        if self._now < self._state.limit:
            return _Due(at, Step.PUBLISH, self._draft.publish)
        return _Due(at, Step.PUBLISH_AND_SWITCH, self._draft.publish_and_switch)

    def _may_adopt(self, following: Next) -> bool:
        return not following.is_bridged and not self._state.is_expired and self._bridge_refusal is None

    def _may_begin(self) -> bool:
        state = self._state
        is_free = state.phase in {Phase.STEADY, Phase.RETIRING} and state.misfit is None
        return is_free and state.policy.enabled and self._why_not_renewed() is None

    def _why_not_renewed(self) -> str | None:
        if self._situation.managed_by is not None:
            return f"{self._situation.managed_by} manages it"
        if not self._state.is_own and self._state.policy.scope == "own":
            return "it was not generated by sentry-trio or Dapr Sentry, and --ca-renewal-scope is own"
        if self._bridge_refusal is not None:
            return f"its issuer cannot sign another certificate authority: {self._bridge_refusal}"
        return None

    @property
    def _is_in_charge(self) -> bool:
        """True if the parts beside the trust bundle are those of a renewal, not other files of the same names."""
        state = self._state
        is_renewed = state.is_own or state.policy.scope == "any" or state.has_record
        return is_renewed and self._situation.managed_by is None

    def _leftovers(self) -> list[Part]:
        """Returns the stored parts that belong to no renewal, but for those that were rejected."""
        state = self._state
        next_pair = NEXT if state.next is None and state.misfit is None else ()
        unused = (*next_pair, *(PREVIOUS if state.phase is Phase.STEADY and state.has_record else ()))
        return [part for part in unused if part in state.stored]

    def _left_alone(self) -> str:
        """Returns the names of parts that are stored and that no renewal has stored, for people."""
        state = self._state
        own = () if self._is_in_charge else state.stored
        left = [part for part in (*NEXT, *PREVIOUS, *REJECTED) if part in own or part in state.foreign]
        return ", ".join(part.value for part in left)

    def _in_the_way(self, parts: Collection[Part]) -> str | None:
        if not self._state.are_foreign(parts):
            return None
        return f"no renewal has stored these parts, which it needs to write: {self._left_alone()}; move them elsewhere"

    def _obstacle(self, step: Step) -> str | None:
        """Returns the reason why a step that is due is not taken, or None."""
        if self._situation.hold is not None:
            return self._situation.hold
        state = self._state
        if step is Step.SWITCH and self._now < state.switch_at_last:
            return self._worry()
        if step is Step.REJECT and self._now < state.limit:
            return self._in_the_way(REJECTED)
        return None

    def _worry(self) -> str | None:
        """Returns what is in the way of the renewal, although its next step may not be due yet; or None."""
        state = self._state
        if state.next is None:
            return "the issuer has expired, and there is no next one" if state.is_expired else None
        if not self._situation.is_published:
            return "the new trust anchors are not published"
        if not state.next.is_bridged:
            return f"the next issuer has no bridge, as {self._why_not_bridged()}"
        return self._in_the_way(PREVIOUS)

    def _why_not_bridged(self) -> str:
        if self._state.is_expired:
            return "the present one has expired"
        return self._bridge_refusal or self._crowded() or "no step has added it yet"

    def _crowded(self) -> str | None:
        room = self._state.room
        return None if room is None else f"the chain has no room for another one before {_shown(room)}"

    # --- what commands ask for

    def follow(self, request: RenewalRequest) -> Plan:
        if self._situation.hold is not None:
            raise RenewalRejectedError(self._situation.hold)
        if self._situation.managed_by is not None:
            raise RenewalRejectedError(
                f"{self._situation.managed_by} manages the trust bundle and would revert the change"
            )
        if request is RenewalRequest.START and self._state.phase is Phase.DISTRIBUTING:
            switch = _Due(self._state.switch, Step.SWITCH, self._draft.switch)
            return self._idle(switch, due=switch.at, held=self._worry())
        match request:
            case RenewalRequest.START:
                return self._take(self._start())
            case RenewalRequest.CANCEL:
                return self._take(self._cancel())
            case RenewalRequest.ROLLBACK:
                return self._take(self._roll_back())
            case RenewalRequest.FLATTEN:
                return self._take(self._flatten())
            case RenewalRequest.REPLACE_EXPIRED:
                return self._take(self._replace_expired())
            case RenewalRequest.DISTRUST:
                return self._take(_Due(self._now, Step.PUBLISH_AND_SWITCH, self._draft.distrust))
            case _:
                assert_never(request)

    def _start(self) -> _Due:
        self._check_phase("start another renewal", Phase.STEADY, Phase.RETIRING)
        if self._state.is_expired:
            raise RenewalRejectedError("the issuer has expired: replace it with 'ca rotate --replace-expired'")
        if why_not := self._why_not_renewed():
            raise RenewalRejectedError(f"the certificate authority cannot be renewed: {why_not}")
        if self._now < self._state.limit and (crowded := self._crowded()):
            raise RenewalRejectedError(f"the certificate authority cannot be renewed yet: {crowded}")
        return self._beginning(self._now)

    def _cancel(self) -> _Due:
        if self._state.phase is Phase.SIGNING:
            raise RenewalRejectedError("the next issuer already signs: use 'ca rotate --rollback'")
        self._check_phase("cancel a renewal", Phase.DISTRIBUTING)
        if self._state.is_expired:
            raise RenewalRejectedError("the present issuer has expired: the next one is needed")
        return _Due(self._now, Step.DISCARD, self._draft.cancel)

    def _roll_back(self) -> _Due:
        if self._state.phase is Phase.DISTRIBUTING:
            return self._cancel()
        if self._state.phase is Phase.RETIRING:
            raise RenewalRejectedError("the previous issuer's key is erased: there is no way back")
        self._check_phase("roll back a renewal", Phase.SIGNING)
        if missing := [part.value for part in PREVIOUS if part not in self._state.stored]:
            raise RenewalRejectedError(f"the store has no {', '.join(missing)}: there is no way back")
        return _Due(self._now, Step.ROLLBACK, self._draft.roll_back)

    def _flatten(self) -> _Due:
        state = self._state
        if state.phase is Phase.SIGNING:
            raise RenewalRejectedError(f"certificates of the previous issuer are valid until {_shown(state.settled)}")
        if state.is_expired or state.root is None:
            raise RenewalRejectedError("the issuer alone has no path to the trust anchors")
        take = partial(self._draft.flatten, is_cut_accepted=self._situation.is_cut_accepted)
        return _Due(self._now, Step.CUT, take)

    def _replace_expired(self) -> _Due:
        if not self._state.is_expired or self._state.next is not None:
            raise RenewalRejectedError("the issuer has not expired, or there is a next one: start a renewal instead")
        return _Due(self._now, Step.PUBLISH_AND_SWITCH, self._draft.replace)

    def _check_phase(self, what: str, *phases: Phase) -> None:
        state = self._state
        if state.phase not in phases:
            until = "" if state.settled is None else f", which ends at {_shown(state.settled)}"
            raise RenewalRejectedError(f"cannot {what} while the phase is {state.phase}{until}")

    # --- results

    def _take(self, due: _Due) -> Plan:
        due.take()
        return self._plan(due.step, self._draft.changes(), self._draft.text, due=due.at, upcoming=due, held=None)

    def _idle(self, upcoming: _Due | None, *, due: datetime | None, held: str | None) -> Plan:
        why_not = self._why_not_renewed()
        text = held or (f"not renewed: {why_not}" if why_not else "no step is due")
        if left_alone := self._left_alone():
            text = f"{text}; left alone: {left_alone}"
        return self._plan(None, {}, text, due=due, upcoming=upcoming, held=held)

    def _plan(
        self,
        step: Step | None,
        changes: Mapping[Part, bytes | None],
        text: str,
        *,
        due: datetime | None,
        upcoming: _Due | None,
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
        )


def _shown(moment: datetime | None) -> str:
    return "an unknown time" if moment is None else f"{moment:%Y-%m-%dT%H:%M:%SZ}"

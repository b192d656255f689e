"""Schedule of a renewal: its steps with the times at which they are due, and what is in their way. Pure."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Final, NamedTuple

from sentry_trio.ca.certificates import fingerprint
from sentry_trio.ca.generation import bridge_impossible
from sentry_trio.ca.parts import NEXT, PREVIOUS, REJECTED
from sentry_trio.ca.renewal_next import Next
from sentry_trio.ca.renewal_policy import LEAST_GRACE
from sentry_trio.ca.renewal_state import State
from sentry_trio.ca.renewal_steps import Draft
from sentry_trio.errors import Part
from sentry_trio.renewal_status import Phase, Step

_REJECTED_KEPT: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """Circumstances that the stored parts do not show.

    Attributes:
        now: the present time, aware.
        is_published: true if clients that follow the trust anchors get the stored ones; always true for files.
        held_by_all: fingerprint of the root that all sidecars are known to hold; None if there is none.
        hold: why no step may be taken now, e.g. because clocks disagree; None if one may.
        managed_by: names a program that keeps the trust bundle, e.g. `cert-manager`; None if there is none.
        is_cut_accepted: true if a command may cut off clients that ordinarily would not.
    """

    now: datetime
    is_published: bool = True
    held_by_all: str | None = None
    hold: str | None = None
    managed_by: str | None = None
    is_cut_accepted: bool = False


class Due(NamedTuple):
    """A step, when it is due, and what takes it; it may still be held."""

    at: datetime
    step: Step
    take: Callable[[], None]


class RenewalSchedule:
    """Steps of a renewal.

    Args:
        state: what is stored.
        situation: circumstances.
        draft: takes the steps.
    """

    def __init__(self, state: State, situation: Situation, draft: Draft) -> None:
        self._state = state
        self._situation = situation
        self._draft = draft
        self._now = situation.now
        self._bridge_refusal = None if state.is_expired else bridge_impossible(state.bundle, state.now)

    def steps(self) -> Iterator[Due]:
        """Yields steps; the more urgent first."""
        state, draft = self._state, self._draft
        if not self._is_in_charge:
            return
        if state.next is not None:
            if self.may_adopt(state.next):
                at = self._now if state.room is None else min(state.room, state.limit)
                yield Due(at, Step.ADOPT, partial(draft.adopt, state.next))
            yield self.switch()
            yield Due(state.switch_at_last, Step.SWITCH, draft.switch)  # whatever is in the way of the other
        if state.is_expired:
            return  # All other stored parts may be needed for a manual repair.
        if state.misfit is not None:
            yield Due(self._now, Step.REJECT, draft.reject)
        if state.settled is not None and Part.PREVIOUS_KEY in state.stored and state.phase is not Phase.STEADY:
            yield Due(state.settled, Step.ERASE, draft.erase)
        if self._may_begin():
            yield self.beginning(state.begin)
        if state.phase is Phase.RETIRING:
            yield Due(state.cut, Step.CUT, draft.cut)
        if leftovers := self._leftovers():
            yield Due(self._now, Step.DISCARD, partial(draft.discard, leftovers))
        if state.record.rejected_at is not None:
            yield Due(state.record.rejected_at + _REJECTED_KEPT, Step.DISCARD, partial(draft.discard, REJECTED))
        if not state.is_noted:
            yield Due(self._now, Step.NOTE, draft.note)

    def switch(self) -> Due:
        """Returns the switch to the next issuer."""
        at = min((self._state.switch, *self._early_switch()))
        return Due(at, Step.SWITCH, self._draft.switch)

    def _early_switch(self) -> Iterator[datetime]:
        """Yields the time of the switch if the grace ends early."""
        following, published = self._state.next, self._state.record.published_at
        if not self._state.policy.grace_may_end_early or following is None or published is None:
            return
        if fingerprint(following.root) == self._situation.held_by_all:
            yield max(published + LEAST_GRACE, following.bundle.not_before)

    def beginning(self, at: datetime) -> Due:
        """Returns the step with which a renewal begins."""
        if self._now < self._state.limit:
            return Due(at, Step.PUBLISH, self._draft.publish)
        return Due(at, Step.PUBLISH_AND_SWITCH, self._draft.publish_and_switch)

    def may_adopt(self, following: Next) -> bool:
        """Returns whether a next pair has no bridge and can get one."""
        return not following.is_bridged and not self._state.is_expired and self._bridge_refusal is None

    def _may_begin(self) -> bool:
        state = self._state
        is_free = state.phase in {Phase.STEADY, Phase.RETIRING} and state.misfit is None
        return is_free and state.policy.enabled and self.why_not_renewed() is None

    def why_not_renewed(self) -> str | None:
        """Returns the reason why no renewal can begin, or None."""
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

    def left_alone(self) -> str:
        """Returns the names of parts that are stored and that no renewal has stored, for people."""
        state = self._state
        own = () if self._is_in_charge else state.stored
        left = [part for part in (*NEXT, *PREVIOUS, *REJECTED) if part in own or part in state.foreign]
        return ", ".join(part.value for part in left)

    def _in_the_way(self, parts: Collection[Part]) -> str | None:
        if not self._state.are_foreign(parts):
            return None
        return f"no renewal has stored these parts, which it needs to write: {self.left_alone()}; move them elsewhere"

    def obstacle(self, step: Step) -> str | None:
        """Returns the reason why a step that is due is not taken, or None."""
        if self._situation.hold is not None:
            return self._situation.hold
        state = self._state
        if step is Step.SWITCH and self._now < state.switch_at_last:
            return self.worry()
        if step is Step.REJECT and self._now < state.limit:
            return self._in_the_way(REJECTED)
        return None

    def worry(self) -> str | None:
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
        return self._bridge_refusal or self.crowded() or "no step has added it yet"

    def crowded(self) -> str | None:
        """Returns until when the chain has no room for another bridge, or None."""
        room = self._state.room
        return None if room is None else f"the chain has no room for another one before {shown_moment(room)}"


def shown_moment(moment: datetime | None) -> str:
    """Returns a time for people."""
    return "an unknown time" if moment is None else f"{moment:%Y-%m-%dT%H:%M:%SZ}"

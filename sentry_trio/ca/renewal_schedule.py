"""Schedule of a renewal: its steps with the times at which they are due, and reasons to hold them. Pure."""

from collections.abc import Callable, Collection, Iterable, Iterator
from datetime import datetime, timedelta
from functools import partial
from typing import Final, NamedTuple

from sentry_trio.ca.certificates import fingerprint
from sentry_trio.ca.generation import bridge_impossible, generated_for
from sentry_trio.ca.parts import NEXT, PREVIOUS, REJECTED, ROOT_KEYS
from sentry_trio.ca.pem import is_encrypted
from sentry_trio.ca.renewal_command_steps import CommandDraft
from sentry_trio.ca.renewal_next import Next
from sentry_trio.ca.renewal_policy import LEAST_GRACE, Situation
from sentry_trio.ca.renewal_root import RootKeys
from sentry_trio.ca.renewal_state import State
from sentry_trio.ca.spiffe import sentry_id
from sentry_trio.errors import Part
from sentry_trio.renewal_status import Phase, Step

_REJECTED_KEPT: Final = timedelta(days=1)
_PATIENCE: Final = timedelta(days=7)  # less if lifetimes are short


class Due(NamedTuple):
    """Step, the time at which it is due, and the function that takes it; it may still be held."""

    at: datetime
    step: Step
    take: Callable[[], None]


class RenewalSchedule:
    """Steps of a renewal.

    Args:
        state: state of the stored parts.
        situation: circumstances.

    Attributes:
        draft: parts as the taken steps have changed them.
    """

    def __init__(self, state: State, situation: Situation) -> None:
        self._state = state
        self._situation = situation
        self._root_keys = RootKeys(state, situation)
        self.draft = CommandDraft(state, self._root_keys)
        self._now = situation.now
        self._bridge_refusal = None if state.is_expired else bridge_impossible(state.bundle, state.now)

    def steps(self) -> Iterator[Due]:
        """Yields steps, the most urgent first."""
        state, draft = self._state, self.draft
        if not self._is_in_charge:
            return
        if state.next is not None:
            if self.may_adopt(state.next):
                at = self._now if state.room is None else min(state.room, state.limit)
                yield Due(at, Step.ADOPT, partial(draft.adopt, state.next))
            yield self.switch()
            yield Due(state.switch_at_last, Step.SWITCH, draft.switch)  # even if the other one is held
        if state.is_expired:
            if self._may_begin() and state.has_root_key and self._situation.hold is None and self._root_keys.key():
                yield self.renew_issuer(self._now)
            return  # All other stored parts may be needed for a manual repair.
        if state.misfit is not None:
            yield Due(self._now, Step.REJECT, draft.reject)
        if state.settled is not None and Part.PREVIOUS_KEY in state.stored and state.phase is not Phase.STEADY:
            yield Due(state.settled, Step.ERASE, draft.erase)
        if self._may_begin():
            yield self.beginning(state.begin)
        yield from self._discards()
        if not state.is_noted:
            yield Due(self._now, Step.NOTE, draft.note)

    def _discards(self) -> Iterator[Due]:
        """Yields the steps that remove unneeded parts."""
        state, draft = self._state, self.draft
        if state.phase is Phase.RETIRING and len(state.bundle.chain) > 1:
            yield Due(state.cut, Step.CUT, draft.cut)
        elif state.phase is Phase.RETIRING:
            yield Due(state.cut, Step.DISCARD, partial(draft.discard, PREVIOUS))
        if idle := state.idle_root_keys:
            yield Due(self._now, Step.DISCARD, partial(draft.discard_root_keys, idle))
        if self._has_unsealed_key():
            yield Due(self._now, Step.NOTE, draft.seal)
        if leftovers := self._leftovers():
            yield Due(self._now, Step.DISCARD, partial(draft.discard, leftovers))
        if state.record.rejected_at is not None:
            yield Due(state.record.rejected_at + _REJECTED_KEPT, Step.DISCARD, partial(draft.discard, REJECTED))

    def _has_unsealed_key(self) -> bool:
        """Returns whether an unencrypted root key, e.g. from a backup of files, can be encrypted."""
        state = self._state
        is_unsealed = state.has_root_key and not is_encrypted(state.stored[Part.ROOT_KEY])
        return is_unsealed and self._situation.seals_root_keys and self._root_keys.problem() is None

    def switch(self) -> Due:
        """Returns the switch to the next issuer."""
        at = min((self._state.switch, *self._early_switch()))
        return Due(at, Step.SWITCH, self.draft.switch)

    def _early_switch(self) -> Iterator[datetime]:
        """Yields the time of the switch if the grace ends early."""
        following, published = self._state.next, self._state.record.published_at
        if not self._state.policy.grace_may_end_early or following is None or published is None:
            return
        if fingerprint(following.root) == self._situation.held_by_all:
            yield max(published + LEAST_GRACE, following.bundle.not_before)

    def beginning(self, at: datetime) -> Due:
        """Returns the step with which a renewal begins.

        With the root's key this is another issuer below the root, until the root itself has to be renewed. If the key
        cannot be used for a week, the current issuer signs the next root, as if no key were kept.
        """
        root_begin = self._state.root_begin
        is_root_due = root_begin is not None and root_begin <= self._now
        if self._state.has_root_key and not is_root_due and not self._is_given_up(at):
            return self.renew_issuer(at)
        if self._now < self._state.limit:
            return Due(at, Step.PUBLISH, self.draft.publish)
        return Due(at, Step.PUBLISH_AND_SWITCH, self.draft.publish_and_switch)

    def renew_issuer(self, at: datetime) -> Due:
        """Returns the step that makes another issuer below the same root."""
        return Due(at, Step.RENEW_ISSUER, self.draft.renew_issuer)

    def _is_given_up(self, at: datetime) -> bool:
        # Decrypting the key takes time: only if the step can be taken.
        is_over = self._situation.hold is None and self._patience_end(at) <= self._now
        return is_over and self._root_keys.problem() is not None

    def _patience_end(self, at: datetime) -> datetime:
        state = self._state
        return min(at + min(_PATIENCE, state.policy.lifetime / 20), max(at, state.limit - state.policy.grace))

    def may_adopt(self, following: Next) -> bool:
        """Returns whether a next pair has no bridge and can get one."""
        return not following.is_bridged and not self._state.is_expired and self._bridge_refusal is None

    def _may_begin(self) -> bool:
        state = self._state
        # In every phase, an expired issuer has no valid certificates.
        is_free = state.phase in {Phase.STEADY, Phase.RETIRING} or (state.phase is Phase.SIGNING and state.is_expired)
        return is_free and state.misfit is None and state.policy.enabled and self.why_not_renewed() is None

    def why_not_renewed(self) -> str | None:
        """Returns the reason why no renewal can begin, or None."""
        if self._situation.managed_by is not None:
            return f"{self._situation.managed_by} manages it"
        if not self._state.is_own and self._state.policy.scope == "own":
            return f"it was {self._origin()}, and --ca-renewal-scope is own"
        if self._bridge_refusal is not None and not self._state.has_root_key:
            return f"its issuer cannot sign another certificate authority: {self._bridge_refusal}"
        return None

    def _origin(self) -> str:
        if (identity := generated_for(self._state.bundle)) is None:
            return "not generated by sentry-trio or Dapr Sentry"
        policy = self._state.policy
        return f"generated for {identity}, not for {sentry_id(policy.trust_domain, policy.namespace)}"

    def misconfiguration(self) -> str | None:
        """Returns the reason why a generated authority is not renewed by this process, with the remedy; or None."""
        is_wanted = self._state.policy.enabled and self._situation.managed_by is None
        why_not = self.why_not_renewed() if is_wanted and not self._state.is_own else None
        if why_not is None or generated_for(self._state.bundle) is None:
            return None
        return f"{why_not}: set --trust-domain and NAMESPACE to the former, or --ca-renewal-scope to any"

    @property
    def _is_in_charge(self) -> bool:
        """True if the parts beside the trust bundle are those of a renewal, and not other files with the same names."""
        state = self._state
        is_renewed = state.is_own or state.policy.scope == "any" or state.has_record
        return is_renewed and self._situation.managed_by is None

    def _leftovers(self) -> list[Part]:
        """Returns the stored parts that belong to no renewal, except rejected ones."""
        state = self._state
        next_pair = NEXT if state.next is None and state.misfit is None else ()
        unused = (*next_pair, *(PREVIOUS if state.phase is Phase.STEADY and state.has_record else ()))
        return [part for part in unused if part in state.stored]

    def left_alone(self) -> tuple[Part, ...]:
        """Returns the stored parts that no known renewal has stored."""
        state = self._state
        own = () if self._is_in_charge else state.stored
        beside = (*NEXT, *PREVIOUS, *REJECTED, *ROOT_KEYS)
        return tuple(part for part in beside if part in own or part in state.foreign)

    def _in_the_way(self, parts: Collection[Part]) -> str | None:
        if not self._state.are_foreign(parts):
            return None
        left_alone = names_of(self.left_alone())
        return f"no renewal has stored these parts, which it needs to write: {left_alone}; move them elsewhere"

    def obstacle(self, step: Step) -> str | None:
        """Returns the reason why a step that is due is not taken, or None."""
        if self._situation.hold is not None:
            return self._situation.hold
        state = self._state
        if step is Step.SWITCH and self._now < state.switch_at_last:
            return self.worry()
        is_patient = step in {Step.RENEW_ISSUER, Step.PUBLISH} and self._now < self._patience_end(state.begin)
        if is_patient and (problem := self._root_keys.problem()):
            return problem
        if step is Step.PUBLISH and (undone := self._undone()):
            return undone
        if step is Step.RENEW_ISSUER and self._now < state.limit:
            return self._in_the_way(PREVIOUS)
        if step is Step.REJECT and self._now < state.limit:
            return self._in_the_way(REJECTED)
        return None

    def _undone(self) -> str | None:
        """Returns the obstacle if others have undone a renewal lately: each attempt changes the trust anchors."""
        undone, state = self._situation.undone_at, self._state
        if undone is None:
            return None
        again = min(undone + min(_PATIENCE, state.policy.lifetime / 20), state.limit)
        if self._now >= again:
            return None
        return (
            "a renewal had begun, and another program or person has put the former trust bundle back: let them ignore "
            "the changes of renewals, then use 'sentry-trio ca rotate --start'; the next attempt begins at "
            f"{shown_moment(again)}"
        )

    def worry(self) -> str | None:
        """Returns the obstacle to the renewal, although its next step may not be due yet; or None."""
        state = self._state
        if state.next is None:
            if state.is_expired:
                problem = self._root_keys.problem() if state.has_root_key else None
                return f"the issuer has expired, and {problem or 'there is no next one'}"
            return (self._situation.root_key_problem or self._lost_origin()) if state.policy.keeps_root_key else None
        if not self._situation.is_published:
            return "the new trust anchors are not published"
        if not state.next.is_bridged:
            return f"the next issuer has no bridge, as {self._why_not_bridged()}"
        return self._in_the_way(PREVIOUS)

    def _lost_origin(self) -> str | None:
        """Returns the obstacle and its remedies if nothing shows that the authority was made here, or None."""
        if self._state.is_own or not self._state.policy.enabled or self.why_not_renewed() is None:
            return None
        if self._situation.managed_by is not None:
            return None
        return (
            "--ca-root-key is keep, but neither a root key nor a renewal record shows that it was generated here: "
            "restore one of them from a backup, or see --ca-renewal-scope; else set --ca-root-key to discard"
        )

    def _why_not_bridged(self) -> str:
        if self._state.is_expired:
            return "the current one has expired"
        return self._bridge_refusal or self.crowded() or "no step has added it yet"

    def crowded(self) -> str | None:
        """Returns the time until which the chain has no room for another bridge, or None."""
        room = self._state.room
        return None if room is None else f"the chain has no room for another one before {shown_moment(room)}"


def names_of(parts: Iterable[Part]) -> str:
    """Returns the names of parts for people."""
    return ", ".join(part.value for part in parts)


def shown_moment(moment: datetime | None) -> str:
    """Returns a time for people."""
    return "an unknown time" if moment is None else f"{moment:%Y-%m-%dT%H:%M:%SZ}"

"""Commands about a renewal: the step of each, or the reason why it cannot be taken. Pure."""

import enum
from functools import partial
from typing import assert_never

from sentry_trio.ca.parts import PREVIOUS
from sentry_trio.ca.renewal_schedule import Due, RenewalSchedule, shown_moment
from sentry_trio.errors import RenewalRejectedError
from sentry_trio.renewal_status import Phase, Step


class RenewalRequest(enum.Enum):
    """Commands; the values are those of the command line."""

    START = "start"
    CANCEL = "cancel"
    ROLLBACK = "rollback"
    FLATTEN = "flatten"
    REPLACE_EXPIRED = "replace-expired"
    DISTRUST = "distrust"
    RENEW_ISSUER = "root-key"


class RenewalCommands(RenewalSchedule):
    """Steps of a renewal, including those of commands; see `RenewalSchedule`."""

    def asked(self, request: RenewalRequest) -> Due:
        """Returns the step of a command; a switch if a renewal has begun already.

        Raises:
            RenewalRejectedError: the command cannot be followed.
        """
        if self._situation.hold is not None:
            raise RenewalRejectedError(self._situation.hold)
        if self._situation.managed_by is not None:
            raise RenewalRejectedError(
                f"{self._situation.managed_by} manages the trust bundle and would revert the change"
            )
        match request:
            case RenewalRequest.START:
                return self._start()
            case RenewalRequest.CANCEL:
                return self._cancel()
            case RenewalRequest.ROLLBACK:
                return self._roll_back()
            case RenewalRequest.FLATTEN:
                return self._flatten()
            case RenewalRequest.REPLACE_EXPIRED:
                return self._replace_expired()
            case RenewalRequest.DISTRUST:
                self._check_root_keys()
                return Due(self._now, Step.PUBLISH_AND_SWITCH, self.draft.distrust)
            case RenewalRequest.RENEW_ISSUER:
                return self._renew_by_root_key()
            case _:
                assert_never(request)

    def _start(self) -> Due:
        if self._state.phase is Phase.DISTRIBUTING:
            return self.switch()
        if not self._state.is_expired:
            self._check_phase("start another renewal", Phase.STEADY, Phase.RETIRING)
        elif not self._state.has_root_key:
            raise RenewalRejectedError("the issuer has expired: replace it with 'ca rotate --replace-expired'")
        if why_not := self.why_not_renewed():
            raise RenewalRejectedError(f"the certificate authority cannot be renewed: {why_not}")
        self._check_root_keys()
        if self._state.is_expired:
            return self.renew_issuer(self._now)
        has_room = self._state.has_root_key or self._now >= self._state.limit
        if not has_room and (crowded := self.crowded()):
            raise RenewalRejectedError(f"the certificate authority cannot be renewed yet: {crowded}")
        return self.beginning(self._now)

    def _renew_by_root_key(self) -> Due:
        self._check_phase("renew the issuer", Phase.STEADY, Phase.RETIRING)
        root = self._state.root
        if root is None:
            raise RenewalRejectedError("the root of the issuer is not among the trust anchors")
        if root.not_after < self._now:
            raise RenewalRejectedError("the root has expired: replace it with 'ca rotate --replace-expired'")
        if root.not_after <= self._state.bundle.not_after:
            raise RenewalRejectedError(f"the root expires at {shown_moment(root.not_after)}, and so does the issuer")
        self._check_root_keys()
        return self.renew_issuer(self._now)

    def _check_root_keys(self) -> None:
        if problem := self._root_keys.problem():
            raise RenewalRejectedError(f"{problem}; with --ca-root-key=discard no root key is used or kept")

    def _cancel(self) -> Due:
        if self._state.phase is Phase.SIGNING:
            raise RenewalRejectedError("the next issuer already signs: use 'ca rotate --rollback'")
        self._check_phase("cancel a renewal", Phase.DISTRIBUTING)
        if self._state.is_expired:
            raise RenewalRejectedError("the current issuer has expired: the next one is needed")
        return Due(self._now, Step.DISCARD, self.draft.cancel)

    def _roll_back(self) -> Due:
        if self._state.phase is Phase.DISTRIBUTING:
            return self._cancel()
        if self._state.phase is Phase.RETIRING:
            raise RenewalRejectedError("the previous issuer's key is erased: there is no way back")
        self._check_phase("roll back a renewal", Phase.SIGNING)
        if missing := [part.value for part in PREVIOUS if part not in self._state.stored]:
            raise RenewalRejectedError(f"the store has no {', '.join(missing)}: there is no way back")
        return Due(self._now, Step.ROLLBACK, self.draft.roll_back)

    def _flatten(self) -> Due:
        state = self._state
        if state.phase is Phase.SIGNING:
            raise RenewalRejectedError(
                f"certificates of the previous issuer are valid until {shown_moment(state.settled)}"
            )
        if state.is_expired or state.root is None:
            raise RenewalRejectedError("the issuer alone has no path to the trust anchors")
        take = partial(self.draft.flatten, is_cut_accepted=self._situation.is_cut_accepted)
        return Due(self._now, Step.CUT, take)

    def _replace_expired(self) -> Due:
        begin = self._state.bundle.not_before
        if self._now < begin:
            raise RenewalRejectedError(
                f"the issuer has not expired, it is not valid before {shown_moment(begin)}: set the clock if it is "
                "behind; if it was ahead when the issuer was made, use 'ca rotate --rollback', or '--distrust' if that "
                "is rejected"
            )
        if not self._state.is_expired or self._state.next is not None:
            raise RenewalRejectedError("the issuer has not expired, or there is a next one: start a renewal instead")
        self._check_root_keys()
        return Due(self._now, Step.PUBLISH_AND_SWITCH, self.draft.replace)

    def _check_phase(self, what: str, *phases: Phase) -> None:
        state = self._state
        if state.phase not in phases:
            until = "" if state.settled is None else f", which ends at {shown_moment(state.settled)}"
            raise RenewalRejectedError(f"cannot {what} while the phase is {state.phase}{until}")

"""Checks a rejected trust bundle again: the clients that it would cut off may have gone."""

from datetime import timedelta
from typing import NoReturn

import trio

from sentry_trio.ca.parts import BUNDLE, Parts
from sentry_trio.conditions import Condition
from sentry_trio.environments.clocks import ClockGuard
from sentry_trio.environments.renewal import LOOK, RenewalOfRun
from sentry_trio.environments.trust_gate import TrustGate
from sentry_trio.errors import TrustCutError
from sentry_trio.reload import Changed, ReloadCause, Trigger


class RejectionWatch:
    """Checks trust bundles, and repeats the check of a rejected one while the previous one is in use.

    A wrong clock shows certificates as expired. So a rejection lasts while the clock cannot be trusted, and another
    trust bundle is then checked at both times.

    Args:
        gate: checks trust bundles.
        clocks: show if the wall clock can be trusted.
        failed_restart: the condition that shows why a bundle was rejected.
    """

    def __init__(self, gate: TrustGate, clocks: ClockGuard, failed_restart: Condition) -> None:
        self._gate = gate
        self._clocks = clocks
        self._failed_restart = failed_restart
        self._rejected: tuple[RenewalOfRun, TrustCutError] | None = None

    def read(self, stored: Parts) -> None:
        """Records the store's content: a rejection of other content is over."""
        if self._rejected is not None and self._rejected[0].stored != stored:
            self._rejected = None

    def check(self, candidate: RenewalOfRun) -> None:
        """Checks that a trust bundle cuts off no client; see `TrustGate.check`.

        Raises:
            TrustCutError: it does, while another is in use.
        """
        lead = self._clock_lead(candidate)
        if self._rejected is not None and lead:
            raise self._rejected[1].with_traceback(None)  # each attempt would add its frames
        try:
            self._gate.check(candidate, clock_lead=lead)
        except TrustCutError as error:
            self._rejected = candidate, error
            raise

    def _clock_lead(self, candidate: RenewalOfRun) -> timedelta:
        return self._clocks.lead(candidate.policy.allowed_clock_skew)

    def use(self, renewal: RenewalOfRun) -> None:
        """Records that a run signs with the bundle that was checked last."""
        self._gate.use(renewal)
        self._rejected = None

    async def watch(self, changed: Changed) -> NoReturn:
        """Requests a reload if a rejected trust bundle would cut off other clients now, or none; until cancelled.

        Nothing changes in the store when the last of these clients restarts, or the last certificate expires.
        """
        while True:
            await trio.sleep(LOOK)
            if self._rejected is None:
                continue
            candidate, former = self._rejected
            if self._clock_lead(candidate):
                continue
            error = self._error_now(candidate)
            if error is None or error.reasons != former.reasons:
                await changed(ReloadCause(Trigger.TRUST_CUT, candidate.store.sources(BUNDLE)))
            else:
                # Other pods of the same roots: only health names those that are left.
                if self._failed_restart.message == str(former):
                    self._failed_restart.set(str(error))
                self._rejected = candidate, error

    def _error_now(self, candidate: RenewalOfRun) -> TrustCutError | None:
        try:
            self._gate.check(candidate, quietly=True)
        except TrustCutError as error:
            return error
        return None

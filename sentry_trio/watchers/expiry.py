"""Expiry watcher: warns in time of certificates that expire."""

from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta
from typing import Final, NoReturn

import trio

from sentry_trio.ca import expiry
from sentry_trio.ca.bundle import TrustBundle
from sentry_trio.ca.expiry import ExpiryState
from sentry_trio.telemetry.logs import get_logger

INTERVAL: Final = 3600.0
"""Seconds between two checks."""

TICK: Final = 60.0
"""Seconds between two comparisons of the wall clock with monotonic time."""

JUMP: Final = timedelta(minutes=1)
"""Drift between the clocks within a tick above which the wall clock counts as set."""

_log = get_logger("dapr.sentry.expiry")


async def watch_expiry(
    bundle: TrustBundle,
    *,
    now: Callable[[], datetime],
    report: Callable[[Sequence[ExpiryState]], None],
    own_roots: Collection[str] = (),
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> NoReturn:
    """Checks every certificate of a bundle at once and then hourly; runs until cancelled.

    One line per certificate and check: a warning if it has expired or will within 30 days, else at debug level, as for
    those that a renewal has left over. Dapr
    1.8 used the same words, but began after an hour and looked at the first root only; Dapr Sentry 1.18 has no
    such watcher.

    Whether a certificate is valid is a matter of the wall clock, while checks are an hour of monotonic time apart.
    So once a minute the clocks are compared: a wall clock that was set, or a machine that was suspended, by more
    than a minute is logged as a warning, and the certificates are checked at once.

    Args:
        bundle: the certificates.
        now: the wall clock; aware.
        report: called with the states after each check, e.g. for metrics and health. Its errors end the watch.
        own_roots: fingerprints of the roots made here.
        task_status: started after the first check.

    Cancellation: at once.
    """
    _log.debug("starting certificate expiration watcher")
    try:
        _check(bundle, now, own_roots, report)
        task_status.started()
        while True:
            await _sleep_unless_set(INTERVAL, now)
            _check(bundle, now, own_roots, report)
    finally:
        _log.debug("terminating certificate expiration watcher")


def _check(
    bundle: TrustBundle,
    now: Callable[[], datetime],
    own_roots: Collection[str],
    report: Callable[[Sequence[ExpiryState]], None],
) -> None:
    states = expiry.report(bundle, now(), own_roots)
    for each in states:
        log = _log.warning if each.needs_attention else _log.debug
        log(each.message, role=each.role, subject=each.subject, fingerprint=each.fingerprint)
    report(states)


async def _sleep_unless_set(seconds: float, now: Callable[[], datetime]) -> None:
    """Sleeps in ticks; returns early if the wall clock was set."""
    wall, steady = now(), trio.current_time()
    deadline = steady + seconds
    while steady < deadline:
        await trio.sleep_until(min(steady + TICK, deadline))
        wall_then, steady_then = wall, steady
        wall, steady = now(), trio.current_time()
        drift = (wall - wall_then) - timedelta(seconds=steady - steady_then)
        if abs(drift) > JUMP:
            direction = "forward" if drift > timedelta(0) else "back"
            _log.warning(
                f"The wall clock went {direction} by {round(abs(drift).total_seconds())} s against elapsed time; "
                "checking the certificates again"
            )
            return

"""Timers of a connection."""

import pytest

from sentry_trio.grpc.connection_timers import ConnectionTimers, TimerAction
from sentry_trio.grpc.limits import Limits

LIMITS = Limits(
    handshake_timeout=5, idle_timeout=100, age=1000, keepalive_time=60, keepalive_timeout=20, send_timeout=30
)


def _action(
    timers: ConnectionTimers, now: float, *, idle: bool = True, sent: int = 0, unsent: bool = False
) -> TimerAction:
    return timers.action(now, idle=idle, sent=sent, unsent=unsent)


def test_a_silent_peer_is_cut() -> None:
    timers = ConnectionTimers(LIMITS, 0)
    assert _action(timers, 4.9) is TimerAction.KEEP
    assert _action(timers, 5) is TimerAction.CUT


def test_silence_is_asked_once_and_then_cut() -> None:
    timers = ConnectionTimers(LIMITS, 0)
    timers.heard(1)
    assert [_action(timers, now, idle=False) for now in (60.9, 61, 62, 80.9, 81)] == [
        TimerAction.KEEP,
        TimerAction.PING,
        TimerAction.KEEP,
        TimerAction.KEEP,
        TimerAction.CUT,
    ]


def test_a_sign_of_life_begins_anew() -> None:
    timers = ConnectionTimers(LIMITS, 0)
    timers.heard(1)
    assert _action(timers, 61, idle=False) is TimerAction.PING
    timers.heard(62)
    assert [_action(timers, now, idle=False) for now in (90, 121.9, 122)] == [
        TimerAction.KEEP,
        TimerAction.KEEP,
        TimerAction.PING,
    ]


@pytest.mark.parametrize("idle", [True, False])
def test_idle_ones_leave(idle: bool) -> None:
    timers = ConnectionTimers(LIMITS, 0)
    timers.idle_since = 10
    timers.heard(99)
    assert _action(timers, 99, idle=idle) is TimerAction.KEEP
    timers.heard(110)
    assert (_action(timers, 110, idle=idle) is TimerAction.LEAVE) is idle


def test_old_ones_leave_though_they_work_and_not_all_at_once() -> None:
    ends = set()
    for _ in range(50):
        timers = ConnectionTimers(LIMITS, 0)
        for now in range(890, 1001):
            timers.heard(now)
            if _action(timers, now, idle=False) is TimerAction.LEAVE:
                ends.add(now)
                break
    assert min(ends) >= 900
    assert max(ends) <= 1000
    assert len(ends) > 10


def test_a_peer_that_reads_nothing_is_cut() -> None:
    timers = ConnectionTimers(LIMITS, 0)
    timers.heard(0)
    assert _action(timers, 10, sent=100, unsent=True) is TimerAction.KEEP
    assert _action(timers, 20, sent=101, unsent=True) is TimerAction.KEEP  # a byte is progress
    assert _action(timers, 49.9, sent=101, unsent=True) is TimerAction.KEEP
    assert _action(timers, 50, sent=101, unsent=True) is TimerAction.CUT


def test_a_peer_without_unsent_data_is_kept() -> None:
    timers = ConnectionTimers(LIMITS, 0)
    timers.heard(59)
    assert _action(timers, 59) is TimerAction.KEEP

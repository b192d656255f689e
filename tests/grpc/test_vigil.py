"""What becomes of a connection as time goes by."""

import pytest

from sentry_trio.grpc.limits import Limits
from sentry_trio.grpc.vigil import Verdict, Vigil

LIMITS = Limits(
    handshake_timeout=5, idle_timeout=100, age=1000, keepalive_time=60, keepalive_timeout=20, send_timeout=30
)


def _verdict(vigil: Vigil, now: float, *, idle: bool = True, sent: int = 0, unsent: bool = False) -> Verdict:
    return vigil.verdict(now, idle=idle, sent=sent, unsent=unsent)


def test_who_never_speaks_is_cut() -> None:
    vigil = Vigil(LIMITS, 0)
    assert _verdict(vigil, 4.9) is Verdict.KEEP
    assert _verdict(vigil, 5) is Verdict.CUT


def test_silence_is_asked_once_and_then_cut() -> None:
    vigil = Vigil(LIMITS, 0)
    vigil.heard(1)
    assert [_verdict(vigil, now, idle=False) for now in (60.9, 61, 62, 80.9, 81)] == [
        Verdict.KEEP,
        Verdict.PING,
        Verdict.KEEP,
        Verdict.KEEP,
        Verdict.CUT,
    ]


def test_a_sign_of_life_begins_anew() -> None:
    vigil = Vigil(LIMITS, 0)
    vigil.heard(1)
    assert _verdict(vigil, 61, idle=False) is Verdict.PING
    vigil.heard(62)
    assert [_verdict(vigil, now, idle=False) for now in (90, 121.9, 122)] == [
        Verdict.KEEP,
        Verdict.KEEP,
        Verdict.PING,
    ]


@pytest.mark.parametrize("idle", [True, False])
def test_idle_ones_leave(idle: bool) -> None:
    vigil = Vigil(LIMITS, 0)
    vigil.idle_since = 10
    vigil.heard(99)
    assert _verdict(vigil, 99, idle=idle) is Verdict.KEEP
    vigil.heard(110)
    assert (_verdict(vigil, 110, idle=idle) is Verdict.LEAVE) is idle


def test_old_ones_leave_though_they_work_and_not_all_at_once() -> None:
    ends = set()
    for _ in range(50):
        vigil = Vigil(LIMITS, 0)
        for now in range(890, 1001):
            vigil.heard(now)
            if _verdict(vigil, now, idle=False) is Verdict.LEAVE:
                ends.add(now)
                break
    assert min(ends) >= 900
    assert max(ends) <= 1000
    assert len(ends) > 10


def test_who_takes_nothing_is_cut() -> None:
    vigil = Vigil(LIMITS, 0)
    vigil.heard(0)
    assert _verdict(vigil, 10, sent=100, unsent=True) is Verdict.KEEP
    assert _verdict(vigil, 20, sent=101, unsent=True) is Verdict.KEEP  # a byte is progress
    assert _verdict(vigil, 49.9, sent=101, unsent=True) is Verdict.KEEP
    assert _verdict(vigil, 50, sent=101, unsent=True) is Verdict.CUT


def test_who_has_nothing_to_take_is_not_stuck() -> None:
    vigil = Vigil(LIMITS, 0)
    vigil.heard(59)
    assert _verdict(vigil, 59) is Verdict.KEEP

"""Answers kept for a while, in virtual time."""

import trio
from trio.testing import MockClock

from sentry_trio.kube.token_review import TtlCache


async def test_a_value_is_kept_so_long_and_no_longer(autojump_clock: MockClock) -> None:
    recent = TtlCache[int](seconds=30, limit=10)
    recent.put(b"a", 1)
    await trio.sleep(29.9)
    assert recent.get(b"a") == 1
    await trio.sleep(0.1)
    assert recent.get(b"a") is None
    assert len(recent) == 0


async def test_keeping_again_begins_again(autojump_clock: MockClock) -> None:
    recent = TtlCache[int](seconds=30, limit=10)
    recent.put(b"a", 1)
    await trio.sleep(20)
    recent.put(b"a", 2)
    await trio.sleep(20)
    assert recent.get(b"a") == 2


async def test_over_the_limit_the_oldest_has_to_go() -> None:
    recent = TtlCache[int](seconds=30, limit=3)
    for key in (b"a", b"b", b"c", b"a", b"d"):
        recent.put(key, key[0])
    assert [recent.get(key) for key in (b"a", b"b", b"c", b"d")] == [ord("a"), None, ord("c"), ord("d")]
    assert len(recent) == 3


async def test_forgetting() -> None:
    recent = TtlCache[int](seconds=30, limit=3)
    recent.put(b"a", 1)
    recent.remove(b"a")
    recent.remove(b"b")
    assert recent.get(b"a") is None

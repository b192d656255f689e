"""Pauses between attempts."""

from sentry_trio.backoff import Backoff


def test_pauses_grow_up_to_a_bound() -> None:
    backoff = Backoff(first=1, longest=5, chance=lambda: 0)
    assert [backoff.next() for _ in range(5)] == [1, 2, 4, 5, 5]
    backoff.reset()
    assert backoff.next() == 1


def test_chance_takes_up_to_half_off() -> None:
    backoff = Backoff(first=1, longest=5, chance=lambda: 1)
    assert [backoff.next() for _ in range(4)] == [0.5, 1, 2, 2.5]
    pauses = {Backoff(first=1).next() for _ in range(10)}
    assert len(pauses) > 1

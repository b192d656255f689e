"""Reclaiming memory above the budget."""

from typing import Any

from sentry_trio.grpc.memory_budget import MemoryBudget


class Holder:
    def __init__(self, budget: Any, name: str, given_up: list[tuple[str, int]]) -> None:
        self.budget, self.name, self.given_up = budget, name, given_up

    def hold(self, stream_id: int, size: int) -> None:
        self.budget.total += size
        self.budget.add(self, stream_id)

    def reclaim(self, stream_id: int) -> None:
        self.given_up.append((self.name, stream_id))
        self.budget.total -= 40


def test_the_oldest_incomplete_requests_go_first_whosever_they_are() -> None:
    given_up: list[tuple[str, int]] = []
    budget: Any = MemoryBudget(100)
    one, other = Holder(budget, "one", given_up), Holder(budget, "other", given_up)
    one.hold(1, 40)
    other.hold(1, 40)
    one.hold(3, 40)
    budget.discard(one, 1)  # it is whole, and stays
    assert budget.reclaim()
    assert given_up == [("other", 1)]
    assert budget.total == 80


def test_what_is_whole_is_not_given_up() -> None:
    given_up: list[tuple[str, int]] = []
    budget: Any = MemoryBudget(100)
    one = Holder(budget, "one", given_up)
    for stream_id in (1, 3, 5, 7):
        one.hold(stream_id, 40)
        if stream_id != 5:
            budget.discard(one, stream_id)
    assert not budget.reclaim()
    assert given_up == [("one", 5)]
    assert budget.total == 120


def test_within_the_bound_nothing_is_given_up() -> None:
    given_up: list[tuple[str, int]] = []
    budget: Any = MemoryBudget(100)
    Holder(budget, "one", given_up).hold(1, 100)
    assert budget.reclaim()
    assert given_up == []

"""Reclaiming memory above the budget."""

from typing import Any

from sentry_trio.grpc.limits import CONNECTION_BYTES
from sentry_trio.grpc.memory_budget import MemoryBudget
from sentry_trio.grpc.turn_scheduler import SLICE


class Holder:
    def __init__(self, budget: Any, name: str, given_up: list[tuple[str, int | None]]) -> None:
        self.budget, self.name, self.given_up = budget, name, given_up
        self.held = 0
        budget.opened(self)

    def hold(self, stream_id: int, size: int, *, waits: bool = True) -> None:
        self.held += size
        self.budget.total += size
        if waits:
            self.budget.add(self, stream_id)

    def reclaim(self, stream_id: int | None) -> bool:
        if not self.held:
            return False
        self.given_up.append((self.name, stream_id))
        self.held -= 40
        self.budget.total -= 40
        return True


def test_the_largest_connection_that_waits_for_its_peer_goes_first() -> None:
    """Its oldest, and not what is complete."""
    given_up: list[tuple[str, int | None]] = []
    budget: Any = MemoryBudget(200, connections=2)
    budget.set_accepted(1)  # so that half is for calls
    first, complete, largest = (Holder(budget, name, given_up) for name in ("first", "complete", "largest"))
    first.hold(1, 40)
    complete.hold(1, 90, waits=False)
    for stream_id in (3, 1):
        largest.hold(stream_id, 40)
    budget.discard(first, 3)
    assert budget.reclaim(100)
    assert given_up == [("largest", 3), ("first", 1), ("largest", 1)]


def test_if_no_connection_waits_the_largest_is_reclaimed() -> None:
    given_up: list[tuple[str, int | None]] = []
    budget: Any = MemoryBudget(200, connections=2)
    budget.set_accepted(1)  # so that half is for calls
    one, other = (Holder(budget, name, given_up) for name in ("one", "other"))
    one.hold(1, 40, waits=False)
    other.hold(1, 80, waits=False)
    assert budget.reclaim(100)
    assert given_up == [("other", None)]
    budget.closed(other)
    budget.add(other, 1)
    budget.total += 100
    assert budget.reclaim(100) == 6
    assert budget.reclaim(100) == 0, "what is left is nobody's"
    assert given_up == [("other", None), ("one", None)]


def test_within_the_bound_nothing_is_rejected() -> None:
    given_up: list[tuple[str, int | None]] = []
    budget: Any = MemoryBudget(200, connections=2)
    budget.set_accepted(1)  # so that half is for calls
    Holder(budget, "one", given_up).hold(1, 100)
    assert budget.reclaim(100) == 0
    assert given_up == []


def test_thousands_of_calls_do_not_end_at_once() -> None:
    given_up: list[tuple[str, int | None]] = []
    budget: Any = MemoryBudget(200, connections=2)
    holder = Holder(budget, "one", given_up)
    for stream_id in range(1000):
        holder.hold(stream_id, 40)
    assert budget.reclaim(SLICE) == SLICE + 2
    assert len(given_up) == 17
    assert budget.reclaim(SLICE) == SLICE + 2
    assert given_up[17:] == [("one", stream_id) for stream_id in range(17, 34)]


def test_open_connections_leave_less_for_calls_but_half_in_any_case() -> None:
    budget: Any = MemoryBudget(10 * CONNECTION_BYTES, connections=200)
    budget.set_accepted(4)
    budget.total = 6 * CONNECTION_BYTES
    assert not budget.exceeded
    budget.total += 1
    assert budget.exceeded
    budget.set_accepted(3)
    assert not budget.exceeded
    budget.set_accepted(100)
    budget.total = 5 * CONNECTION_BYTES
    assert not budget.exceeded
    budget.total += 1
    assert budget.exceeded
    budget.set_accepted(198)
    budget.total = int(3.25 * CONNECTION_BYTES)
    assert not budget.exceeded, "as much as 200 connections, and an eighth of the limit"
    budget.total += 1
    assert budget.exceeded
    budget.set_accepted(300)
    budget.total = int(1.25 * CONNECTION_BYTES)
    assert not budget.exceeded


def test_a_connection_finds_room_unless_calls_use_the_memory() -> None:
    budget: Any = MemoryBudget(10 * CONNECTION_BYTES, connections=200)
    budget.set_accepted(199)
    assert budget.has_room_for_connection
    budget.total = CONNECTION_BYTES
    assert not budget.has_room_for_connection
    budget.set_accepted(198)
    assert budget.has_room_for_connection

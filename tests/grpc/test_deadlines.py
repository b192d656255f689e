"""Ends of calls at their deadlines, in virtual time."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from sentry_trio.grpc.deadlines import Deadlines
from sentry_trio.grpc.turn_scheduler import TurnScheduler

MOST = 16


@dataclass
class Ended:
    """Calls that have ended: their times, and their number in each turn."""

    turns: TurnScheduler
    at: list[float] = field(default_factory=list)
    in_turns: Counter[int] = field(default_factory=Counter)


@dataclass
class Due:
    """A call with a deadline, or with none."""

    due_at: float | None
    ended: Ended

    def expire(self) -> None:
        self.ended.at.append(trio.current_time())
        self.ended.in_turns[self.ended.turns.number] += 1


@pytest.fixture
async def ended() -> Ended:
    turns = TurnScheduler()
    trio.lowlevel.add_instrument(turns)  # until the end of the test's run
    return Ended(turns)


@pytest.fixture
async def deadlines(nursery: trio.Nursery) -> Any:
    served = Deadlines()
    nursery.start_soon(served.end_overdue)
    return served


async def test_calls_end_at_their_deadlines(autojump_clock: MockClock, deadlines: Any, ended: Ended) -> None:
    begin = trio.current_time()
    for seconds in (5, 1, 3):
        deadlines.add(Due(begin + seconds, ended))
        await wait_all_tasks_blocked()
    await trio.sleep(10)
    assert ended.at == [begin + 1, begin + 3, begin + 5]


async def test_calls_of_one_moment_end_in_several_turns(
    autojump_clock: MockClock, deadlines: Any, ended: Ended
) -> None:
    due_at = trio.current_time() + 2
    for _ in range(10 * MOST):
        deadlines.add(Due(due_at, ended))
    await trio.sleep(2)
    while len(ended.at) < 10 * MOST:
        await trio.lowlevel.checkpoint()
    assert set(ended.in_turns.values()) == {MOST}
    assert set(ended.at) == {due_at}


async def test_a_call_that_has_ended_or_has_no_deadline_is_left_alone(
    autojump_clock: MockClock, deadlines: Any, ended: Ended
) -> None:
    now = trio.current_time()
    assert deadlines.add(Due(None, ended)) is None
    deadlines.remove(None)
    numbers = [deadlines.add(Due(now + seconds, ended)) for seconds in range(1, 4)]
    deadlines.remove(numbers[0])
    await trio.sleep(2.5)
    assert ended.at == [now + 2]
    deadlines.remove(numbers[1])
    deadlines.remove(numbers[2])
    await trio.sleep(5)
    assert ended.at == [now + 2]


async def test_calls_that_have_ended_take_no_memory_until_their_deadlines(deadlines: Any, ended: Ended) -> None:
    late = trio.current_time() + 1e9
    for _ in range(10):
        open_now = [deadlines.add(Due(late, ended)) for _ in range(200)]
        for number in open_now:
            deadlines.remove(number)
    assert len(deadlines._due) < 200

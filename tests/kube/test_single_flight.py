"""One question for all who ask at the same time, in virtual time."""

from collections.abc import Awaitable, Callable

import pytest
import trio
from trio.testing import MockClock

from sentry_trio.errors import ApiUnavailableError
from sentry_trio.kube.single_flight import SingleFlight


class Question:
    """Takes a second to be answered."""

    def __init__(self) -> None:
        self.asked = 0
        self.failure: Exception | None = None

    async def __call__(self) -> int:
        self.asked += 1
        number = self.asked
        await trio.sleep(1)
        if self.failure is not None:
            raise self.failure
        return number


async def outcomes(count: int, ask: Callable[[], Awaitable[int]]) -> list[object]:
    """Results of `count` simultaneous tasks, and their times."""
    found: list[object] = []

    async def one() -> None:
        try:
            found.append((await ask(), trio.current_time() - start))
        except (ApiUnavailableError, KeyError) as error:
            found.append((type(error), str(error), trio.current_time() - start))

    start = trio.current_time()
    async with trio.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(one)
    return found


async def test_the_same_question_is_asked_once(autojump_clock: MockClock) -> None:
    flights, question = SingleFlight[int](), Question()
    assert await outcomes(50, lambda: flights.run("a", question)) == [(1, 1.0)] * 50
    assert question.asked == 1
    # It is not kept.
    assert await flights.run("a", question) == 2


async def test_other_questions_are_asked_at_the_same_time(autojump_clock: MockClock) -> None:
    flights, question = SingleFlight[int](), Question()
    keys = iter("abc")
    assert sorted(map(str, await outcomes(3, lambda: flights.run(next(keys), question)))) == [
        "(1, 1.0)",
        "(2, 1.0)",
        "(3, 1.0)",
    ]


async def test_all_waiting_callers_get_the_error(autojump_clock: MockClock) -> None:
    flights, question = SingleFlight[int](), Question()
    question.failure = ApiUnavailableError("away")
    assert await outcomes(5, lambda: flights.run("a", question)) == [(ApiUnavailableError, "away", 1.0)] * 5
    assert question.asked == 1


async def test_a_defect_affects_each_separately(autojump_clock: MockClock) -> None:
    flights, question = SingleFlight[int](), Question()
    question.failure = KeyError("defect")
    reported = await outcomes(3, lambda: flights.run("a", question))
    assert reported == [(KeyError, "'defect'", 1.0), (KeyError, "'defect'", 2.0), (KeyError, "'defect'", 3.0)]


@pytest.mark.parametrize("patience", [0.0, 0.5])
async def test_another_caller_asks_if_the_first_is_cancelled(autojump_clock: MockClock, patience: float) -> None:
    flights, question = SingleFlight[int](), Question()

    async def impatient() -> None:
        with trio.move_on_after(patience) as scope:
            await flights.run("a", question)
        assert scope.cancelled_caught

    async with trio.open_nursery() as nursery:
        nursery.start_soon(impatient)
        await trio.testing.wait_all_tasks_blocked()
        assert await outcomes(10, lambda: flights.run("a", question)) == [(2, 1 + patience)] * 10
    assert question.asked == 2


async def test_a_waiting_caller_may_be_cancelled(autojump_clock: MockClock) -> None:
    flights, question = SingleFlight[int](), Question()

    async def impatient() -> None:
        with trio.move_on_after(0.5):
            await flights.run("a", question)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(flights.run, "a", question)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(impatient)
    assert question.asked == 1
    assert trio.current_time() == pytest.approx(1)

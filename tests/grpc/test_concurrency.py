"""Limit on handlers, in virtual time."""

from collections import Counter
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
import trio
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from trio.testing import MockClock, assert_no_checkpoints, wait_all_tasks_blocked

from sentry_trio.grpc.concurrency import ConcurrencyLimiter
from sentry_trio.grpc.limits import CALLS_STARTED_AT_ONCE
from sentry_trio.grpc.observer import Observer, Shed
from sentry_trio.grpc.turn_scheduler import TurnScheduler


class Source(NamedTuple):
    name: str = "one"
    network: str = "192.0.2.1"


USUAL = Source()


@dataclass
class Caller:
    due_at: float | None = None
    peer: object = ("192.0.2.1", 4000)
    connection: Source = USUAL


SOMEBODY = Caller()


class Callers:
    """Callers of a limiter; each holds its turn for a while."""

    def __init__(self, limiter: Any, *, hold: float = 1.0) -> None:
        self.limiter = limiter
        self.hold = hold
        self.begun: list[int] = []
        self.refused: list[tuple[int, Status]] = []

    def admit(self, deadline: float | None = None) -> Status | None:
        try:
            self.limiter.reserve(Caller(deadline))
        except GRPCError as error:
            return error.status
        return None

    async def arrive(self, nursery: trio.Nursery, count: int) -> None:
        """So many are admitted and call, one after the other."""
        for number in range(count):
            assert self.admit() is None
            nursery.start_soon(self.call, number)
            await wait_all_tasks_blocked()

    async def call(self, number: int) -> None:
        try:
            await self.limiter.acquire(SOMEBODY)
        except GRPCError as error:
            self.refused.append((number, error.status))
            return
        self.begun.append(number)
        try:
            await trio.sleep(self.hold)
        finally:
            self.limiter.release(SOMEBODY)


def _turns() -> TurnScheduler:
    turns = TurnScheduler()
    trio.lowlevel.add_instrument(turns)  # until the end of the test's run
    return turns


def _limiter(*, running: int = 2, waiting: int = 10, patience: float = 5.0) -> Any:
    return ConcurrencyLimiter(_turns(), running=running, waiting=waiting, patience=patience)


async def test_so_many_at_once_and_the_others_in_their_order(autojump_clock: MockClock) -> None:
    callers = Callers(_limiter())
    async with trio.open_nursery() as nursery:
        await callers.arrive(nursery, 5)
        assert callers.begun == [0, 1]
        assert callers.limiter.backlog == 3
        await trio.sleep(1.5)
        assert sorted(callers.begun) == [0, 1, 2, 3], "two that are woken at once may begin in either order"
    assert callers.begun[4] == 4
    assert callers.limiter.backlog == 0


async def test_a_call_need_not_wait_for_the_next_turn_because_another_has_ended() -> None:
    limiter = _limiter()
    for _ in range(2):
        limiter.reserve(SOMEBODY)
        with assert_no_checkpoints():
            await limiter.acquire(SOMEBODY)
        limiter.release(SOMEBODY)
    await trio.lowlevel.checkpoint()


async def test_one_more_than_may_wait_is_refused_at_once() -> None:
    callers = Callers(_limiter(waiting=3))
    assert [callers.admit() for _ in range(4)] == [None, None, None, Status.RESOURCE_EXHAUSTED]
    callers.limiter.cancel(SOMEBODY)
    assert callers.admit() is None


async def test_a_call_that_waits_too_long_gets_unavailable(autojump_clock: MockClock) -> None:
    callers = Callers(_limiter(running=1, patience=5), hold=20)
    async with trio.open_nursery() as nursery:
        await callers.arrive(nursery, 2)
        await trio.sleep(6)
        assert callers.refused == [(1, Status.UNAVAILABLE)]
        assert callers.limiter.backlog == 0


async def test_a_call_that_would_miss_its_deadline_is_rejected_at_once(autojump_clock: MockClock) -> None:
    """One leaves each second; the sixth in the queue would wait for five and some."""
    callers = Callers(_limiter(running=1, waiting=1000, patience=1000))
    async with trio.open_nursery() as nursery:
        for number in range(200):
            callers.admit()
            nursery.start_soon(callers.call, number)
        await trio.sleep(195.5)
        assert callers.limiter.backlog == 4
        now = trio.current_time()
        assert callers.admit(now + 3.5) is Status.UNAVAILABLE
        assert callers.admit(now + 4.5) is None
        callers.limiter.cancel(SOMEBODY)
    # No call waits, so none is rejected, however little time there is.
    assert callers.admit(trio.current_time()) is None


@pytest.mark.parametrize("due_in", [None, 1000.0])
async def test_a_call_that_would_wait_too_long_is_rejected_at_once(
    autojump_clock: MockClock, due_in: float | None
) -> None:
    """With a late deadline, too: a caller that is rejected at once can try another replica."""
    callers = Callers(_limiter(running=1, waiting=1000, patience=4.5))
    async with trio.open_nursery() as nursery:
        for number in range(104):  # one leaves each second, and one comes: four are waiting or have their turn
            assert callers.admit() is None
            nursery.start_soon(callers.call, number)
            await trio.sleep(0 if number < 4 else 1)
        await trio.sleep(0.5)
        assert callers.refused == []
        deadline = None if due_in is None else trio.current_time() + due_in
        admitted = 0
        while callers.admit(deadline) is None:
            admitted += 1
        assert callers.limiter.backlog == 5
        for _ in range(admitted):
            callers.limiter.cancel(SOMEBODY)


@pytest.mark.parametrize("waits", [True, False])
async def test_a_caller_that_leaves_gives_its_place_up(autojump_clock: MockClock, waits: bool) -> None:
    callers = Callers(_limiter(running=1))
    with trio.move_on_after(0.5):
        async with trio.open_nursery() as nursery:
            await callers.arrive(nursery, 2 if waits else 1)
    assert callers.limiter.backlog == 0
    callers.admit()
    with trio.fail_after(0.1):
        await callers.limiter.acquire(SOMEBODY)


class Told(Observer):
    def __init__(self) -> None:
        self.waiting = 0
        self.most = 0
        self.shed: list[Shed] = []

    def call_queued(self) -> None:
        self.waiting += 1
        self.most = max(self.most, self.waiting)

    def call_dequeued(self) -> None:
        self.waiting -= 1

    def call_shed(self, reason: Shed, peer: object) -> None:
        assert peer == SOMEBODY.peer
        self.shed.append(reason)


async def test_an_observer_sees_waiting_and_rejected_calls(autojump_clock: MockClock) -> None:
    reported = Told()
    callers = Callers(ConcurrencyLimiter(_turns(), running=1, waiting=2, patience=5, observer=reported), hold=4)
    async with trio.open_nursery() as nursery:
        await callers.arrive(nursery, 3)
        assert reported.waiting == 2
        callers.admit()
        assert reported.shed == ["queue_full"]
    assert (reported.waiting, reported.most) == (0, 2)
    assert callers.refused == [(2, Status.UNAVAILABLE)]
    assert reported.shed == ["queue_full", "no_turn"]


async def test_an_observer_sees_calls_that_would_miss_their_deadline(autojump_clock: MockClock) -> None:
    reported = Told()
    callers = Callers(ConcurrencyLimiter(_turns(), running=1, waiting=9, patience=60, observer=reported), hold=1)
    async with trio.open_nursery() as nursery:
        await callers.arrive(nursery, 6)
        await trio.sleep(3.5)
        assert callers.admit(trio.current_time() + 0.001) is Status.UNAVAILABLE
    assert reported.shed == ["in_vain"]


async def test_connections_take_turns(autojump_clock: MockClock) -> None:
    """One connection with many calls does not delay those of others."""
    limiter = _limiter(running=1, waiting=20, patience=60)
    begun: list[str] = []

    async def call(connection: str) -> None:
        caller = Caller(connection=Source(connection))
        limiter.reserve(caller)
        await limiter.acquire(caller)
        begun.append(connection)
        await trio.sleep(1)
        limiter.release(caller)

    async with trio.open_nursery() as nursery:
        for connection in [*["many"] * 6, "few", "other", "few"]:
            nursery.start_soon(call, connection)
            await wait_all_tasks_blocked()
    assert begun == ["many", "many", "few", "other", "many", "few", "many", "many", "many"]


async def test_peers_take_turns(autojump_clock: MockClock) -> None:
    """One peer with many connections does not delay the calls of others; nor is it believed to."""
    limiter = _limiter(running=1, waiting=200, patience=1000)
    begun: list[str] = []

    async def call(connection: Source, deadline: float | None = None) -> None:
        caller = Caller(deadline, connection=connection)
        limiter.reserve(caller)
        await limiter.acquire(caller)
        begun.append(connection.network)
        await trio.sleep(1)
        limiter.release(caller)

    async with trio.open_nursery() as nursery:
        for number in range(150):
            nursery.start_soon(call, Source(str(number), "many"))
        await trio.sleep(99.5)
        begun.clear()
        soon = trio.current_time() + 5
        for number in range(2):
            nursery.start_soon(call, Source(str(number), "few"), soon)
        with pytest.raises(GRPCError, match="the wait would be"):
            limiter.reserve(Caller(soon, connection=Source("late", "many")))
    # The one that was next before they came, and from then on by turns.
    assert begun[:5] == ["many", "few", "many", "few", "many"]
    assert len(begun) == 52


async def test_a_peer_leaves_places_to_others(autojump_clock: MockClock) -> None:
    """Handlers that wait for long: one peer gets 8 places of 9, and more when some are free again."""
    limiter = _limiter(running=90, waiting=200, patience=1000)
    release = {name: trio.Event() for name in ("many", "more", "few")}
    holding: Counter[str] = Counter()

    async def call(network: str) -> None:
        caller = Caller(connection=Source(network, network))
        limiter.reserve(caller)
        await limiter.acquire(caller)
        holding[network] += 1
        await release[network].wait()
        limiter.release(caller)
        holding[network] -= 1

    async with trio.open_nursery() as nursery:
        for network in ("many", "more", "few"):
            for _ in range(100 if network != "few" else 1):
                nursery.start_soon(call, network)
            await wait_all_tasks_blocked()  # calls that may not start take no processor
        assert holding == {"many": 80, "more": 9, "few": 1}
        release["more"].set()
        await wait_all_tasks_blocked()
        assert holding["many"] == 80, "the other peer's calls have ended one after another"
        release["few"].set()
        await wait_all_tasks_blocked()
        release["many"].set()
    assert holding.total() == 0


async def test_so_many_start_in_one_turn_and_others_run_between(autojump_clock: MockClock) -> None:
    """New calls come in each turn, beside those that wait."""
    turns = _turns()
    limiter: Any = ConcurrencyLimiter(turns, running=1000, waiting=1000, patience=5)
    started: Counter[int] = Counter()

    async def call() -> None:
        limiter.reserve(SOMEBODY)
        await limiter.acquire(SOMEBODY)
        started[turns.number] += 1
        limiter.release(SOMEBODY)  # a handler that never waits

    async with trio.open_nursery() as nursery:
        for _ in range(10):
            for _ in range(CALLS_STARTED_AT_ONCE + 3):
                nursery.start_soon(call)
            await trio.lowlevel.checkpoint()
        await trio.lowlevel.checkpoint()
    assert started.total() == 10 * (CALLS_STARTED_AT_ONCE + 3)
    assert max(started.values()) == CALLS_STARTED_AT_ONCE
    assert limiter.backlog == 0


async def test_callers_that_have_left_hold_up_no_others(autojump_clock: MockClock) -> None:
    callers = Callers(_limiter(running=1), hold=2)
    async with trio.open_nursery() as nursery:
        callers.admit()
        nursery.start_soon(callers.call, 0)
        await wait_all_tasks_blocked()
        with trio.move_on_after(1):
            gone = Caller(connection=Source("gone"))
            callers.limiter.reserve(gone)
            await callers.limiter.acquire(gone)
        callers.admit()
        nursery.start_soon(callers.call, 1)
    assert callers.begun == [0, 1]
    assert callers.limiter.backlog == 0


async def test_a_connection_with_many_calls_excludes_none_with_one(autojump_clock: MockClock) -> None:
    """One call ends each second: a hundred wait of one connection, and the first of another is the next but one."""
    limiter = _limiter(running=1, waiting=100, patience=1000)
    many = Callers(limiter)
    begun: list[float] = []

    async def other() -> None:
        caller = Caller(connection=Source("other"), due_at=trio.current_time() + 3)
        limiter.reserve(caller)
        await limiter.acquire(caller)
        begun.append(trio.current_time())
        limiter.release(caller)

    async with trio.open_nursery() as nursery:
        for number in range(101):
            assert many.admit() is None
            nursery.start_soon(many.call, number)
            await wait_all_tasks_blocked()
        assert many.admit() is Status.RESOURCE_EXHAUSTED
        await trio.sleep(50.5)
        now = trio.current_time()
        assert many.admit(now + 3) is Status.UNAVAILABLE
        nursery.start_soon(other)
    assert begun[0] - now < 2
    assert len(many.begun) == 101
    assert limiter.backlog == 0


async def test_a_time_without_calls_is_not_taken_for_a_slow_queue(autojump_clock: MockClock) -> None:
    """A call ends while another has only reserved its place, and leaves; the next one ends much later."""
    limiter = _limiter(running=100, waiting=100)
    limiter.reserve(SOMEBODY)
    await limiter.acquire(SOMEBODY)
    limiter.reserve(SOMEBODY)
    limiter.release(SOMEBODY)
    limiter.cancel(SOMEBODY)
    await trio.sleep(600)
    limiter.reserve(SOMEBODY)
    await limiter.acquire(SOMEBODY)
    limiter.release(SOMEBODY)
    for _ in range(50):
        limiter.reserve(SOMEBODY)
    assert limiter.backlog == 50

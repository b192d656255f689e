"""Budget of CPU of a connection, and turns of the event loop shared by all."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock

from sentry_trio.grpc.cpu_budget import (
    OWN_TOKENS,
    PRICE_SECONDS,
    SLICE,
    TURN_SECONDS,
    CPUBudget,
    CPUReservation,
    HandshakeWork,
    NetworkBudgets,
    TurnScheduler,
)
from sentry_trio.grpc.frames import ErrorCode, ViolationError
from sentry_trio.grpc.token_bucket import TokenBucket


class Clock:
    """Does not advance unless it is set."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def scheduling() -> AsyncIterator[tuple[TurnScheduler, Clock]]:
    clock = Clock()
    turns = TurnScheduler(clock)
    with turns.measured():
        yield turns, clock


async def _serve(turns: TurnScheduler, clock: Clock, peer: str, slices: int, served: list[tuple[int, str]]) -> None:
    """Causes so many slices of work, each of which takes half of a turn."""
    for _ in range(slices):
        await turns.wait(peer, SLICE)
        served.append((turns.number, peer))
        clock.now += TURN_SECONDS / 2


async def test_connections_that_use_their_slices_continue_one_by_one() -> None:
    served: list[tuple[int, str]] = []
    async with scheduling() as (turns, clock), trio.open_nursery() as nursery:
        for peer in ("one", "other", "third"):
            nursery.start_soon(_serve, turns, clock, peer, 5, served)
    numbers = [number for number, _ in served]
    assert len(numbers) == len(set(numbers)) == 15, "one slice in each turn"
    assert {peer for _, peer in served[-3:]} == {"one", "other", "third"}, "they take turns"


async def test_the_connections_of_one_peer_delay_no_other() -> None:
    served: list[tuple[int, str]] = []
    async with scheduling() as (turns, clock), trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(_serve, turns, clock, "many", 2, served)
        await trio.testing.wait_all_tasks_blocked()
        while len(served) < 10:
            await trio.lowlevel.checkpoint()
        before = len(served)
        await turns.wait("few", 1)
        assert len(served) - before <= 2
    assert len(served) == 100


async def test_with_free_places_no_call_is_queued() -> None:
    async with scheduling() as (turns, _):
        assert not turns.full
        number = turns.number
        await turns.wait("one", 1)
        assert turns.number == number + 1


async def test_a_turn_that_takes_too_long_is_full() -> None:
    async with scheduling() as (turns, clock):
        await trio.lowlevel.checkpoint()
        clock.now += TURN_SECONDS
        assert turns.full
        await trio.lowlevel.checkpoint()
        assert not turns.full


async def test_a_call_that_leaves_the_queue_delays_no_other() -> None:
    async with scheduling() as (turns, clock):
        clock.now += TURN_SECONDS
        with trio.CancelScope() as scope:
            scope.cancel()
            await turns.wait("gone", SLICE)
        await turns.wait("other", 1)


async def _use_reservation(turns: TurnScheduler, clock: Clock, call: str, parts: int, used: list[str]) -> None:
    """Uses a reservation in parts, each of which takes a turn; the peer is the first word of `call`."""
    cpu = CPUReservation(turns, call.split(maxsplit=1)[0], parts * TURN_SECONDS)
    for _ in range(parts):
        await cpu.wait(TURN_SECONDS)
        used.append(call)
        clock.now += TURN_SECONDS


async def test_reservations_of_one_peer_are_used_one_after_another() -> None:
    used: list[str] = []
    async with scheduling() as (turns, clock), trio.open_nursery() as nursery:
        clock.now += TURN_SECONDS
        for number in range(20):
            nursery.start_soon(_use_reservation, turns, clock, f"peer {number}", 4, used)
    assert len(used) == 80
    for seen in range(len(used)):
        begun = Counter(used[:seen])
        assert sum(parts < 4 for parts in begun.values()) <= 3, "a turn begins before the next part has queued"


async def test_many_reservations_of_one_peer_delay_no_other() -> None:
    used: list[str] = []
    async with scheduling() as (turns, clock), trio.open_nursery() as nursery:
        for number in range(50):
            nursery.start_soon(_use_reservation, turns, clock, f"many {number}", 4, used)
        while len(used) < 10:
            await trio.lowlevel.checkpoint()
        before = len(used)
        await _use_reservation(turns, clock, "few 0", 2, used)
        assert len(used) - before <= 3 * 4 + 2 + 2, "calls in progress end, then peers take turns"
    assert len(used) == 202


async def _use_part(turns: TurnScheduler, clock: Clock, cpu: CPUReservation) -> None:
    """Uses a part of a reservation in a turn that is full."""
    clock.now += TURN_SECONDS
    assert turns.full
    await cpu.wait(TURN_SECONDS)


@pytest.mark.parametrize("parts", [1, 2])
async def test_reserved_work_stays_before_later_work_when_no_other_waits(parts: int) -> None:
    async with scheduling() as (turns, clock):
        cpu = CPUReservation(turns, "one", 4 * TURN_SECONDS)
        for _ in range(parts):
            await _use_part(turns, clock, cpu)
            await trio.lowlevel.checkpoint()
            assert not turns.crowded
        assert turns.reserve("other", 0) == pytest.approx(4 * TURN_SECONDS / PRICE_SECONDS)


async def test_a_part_that_did_not_wait_is_not_reserved_when_others_do() -> None:
    async with scheduling() as (turns, clock):
        cpu = CPUReservation(turns, "one", 3 * TURN_SECONDS)
        assert not turns.crowded
        await cpu.wait(TURN_SECONDS)
        await _use_part(turns, clock, cpu)
        await trio.lowlevel.checkpoint()
        assert turns.reserve("one", 0) == pytest.approx(2 * TURN_SECONDS / PRICE_SECONDS)


async def test_peers_are_forgotten_when_none_waits() -> None:
    async with scheduling() as (turns, clock):
        for number in range(10):
            clock.now += TURN_SECONDS
            await turns.wait(f"peer {number}", SLICE)
        await trio.lowlevel.checkpoint()
        assert not turns._free_at


async def test_half_of_the_budget_slows_down_and_all_of_it_ends_the_connection(autojump_clock: MockClock) -> None:
    cpu = CPUBudget(100, TokenBucket(1000))
    cpu.charge(40)
    assert not cpu.slowed_down
    cpu.charge(20)
    assert (cpu.slowed_down, cpu.used) == (True, 60)
    cpu.begin_slice()
    assert not cpu.slowed_down, "nothing more was charged"
    with pytest.raises(ViolationError) as raised:
        cpu.charge(50)
    assert raised.value.code is ErrorCode.ENHANCE_YOUR_CALM
    await trio.sleep(60)
    cpu.charge(50)


async def test_only_unusual_messages_and_records_are_charged() -> None:
    cpu = CPUBudget(100, TokenBucket(1000))
    cpu.spend_on_messages(240, 64 * 1024)
    cpu.charge_record(22, 16_000)
    assert (cpu.charged, cpu.used, cpu.left) == (False, 24, 100)
    cpu.spend_on_messages(0, 1024 * 1024)
    assert round(cpu.left) == 84
    cpu.charge_record(22, 1)
    assert round(cpu.left) == 83
    cpu.charge_record(22 + 31 * 27, 16_000)
    assert round(cpu.left) == 70, "key updates"
    cpu.charge_unwanted(16 * 1024)
    assert round(cpu.left) == 53
    await trio.lowlevel.checkpoint()


async def test_a_budget_of_a_network_is_forgotten_when_it_is_full_again(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sentry_trio.grpc.cpu_budget._NETWORKS", 8)
    networks = NetworkBudgets(100)
    for number in range(8):
        networks[str(number)].spend(10 * number)
    assert [networks[str(number)].left for number in range(8)] == [100 - 10 * number for number in range(8)]
    await trio.sleep(30)
    fullest, emptiest = networks["0"], networks["7"]
    _ = networks["new"]
    assert networks["7"] is emptiest
    assert networks["0"] is not fullest
    for number in range(100):
        _ = networks[f"more {number}"]
    assert len(networks._budgets) <= 8
    assert networks["7"] is emptiest, "it has spent most"
    await trio.sleep(30)
    for number in range(8):
        _ = networks[f"again {number}"]
    assert networks["7"] is not emptiest


async def test_without_budget_a_network_has_its_connections_own_tokens() -> None:
    network = TokenBucket(1000)
    network.spend(1000)
    cpu = CPUBudget(100, network)
    cpu.charge(OWN_TOKENS)
    with pytest.raises(ViolationError) as raised:
        cpu.charge()
    assert raised.value.code is ErrorCode.ENHANCE_YOUR_CALM
    cpu = CPUBudget(100, network)
    for _ in range(1000):
        cpu.charge(4)
        cpu.earn(4)
    await trio.lowlevel.checkpoint()


async def test_handshakes_wait_for_the_budget_of_their_network(autojump_clock: MockClock) -> None:
    async with scheduling() as (turns, _):
        budget = TokenBucket(100, refill=10)
        done: list[float] = []

        async def shake_hands() -> None:
            work = HandshakeWork(turns, "one", budget)
            await work.wait_to_begin()
            for _ in range(10):
                await work.wait_to_read()
            done.append(trio.current_time())

        begin = trio.current_time()
        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(shake_hands)
        assert [round(at - begin) for at in done] == [0, 2, 7, 12], "reads are charged, and wait for nothing"


async def test_a_cancelled_handshake_costs_its_finished_work(autojump_clock: MockClock) -> None:
    async with scheduling() as (turns, _):
        budget = TokenBucket(100, refill=1000)
        work = HandshakeWork(turns, "one", budget)
        await work.wait_to_begin()
        for _ in range(20):
            await work.wait_to_read()
        with trio.move_on_after(1):
            await work.wait_to_begin()
        assert round(budget.left) == 10
        work.give_back()
        work.give_back()
        assert budget.left == 100

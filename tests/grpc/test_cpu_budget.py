"""Budgets of CPU of connections and networks."""

import pytest
import trio
from trio.testing import MockClock

from sentry_trio.grpc.cpu_budget import (
    OWN_TOKENS,
    CPUBudget,
    HandshakeWork,
    NetworkBudgets,
)
from sentry_trio.grpc.frames import ErrorCode, ViolationError
from sentry_trio.grpc.token_bucket import TokenBucket
from sentry_trio.grpc.turn_scheduler import TurnScheduler


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
    cpu.spend_on_messages(112, 16, 0)
    cpu.charge_record(22, 16_000)
    assert (cpu.charged, cpu.used, cpu.left) == (False, 24, 100)
    cpu.spend_on_messages(0, 148, 132)
    assert round(cpu.left, 1) == 83.5
    cpu.charge_record(22, 1)
    assert round(cpu.left, 1) == 82.5
    cpu.charge_record(22 + 14 * 27, 16_000)
    assert round(cpu.left, 1) == 68.2, "key updates"
    cpu.charge_unwanted(16 * 1024)
    assert round(cpu.left, 1) == 51.2
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
    turns = TurnScheduler(lambda: 0.0)
    with turns.measured():
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
    turns = TurnScheduler(lambda: 0.0)
    with turns.measured():
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

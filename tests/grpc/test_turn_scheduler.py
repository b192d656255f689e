"""Turns of the event loop, shared by all peers."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from sentry_trio.grpc.turn_scheduler import SLICE, TURN_SECONDS, TurnScheduler


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


async def _serve_call(turns: TurnScheduler, clock: Clock, call: str, parts: int, served: list[str]) -> None:
    """Does work of a call in parts, each of which takes a turn; the peer is the first word of `call`."""
    place = None
    for _ in range(parts):
        place = await turns.wait_for_part(call.split(maxsplit=1)[0], TURN_SECONDS, place)
        served.append(call)
        clock.now += TURN_SECONDS


async def test_the_calls_of_one_peer_end_one_after_another() -> None:
    served: list[str] = []
    async with scheduling() as (turns, clock), trio.open_nursery() as nursery:
        clock.now += TURN_SECONDS
        for number in range(20):
            nursery.start_soon(_serve_call, turns, clock, f"peer {number}", 4, served)
    assert len(served) == 80
    for seen in range(len(served)):
        begun = Counter(served[:seen])
        assert sum(parts < 4 for parts in begun.values()) <= 3, "a turn begins before the next part has queued"


async def test_the_calls_of_one_peer_delay_no_other() -> None:
    served: list[str] = []
    async with scheduling() as (turns, clock), trio.open_nursery() as nursery:
        for number in range(50):
            nursery.start_soon(_serve_call, turns, clock, f"many {number}", 4, served)
        while len(served) < 10:
            await trio.lowlevel.checkpoint()
        before = len(served)
        await _serve_call(turns, clock, "few 0", 4, served)
        assert len(served) - before <= 3 * 4, "they take turns, and a turn begins before the next part has queued"
    assert len(served) == 204


async def test_the_calls_of_one_peer_delay_no_request_of_it() -> None:
    served: list[str] = []
    async with scheduling() as (turns, clock), trio.open_nursery() as nursery:
        for number in range(50):
            nursery.start_soon(_serve_call, turns, clock, f"peer {number}", 4, served)
        while len(served) < 10:
            await trio.lowlevel.checkpoint()
        before = len(served)
        await turns.wait("peer", SLICE)
        assert len(served) - before <= 2


async def test_the_requests_of_one_peer_delay_no_call_of_it() -> None:
    """Else a flood of requests would hold the places of running handlers, which others wait for."""
    served: list[tuple[int, str]] = []
    used: list[str] = []
    async with scheduling() as (turns, clock), trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(_serve, turns, clock, "peer", 4, served)
        while len(served) < 10:
            await trio.lowlevel.checkpoint()
        before = len(served)
        await _serve_call(turns, clock, "peer 0", 4, used)
        assert len(served) - before <= 3 * 4


async def test_cancelled_calls_take_no_turns_of_their_peer() -> None:
    served: list[str] = []
    async with scheduling() as (turns, clock), trio.open_nursery() as nursery:
        clock.now += TURN_SECONDS
        async with trio.open_nursery() as cancelled:
            for number in range(100):
                cancelled.start_soon(_serve_call, turns, clock, f"peer {number}", 4, served)
            nursery.start_soon(_serve_call, turns, clock, "other 0", 20, served)
            for _ in range(10):
                await trio.lowlevel.checkpoint()
            cancelled.cancel_scope.cancel()
        before = turns.number
        await _serve_call(turns, clock, "peer 100", 2, served)
        assert turns.number - before <= 8


async def test_a_part_does_not_wait_if_the_turn_has_room() -> None:
    async with scheduling() as (turns, _):
        number = turns.number
        assert await turns.wait_for_part("peer", TURN_SECONDS, None) is None
        assert turns.number == number


async def test_peers_are_forgotten_when_none_waits() -> None:
    async with scheduling() as (turns, clock):
        for number in range(10):
            clock.now += TURN_SECONDS
            await turns.wait(f"peer {number}", SLICE)
        await trio.lowlevel.checkpoint()
        assert not turns._free_at


async def test_peers_share_work_not_turns() -> None:
    served: list[str] = []

    async def serve(peer: str, work: int) -> None:
        while len(served) < 100:
            clock.now += TURN_SECONDS
            await turns.wait(peer, work)
            served.append(peer)

    async with scheduling() as (turns, clock), trio.open_nursery() as nursery:
        nursery.start_soon(serve, "much", 8 * SLICE)
        nursery.start_soon(serve, "little", SLICE)
        nursery.start_soon(serve, "medium", 2 * SLICE)
    shares = Counter(served)
    assert 2 * shares["much"] < shares["medium"] < shares["little"]


async def test_a_peer_that_comes_late_has_no_more_than_its_share() -> None:
    served: list[str] = []
    async with scheduling() as (turns, clock), trio.open_nursery() as nursery:
        for number in range(10):
            nursery.start_soon(_serve_call, turns, clock, f"early{number % 2} {number}", 20, served)
        while len(served) < 40:
            await trio.lowlevel.checkpoint()
        async with trio.open_nursery() as late:
            for number in range(10):
                late.start_soon(_serve_call, turns, clock, f"late {number}", 2, served)
        assert len(served) > 40 + 2 * 20


async def test_while_some_wait_only_peers_that_may_not_continue_yet_are_remembered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sentry_trio.grpc.turn_scheduler._FLOWS", 8)
    most = 0
    served: list[str] = []
    async with scheduling() as (turns, clock), trio.open_nursery() as nursery:
        for number in range(3):
            nursery.start_soon(_serve_call, turns, clock, f"long{number} 0", 100, served)
        for number in range(60):
            clock.now += TURN_SECONDS
            await turns.wait(f"peer{number}", SLICE)
            most = max(most, len(turns._free_at))
    assert most <= 3 * 8

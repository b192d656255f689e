"""The limit on streaming calls and its shares."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from hypothesis import given
from hypothesis import strategies as st

from sentry_trio.grpc.concurrency import FairLimiter
from sentry_trio.grpc.observer import Observer, Shed


@dataclass(eq=False)
class Connection:
    network: str | bytes


@dataclass(eq=False)
class Call:
    connection: Connection
    peer: object = None
    ended: list[Status] = field(default_factory=list)

    def abort(self, status: Status, message: str) -> None:
        self.ended.append(status)


class Told(Observer):
    def __init__(self) -> None:
        self.shed: list[tuple[Shed, object]] = []

    def call_shed(self, reason: Shed, peer: object) -> None:
        self.shed.append((reason, peer))


def _fill(share: Any, *connections: Connection) -> list[Call]:
    calls = [Call(connection) for connection in connections]
    for call in calls:
        share.reserve(call)
    return calls


def _ended(calls: list[Call]) -> list[int]:
    return [number for number, call in enumerate(calls) if call.ended]


def test_the_peer_with_most_calls_loses_its_latest() -> None:
    share: Any = FairLimiter(4)
    many, few = Connection("a"), Connection("b")
    calls = _fill(share, many, many, many, few)
    _fill(share, few)
    assert _ended(calls) == [2]
    assert calls[2].ended == [Status.RESOURCE_EXHAUSTED]


def test_peers_are_compared_before_connections() -> None:
    """Calls of a peer count together, on one connection or many."""
    share: Any = FairLimiter(4)
    double = Connection("b")
    calls = _fill(share, Connection("a"), Connection("a"), double, double)
    newcomer = _fill(share, Connection("c"))
    assert len(_ended(calls)) == 1
    assert _ended(newcomer) == []


def test_within_one_peer_connections_are_compared() -> None:
    share: Any = FairLimiter(3)
    many = Connection("a")
    calls = _fill(share, many, many, many)
    _fill(share, Connection("a"))
    assert _ended(calls) == [2]


def test_a_call_that_would_only_reverse_the_shares_is_rejected() -> None:
    reported = Told()
    share: Any = FairLimiter(2, reported)
    calls = _fill(share, Connection("a"), Connection("b"))
    for network in ("a", "c"):
        with pytest.raises(GRPCError) as refused:
            share.reserve(Call(Connection(network), network))
        assert refused.value.status is Status.RESOURCE_EXHAUSTED
    assert reported.shed == [("queue_full", "a"), ("queue_full", "c")]
    assert _ended(calls) == []


def test_a_place_is_released_once() -> None:
    share: Any = FairLimiter(2)
    one, other = Connection("a"), Connection("b")
    calls = _fill(share, one, one)
    _fill(share, other)
    assert _ended(calls) == [1]
    share.release(calls[1])  # which has come to its end
    share.release(calls[0])
    share.release(calls[0])
    assert _ended(_fill(share, other)) == []
    with pytest.raises(GRPCError):
        share.reserve(Call(other))


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), max_size=60), st.integers(1, 8))
def test_shares_of_peers_that_want_more_differ_by_one(asked: list[tuple[int, int]], places: int) -> None:
    share: Any = FairLimiter(places)
    connections = {(peer, number): Connection(str(peer)) for peer in range(4) for number in range(3)}
    open_calls: list[Call] = []
    for key in asked:
        call = Call(connections[key])
        refused = False
        try:
            share.reserve(call)
        except GRPCError:
            refused = True
        else:
            open_calls.append(call)
        open_calls = [each for each in open_calls if not each.ended]
        assert len(open_calls) <= places
        held = Counter(each.connection.network for each in open_calls)
        if refused:
            assert max(held.values()) <= held[call.connection.network] + 1

"""Admission of connections."""

from dataclasses import dataclass
from typing import Any

import pytest
import trio

from sentry_trio.grpc.admission import Admission, Network, PendingHandshakes, network_of
from sentry_trio.grpc.limits import CONNECTION_BYTES, Limits
from sentry_trio.grpc.memory_budget import MemoryBudget


@dataclass(eq=False)
class Idler:
    network: Network = "192.0.2.1"
    cuts: int = 0
    completed_call: bool = False

    def evict(self, _reason: str) -> None:
        self.cuts += 1


def arrive_idle(admission: Any, *idlers: Idler) -> None:
    """Connections arrive and become idle, in this order."""
    for idler in idlers:
        admission.arrived(idler.network)
        admission.idle(idler)


V4 = ("192.0.2.1", 4000)


@pytest.mark.parametrize(
    ("peer", "same"),
    [
        (V4, True),
        (("192.0.2.1", 5000), True),
        (("::ffff:192.0.2.1", 4000, 0, 0), True),
        (("192.0.2.2", 4000), False),
        (("2001:db8::1", 4000, 0, 0), False),
        (("fe80::1%eth0", 4000, 0, 2), False),
    ],
)
def test_connections_of_one_peer(peer: object, same: bool) -> None:
    admission: Any = Admission(Limits(connections_per_peer=2), MemoryBudget(0, 10))
    admission.arrived(network_of(V4))
    admission.arrived(network_of(V4))
    refused = admission.refusal(network_of(peer)) == "2 connections of one peer are open and none is idle"
    assert refused is same
    admission.left(network_of(V4))
    assert admission.refusal(network_of(peer)) is None


def test_an_ipv6_network_is_one_peer() -> None:
    admission: Any = Admission(Limits(connections_per_peer=1), MemoryBudget(0, 10))
    admission.arrived(network_of(("2001:db8::1", 4000, 0, 0)))
    assert admission.refusal(network_of(("2001:db8::ffff:2", 4000, 0, 0))) is not None
    assert admission.refusal(network_of(("2001:db8:0:1::1", 4000, 0, 0))) is None


def test_one_more_takes_the_place_of_the_longest_idle() -> None:
    admission: Any = Admission(Limits(connections=2), MemoryBudget(0, 10))
    first, second = Idler("192.0.2.8"), Idler("192.0.2.9")
    arrive_idle(admission, first, second)
    assert admission.refusal("192.0.2.1") is None
    assert (first.cuts, second.cuts) == (1, 0)
    assert admission.refusal("192.0.2.1") is None
    assert (first.cuts, second.cuts) == (1, 1)
    assert admission.refusal("192.0.2.1") == "2 connections are open and none is idle"


def test_one_more_of_a_peer_takes_the_place_of_its_own_longest_idle() -> None:
    admission: Any = Admission(Limits(connections_per_peer=2), MemoryBudget(0, 10))
    other, first, second = Idler("192.0.2.2"), Idler(), Idler()
    arrive_idle(admission, other, first, second)
    admission.busy(first)  # it has a call
    assert admission.refusal("192.0.2.1") is None
    assert (other.cuts, first.cuts, second.cuts) == (0, 0, 1)
    assert admission.refusal("192.0.2.1") == "2 connections of one peer are open and none is idle"
    admission.idle(first)
    assert admission.refusal("192.0.2.1") is None
    assert (other.cuts, first.cuts) == (0, 1)


def test_without_an_idle_connection_a_new_one_is_refused() -> None:
    admission: Any = Admission(Limits(connections=1), MemoryBudget(0, 10))
    admission.arrived("192.0.2.1")
    assert admission.refusal("192.0.2.9") == "1 connections are open and none is idle"
    admission.left("192.0.2.1")
    assert admission.refusal("192.0.2.9") is None


def test_the_peer_with_most_connections_loses_one() -> None:
    """Not the good client, though its connection has been idle for longest."""
    admission: Any = Admission(Limits(connections=4), MemoryBudget(0, 10))
    good = Idler("192.0.2.1", completed_call=True)
    proven, unproven = Idler("192.0.2.6", completed_call=True), Idler("192.0.2.6")
    arrive_idle(admission, good, proven, unproven, Idler("192.0.2.7"))
    assert admission.refusal("192.0.2.8") is None
    assert (good.cuts, proven.cuts, unproven.cuts) == (0, 0, 1), "of its own, one that completed no call"
    assert admission.refusal("192.0.2.8") is None
    assert (good.cuts, proven.cuts) == (0, 1)


def test_a_peer_with_as_many_as_others_loses_its_own() -> None:
    admission: Any = Admission(Limits(connections=2), MemoryBudget(0, 10))
    one, other = Idler("192.0.2.1"), Idler("192.0.2.2")
    arrive_idle(admission, one, other)
    assert admission.refusal("192.0.2.2") is None
    assert (one.cuts, other.cuts) == (0, 1)
    assert admission.refusal("192.0.2.2") == "2 connections are open and none is idle"


def test_without_memory_a_newcomer_takes_the_place_of_another() -> None:
    """Of the peer that has most, one that completed no call; not the memory of calls that are there."""
    memory = MemoryBudget(0, connections=100)
    admission: Any = Admission(Limits(), memory)
    good, unproven = Idler("192.0.2.1", completed_call=True), Idler("192.0.2.6")
    for idler in (good, unproven, Idler("192.0.2.6")):
        admission.arrived(idler.network)
    admission.idle(good)
    admission.idle(unproven)
    assert admission.refusal("192.0.2.8") is None
    memory.total = 96 * CONNECTION_BYTES
    assert admission.refusal("192.0.2.8") is None
    assert (good.cuts, unproven.cuts) == (0, 0)
    memory.total += 1
    assert admission.refusal("192.0.2.8") is None
    assert (good.cuts, unproven.cuts) == (0, 1)
    admission.busy(good)
    assert admission.refusal("192.0.2.8") == "3 connections and their calls use all memory and none is idle"
    assert good.cuts == 0


async def test_the_peer_with_most_handshakes_loses_its_oldest() -> None:
    pending = PendingHandshakes(3)
    few, oldest, later, newcomer, last = (trio.CancelScope() for _ in range(5))
    for network, scope in (("few", few), ("many", oldest), ("many", later), ("new", newcomer)):
        pending.add(network, scope)
    assert [scope.cancel_called for scope in (few, oldest, later, newcomer)] == [False, True, False, False]
    assert not pending.remove("many", oldest)
    assert pending.remove("many", later)
    pending.add("many", last)
    assert set(pending) == {few, newcomer, last}
    assert not few.cancel_called

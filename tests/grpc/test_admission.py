"""Who is let in."""

import pytest

from sentry_trio.grpc.admission import Admission
from sentry_trio.grpc.limits import Limits
from sentry_trio.grpc.shared import Leaver


class Idler:
    def __init__(self) -> None:
        self.cuts = 0

    def cut(self) -> None:
        self.cuts += 1


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
    admission = Admission(Limits(connections_per_peer=2), {})
    admission.arrived(V4)
    admission.arrived(V4)
    assert (admission.refusal(peer) == "2 connections of one peer are open") is same
    admission.left(V4)
    assert admission.refusal(peer) is None


def test_an_ipv6_network_is_one_peer() -> None:
    admission = Admission(Limits(connections_per_peer=1), {})
    admission.arrived(("2001:db8::1", 4000, 0, 0))
    assert admission.refusal(("2001:db8::ffff:2", 4000, 0, 0)) is not None
    assert admission.refusal(("2001:db8:0:1::1", 4000, 0, 0)) is None


def test_one_more_takes_the_place_of_the_longest_idle() -> None:
    idle: dict[Leaver, None] = {}
    admission = Admission(Limits(connections=2), idle)
    first, second = Idler(), Idler()
    for number, idler in enumerate((first, second)):
        admission.arrived((f"192.0.2.{number}", 4000))
        idle[idler] = None
    assert admission.refusal(V4) is None
    assert (first.cuts, second.cuts) == (1, 0)
    assert list(idle) == [second]


def test_where_none_is_idle_it_is_refused() -> None:
    admission = Admission(Limits(connections=1), {})
    admission.arrived(V4)
    assert admission.refusal(("192.0.2.9", 1)) == "1 connections are open and none is idle"
    admission.left(V4)
    assert admission.refusal(("192.0.2.9", 1)) is None

"""Limits on connections and their age: each limit by the attacker that it is for, beside a well-behaved call."""

import pytest
import trio
from grpclib.const import Status
from h2.errors import ErrorCodes
from trio.testing import MockClock, wait_all_tasks_blocked

from sentry_trio.grpc import Limits
from testkit.attackers import KINDS, attacking
from testkit.grpc.raw import peering
from testkit.grpc.toys import serving

from .besieged import MOMENT, answers_at_once, besieged, over, target_of

# --- handshakes

HANDSHAKES = ["silent TCP", "partial handshake", "slow handshake"]


@pytest.mark.parametrize("kind", HANDSHAKES)
async def test_a_handshake_too_many_ends_the_one_that_has_waited_longest(autojump_clock: MockClock, kind: str) -> None:
    async with besieged(kind, Limits(handshakes=3, handshake_timeout=1000), number=3) as (server, first):
        await trio.sleep(10)
        assert over(first) == [False, False, False]
        async with attacking(KINDS[kind], target_of(server)) as last:
            await trio.sleep(10)
            assert over([*first, *last]) == [True, False, False, False]
            await answers_at_once(server)
            await wait_all_tasks_blocked()
            assert over([*first, *last]) == [True, True, False, False]


@pytest.mark.parametrize("kind", HANDSHAKES)
async def test_a_handshake_that_takes_too_long_is_ended(autojump_clock: MockClock, kind: str) -> None:
    async with besieged(kind, Limits(handshake_timeout=5), number=20) as (server, courses):
        await trio.sleep(4)
        assert not any(over(courses))
        await answers_at_once(server)
        await trio.sleep(2)
        assert all(over(courses))
        assert server.witness.handshakes_failed == ["no TLS handshake within 5 s"] * 20


async def test_a_long_hello_is_rejected_at_once(autojump_clock: MockClock) -> None:
    async with besieged("announced ClientHello", number=20) as (server, courses):
        await wait_all_tasks_blocked()
        assert all(over(courses))
        assert server.witness.handshakes_failed == ["a ClientHello of more than 8192 bytes or 100 records"] * 20
        await answers_at_once(server)


async def test_handshakes_without_calls_are_slowed_down(autojump_clock: MockClock) -> None:
    """Another network is not slowed down."""
    begin = trio.current_time()
    async with besieged("reconnect storm", Limits(handshakes=5, connections_per_peer=5), number=15) as (server, _):
        assert 9 < trio.current_time() - begin < 12, "5 at once, and then one a second"
        await answers_at_once(server)


async def test_handshakes_with_calls_are_not_slowed_down(autojump_clock: MockClock) -> None:
    """Sidecars behind one address restart at once, ten times as many as may complete handshakes without a call."""
    async with serving(Limits(handshakes=5, connections_per_peer=5)) as server:
        begin = trio.current_time()
        for _ in range(50):
            await answers_at_once(server)
        assert trio.current_time() - begin < MOMENT


# --- connections


@pytest.mark.parametrize("kind", ["idle", "never reads", "no preface", "partial header block"])
async def test_a_connection_too_many_takes_the_place_of_the_one_idle_longest(
    autojump_clock: MockClock, kind: str
) -> None:
    async with besieged(kind, Limits(connections=3, handshake_timeout=1000), number=3) as (server, courses):
        await trio.sleep(10)
        assert not any(over(courses))
        await answers_at_once(server)
        # Within the time that it is given to go.
        await trio.sleep(2)
        assert over(courses) == [True, False, False]


@pytest.mark.parametrize("kind", HANDSHAKES)
async def test_handshakes_under_way_keep_no_other_connection_out(autojump_clock: MockClock, kind: str) -> None:
    async with besieged(kind, Limits(connections=4, handshakes=3, handshake_timeout=1000), number=9) as (server, _):
        await answers_at_once(server)


async def test_a_new_connection_is_closed_if_all_others_have_running_calls(autojump_clock: MockClock) -> None:
    async with serving(Limits(connections=2)) as server:
        async with peering(server.port) as one, peering(server.port) as other:
            for peer in (one, other):
                await peer.call(1, "Hang")
            await wait_all_tasks_blocked()
            for _ in range(3):
                with pytest.raises(trio.BrokenResourceError):
                    await answers_at_once(server)
            assert server.witness.open == 2
        await wait_all_tasks_blocked()
        await answers_at_once(server)


async def test_requests_that_do_not_become_complete_protect_no_connection(autojump_clock: MockClock) -> None:
    limits = Limits(connections=4, receive_timeout=5)
    async with serving(limits) as server, peering(server.port) as good:
        await good.call(1)
        await good.answer(1)
        async with attacking(KINDS["slow writer"], target_of(server), number=3) as courses:
            await trio.sleep(8)
            assert server.witness.open == 4
            await answers_at_once(server)
            await trio.sleep(2)
            assert any(over(courses))
            await good.call(3)
            assert (await good.answer(3)).value == "hello"


@pytest.mark.parametrize("kind", ["idle", "slow writer"])
async def test_one_address_cannot_take_all_connections(autojump_clock: MockClock, kind: str) -> None:
    async with besieged(kind, Limits(connections=4, connections_per_peer=3), number=6) as (server, courses):
        await trio.sleep(1)
        assert server.witness.open == over(courses).count(False) == 3
        await answers_at_once(server)
        await wait_all_tasks_blocked()
        assert server.witness.open == over(courses).count(False) == 3


async def test_an_address_is_let_in_again_when_its_connections_are_gone(autojump_clock: MockClock) -> None:
    async with serving(Limits(connections_per_peer=2)) as server:
        for _ in range(3):
            async with attacking(KINDS["idle"], target_of(server), number=2) as courses:
                await trio.sleep(1)
                assert not any(over(courses))
            await wait_all_tasks_blocked()
        assert server.witness.open == 0


# --- time


async def test_idle_connections_get_goaway(autojump_clock: MockClock) -> None:
    async with besieged("idle", Limits(idle_timeout=300, keepalive_time=60), number=20) as (server, courses):
        await trio.sleep(269)
        assert not any(over(courses))
        await answers_at_once(server)
        await trio.sleep(63)
        assert all(over(courses))
        assert {course.goaway for course in courses} == {ErrorCodes.NO_ERROR}


@pytest.mark.parametrize("kind", ["never reads", "partial header block"])
async def test_silent_connections_are_closed(autojump_clock: MockClock, kind: str) -> None:
    async with besieged(kind, Limits(keepalive_time=60, keepalive_timeout=20), number=3) as (server, courses):
        await trio.sleep(79)
        assert not any(over(courses))
        await answers_at_once(server)
        await trio.sleep(3)
        assert all(over(courses))


async def test_connections_without_a_preface_are_closed(autojump_clock: MockClock) -> None:
    async with besieged("no preface", Limits(handshake_timeout=5), number=3) as (server, courses):
        await trio.sleep(4)
        assert not any(over(courses))
        await answers_at_once(server)
        await trio.sleep(3)
        assert all(over(courses))


async def test_connections_are_closed_at_their_age_limit(autojump_clock: MockClock) -> None:
    """A call without end of a method that takes many messages: no limit but this one is for it."""
    async with serving(Limits(age=1800, drain_timeout=10)) as server:
        endless = target_of(server, path="/toys.Toys/Join", pause=30)
        async with attacking(KINDS["slow writer"], endless, number=5) as courses:
            await trio.sleep(1800 * 0.9 - 1)
            assert [course.goaway for course in courses] == [None] * 5
            await answers_at_once(server)
            await trio.sleep(1800 * 0.2 + 1 + 10 + 4)
            assert {course.goaway for course in courses} == {ErrorCodes.NO_ERROR}
            assert {course.statuses[1] for course in courses} == {Status.UNAVAILABLE.value}
            assert all(over(courses))


@pytest.mark.parametrize("kind", ["half-closed", "half-closed after a call"])
async def test_half_closed_connections_are_closed(autojump_clock: MockClock, kind: str) -> None:
    async with serving() as server, attacking(KINDS[kind], target_of(server), number=5) as courses:
        with trio.fail_after(5):
            for course in courses:
                await course.over.wait()
        await wait_all_tasks_blocked()
        assert server.witness.open == 0

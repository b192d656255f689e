"""Limits on work: each limit by the attacker that it is for, beside a well-behaved call."""

from functools import partial

import pytest
import trio
from h2.errors import ErrorCodes
from trio.testing import MockClock

from sentry_trio.grpc import Limits
from testkit.attackers import KINDS, Course, Pace, again
from testkit.grpc.toys import open_descriptors, serving

from .besieged import answers_at_once, besieged, message, target_of


@pytest.mark.parametrize(
    "kind",
    [
        "rapid reset",
        "resets by the server",
        "PING flood",
        "SETTINGS flood",
        "empty DATA flood",
        "CONTINUATION flood",
        "WINDOW_UPDATE flood",
        "unknown frames",
        "gzip bombs",
        "gzip of nothing",
        "gzip of empty names",
    ],
)
async def test_a_flood_loses_its_connection(autojump_clock: MockClock, kind: str) -> None:
    async with besieged(kind, Limits(control_frames=200), frames=Pace(1000)) as (server, (course,)):
        with trio.fail_after(1):
            await course.over.wait()
        assert course.goaway is ErrorCodes.ENHANCE_YOUR_CALM
        await answers_at_once(server)


async def test_a_window_that_is_opened_byte_by_byte_loses_its_connection(autojump_clock: MockClock) -> None:
    """Slowly, so that the server sends a byte for each: what it sends must not pay for so many."""
    large, slowly = message("x" * 3000), Pace(100)
    limits = Limits(control_frames=200)
    async with besieged("small window updates", limits, message=large, frames=slowly) as (server, (course,)):
        with trio.fail_after(20):
            await course.over.wait()
        assert course.goaway is ErrorCodes.ENHANCE_YOUR_CALM
        await answers_at_once(server)


async def test_garbage_without_end_is_not_listened_to(autojump_clock: MockClock) -> None:
    async with besieged("garbage", number=5, frames=Pace(100)) as (server, courses):
        await answers_at_once(server)
        with trio.fail_after(2):
            for course in courses:
                await course.over.wait()


@pytest.mark.uncovered
@pytest.mark.parametrize("kind", KINDS)
async def test_reconnecting_clients_affect_no_other_and_leave_nothing(autojump_clock: MockClock, kind: str) -> None:
    descriptors = open_descriptors()
    tasks = trio.lowlevel.current_statistics().tasks_living
    async with serving(Limits(drain_timeout=0)) as server, trio.open_nursery() as nursery:
        target = target_of(server, frames=Pace(200), calls=Pace(100), connections=Pace(50))
        for _ in range(4):
            nursery.start_soon(partial(again, pause=0.2), KINDS[kind], target, Course())
        for _ in range(3):
            await trio.sleep(1)
            await answers_at_once(server)
        nursery.cancel_scope.cancel()
    assert open_descriptors() <= descriptors
    assert trio.lowlevel.current_statistics().tasks_living == tasks

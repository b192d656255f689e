"""Many attackers that reconnect, and their results."""

import sys
import time
from collections import Counter
from collections.abc import Iterable
from functools import partial
from typing import Final

import msgspec
import trio

from .attack import again
from .target import Course, Kind, Target

_PATIENCE: Final = 30.0  # seconds


class Report(msgspec.Struct):
    """Results of the attackers.

    Attributes:
        seconds: for how long they attacked.
        cpu_seconds: what that took of their own process.
        begun: connections that came as far as their misdeed.
        refused: connections that did not: they were ended before.
        cut: connections that have ended later.
        goaways: reasons that the server has given for that.
        resets: streams that the server has reset, by reason.
        statuses: calls that the server has answered, by gRPC status.
    """

    seconds: float
    cpu_seconds: float
    begun: int
    refused: int
    cut: int
    goaways: dict[str, int]
    resets: dict[str, int]
    statuses: dict[int, int]


async def attack_until_told(kind: Kind, targets: Iterable[Target], *, pause: float) -> Report:
    """An attacker on each target until standard input is closed; "ready" on standard error once all have begun."""
    courses: list[Course] = []
    begin, cpu = time.monotonic(), time.process_time()

    def new_course() -> Course:
        courses.append(Course())
        return courses[-1]

    async with trio.open_nursery() as nursery:
        come_back = partial(again, pause=pause, new_course=new_course)
        for target in targets:
            nursery.start_soon(come_back, kind, target, new_course())
        # An exhausted server accepts no connection: report that, and do not wait for it.
        with trio.move_on_after(_PATIENCE):
            for course in tuple(courses):  # of each its first
                await course.begun()
        print("ready", file=sys.stderr, flush=True)
        await trio.to_thread.run_sync(sys.stdin.read)
        nursery.cancel_scope.cancel()
    return Report(
        seconds=time.monotonic() - begin,
        cpu_seconds=time.process_time() - cpu,
        begun=sum(course.established.is_set() for course in courses),
        refused=sum(course.over.is_set() and not course.established.is_set() for course in courses),
        cut=sum(course.over.is_set() and course.established.is_set() for course in courses),
        goaways=Counter(course.goaway.name for course in courses if course.goaway is not None),
        resets=Counter(code.name for course in courses for code in course.resets.values()),
        statuses=Counter(status for course in courses for status in course.statuses.values()),
    )

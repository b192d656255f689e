"""One attack, an attack again and again, many at once."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import NoReturn

import trio

from .target import Course, Kind, Target


async def attack(kind: Kind, target: Target, course: Course) -> None:
    """Opens one hostile connection; returns when the server has cut it or did not let it in."""
    try:
        await kind(target, course)
    except* (OSError, trio.BrokenResourceError):
        pass  # ways of being cut
    course.over.set()


async def again(
    kind: Kind, target: Target, first: Course, *, pause: float = 0.0, new_course: Callable[[], Course] = Course
) -> NoReturn:
    """Comes back after a pause whenever it was cut, as real ones do."""
    course = first
    while True:
        await attack(kind, target, course)
        await trio.sleep(pause)
        course = new_course()


@asynccontextmanager
async def attacking(kind: Kind, target: Target, *, number: int = 1) -> AsyncIterator[list[Course]]:
    """Begins attacks one after the other, each when the previous one is established; cancels them in the end."""
    courses: list[Course] = []
    async with trio.open_nursery() as nursery:
        for _ in range(number):
            courses.append(course := Course())
            nursery.start_soon(attack, kind, target, course)
            await course.begun()
        yield courses
        nursery.cancel_scope.cancel()

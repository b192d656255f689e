"""A server under attack, and a well-behaved call beside the attackers."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import trio
from google.protobuf.wrappers_pb2 import StringValue

from sentry_trio.grpc import Limits
from testkit.attackers import KINDS, Course, Target, attacking
from testkit.grpc.raw import peering
from testkit.grpc.toys import Served, serving

MOMENT = 0.5  # virtual seconds, for what is to be at once


def message(text: str = "hello") -> bytes:
    """Request of the toys' usual methods."""
    return StringValue(value=text).SerializeToString()


def target_of(server: Served, **changes: Any) -> Target:
    """From another address than that of the well-behaved."""
    return replace(Target(port=server.port, source="127.0.0.2", message=message()), **changes)


@asynccontextmanager
async def besieged(
    kind: str, limits: Limits | None = None, *, number: int = 1, **changes: Any
) -> AsyncIterator[tuple[Served, list[Course]]]:
    """A server, and so many attackers of a kind that have begun."""
    async with (
        serving(limits) as server,
        attacking(KINDS[kind], target_of(server, **changes), number=number) as courses,
    ):
        yield server, courses


async def answers_at_once(server: Served) -> None:
    """Makes a well-behaved call on a connection of its own."""
    with trio.fail_after(MOMENT):
        async with peering(server.port) as peer:
            await peer.call(1)
            assert (await peer.answer(1)).value == "hello"


def over(courses: Sequence[Course]) -> list[bool]:
    """Attacks that have ended."""
    return [course.over.is_set() for course in courses]

"""Lifetimes that nest: a task that outlives the block it serves."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import trio

T = TypeVar("T")


@asynccontextmanager
async def outliving(serve: Callable[..., Awaitable[Any]], *args: object) -> AsyncIterator[Any]:
    """Runs `serve(*args, task_status=...)` beside the block and ends it only after the block has ended.

    A plain nursery cancels all its tasks at the same moment; what stands outside must still be there while what stands
    inside finishes, e.g. health while calls drain. So the task is shielded, and its shield ends with the block: it
    lasts as long as the block takes to end and no longer. If the task fails, the block is cancelled.

    Yields:
        What the task passed to `task_status.started`.
    """
    shield = trio.CancelScope(shield=True)

    async def shielded(*, task_status: trio.TaskStatus[Any]) -> None:
        with shield:
            await serve(*args, task_status=task_status)

    async with trio.open_nursery() as nursery:
        value = await nursery.start(shielded)
        try:
            yield value
        finally:
            shield.cancel()

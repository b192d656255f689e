"""Lifetimes that nest: a task that outlives the block it serves."""

import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import trio

T = TypeVar("T")


@asynccontextmanager
async def outliving(serve: Callable[..., Awaitable[Any]]) -> AsyncIterator[Any]:
    """Runs `serve(task_status=...)` beside the block and ends it only after the block has ended.

    A plain nursery cancels all its tasks at the same moment; the outer task must still run while the task
    inside finishes, e.g. health while calls drain. So the task is shielded, and its shield ends with the block: it
    lasts as long as the block takes to end and no longer. If the task fails, the block is cancelled.

    Yields:
        What the task passed to `task_status.started`.

    Cancellation: at once while the task starts; it ends then, too.
    """
    async with trio.open_nursery() as nursery:
        scope, value = await start_shielded(nursery, serve)
        try:
            yield value
        finally:
            scope.cancel()


async def start_shielded(nursery: trio.Nursery, serve: Callable[..., Awaitable[Any]]) -> tuple[trio.CancelScope, Any]:
    """Starts `serve(task_status=...)`, which from then on only the returned scope ends, not what ends the nursery.

    Returns:
        The scope, and what the task passed to `task_status.started`.

    Cancellation: at once while the task starts; it ends then, too.
    """
    scope = trio.CancelScope()

    async def shielded(*, task_status: trio.TaskStatus[Any]) -> None:
        with scope:
            await serve(task_status=_ShieldingStatus(scope, task_status))

    return scope, await nursery.start(shielded)


class _ShieldingStatus(trio.TaskStatus[Any]):
    """Shields a task as soon as it has started; see `shield_once_started`.

    Args:
        scope: the task is in it, and is ended by it from then on.
        task_status: notified.
    """

    def __init__(self, scope: trio.CancelScope, task_status: trio.TaskStatus[Any]) -> None:
        self._scope = scope
        self._task_status = task_status

    def started(self, value: Any = None) -> None:
        """Reports that the task has started, and shields it."""
        shield_once_started(self._scope, self._task_status, value)


def shield_once_started(scope: trio.CancelScope, task_status: trio.TaskStatus[T], value: T) -> None:
    """Reports that the current task has started, and shields it, by a scope that it is in, from then on.

    Not before, and not where `Nursery.start` has been cancelled by then: that waits for the task to end, and a shielded
    task would not. In the same step, so that no task inside has seen a cancellation that the shield then takes away:
    Trio's own functions are not prepared for it.
    """
    task_status.started(value)
    scope.shield = trio.current_effective_deadline() > -math.inf

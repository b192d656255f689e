"""Garbage collection while the process serves."""

import gc
import weakref

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from sentry_trio.cli.garbage import collect_garbage


class Node:
    """Refers to itself."""

    def __init__(self) -> None:
        self.itself = self


def frozen_cycle() -> weakref.ref[Node]:
    """Returns a reference to an object that only itself refers to, and that a full collection has seen before."""
    node = Node()
    gc.collect()
    return weakref.ref(node)


async def test_survivors_are_frozen_and_collected_later(autojump_clock: MockClock) -> None:
    thresholds = gc.get_threshold()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(collect_garbage)
        await wait_all_tasks_blocked()
        survivor = frozen_cycle()
        gc.collect()
        assert survivor() is not None, "a full collection has only objects that were made since the one before"
        await trio.sleep(601)
        assert survivor() is None
        nursery.cancel_scope.cancel()
    assert gc.get_threshold() == thresholds


async def test_many_objects_postpone_the_collection_of_all(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(collect_garbage)
        await wait_all_tasks_blocked()
        survivor = frozen_cycle()
        many = [[number] for number in range(gc.get_freeze_count())]
        gc.collect()
        await trio.sleep(3000)
        assert survivor() is not None
        await trio.sleep(700)
        assert survivor() is None, "after an hour it is time"
        assert many
        nursery.cancel_scope.cancel()

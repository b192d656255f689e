"""Resources that outlive a block are there until the block has ended, whatever ends it."""

import pytest
import trio

from sentry_trio.lifetimes import outliving


class Witness:
    """A task that records its beginning and end."""

    def __init__(self) -> None:
        self.running = False

    async def serve(self, *, task_status: trio.TaskStatus[str]) -> None:
        self.running = True
        try:
            task_status.started("here")
            await trio.sleep_forever()
        finally:
            self.running = False


async def test_it_yields_the_value_that_the_task_reports() -> None:
    witness = Witness()
    async with outliving(witness.serve) as value:
        assert (value, witness.running) == ("here", True)
    assert not witness.running


async def test_it_is_there_while_a_cancelled_block_cleans_up(autojump_clock: trio.abc.Clock) -> None:
    witness = Witness()
    with trio.move_on_after(1):
        async with outliving(witness.serve):
            try:
                await trio.sleep_forever()
            finally:
                with trio.CancelScope(shield=True, deadline=trio.current_time() + 5):
                    await trio.sleep(3)
                    assert witness.running
    assert trio.current_time() == 4
    assert not witness.running


@pytest.mark.parametrize("starting", [0, 2], ids=["before", "while"])
async def test_it_may_be_cancelled_before_and_while_the_task_starts(
    autojump_clock: trio.abc.Clock, starting: float
) -> None:
    ended = []

    async def serve(*, task_status: trio.TaskStatus[None]) -> None:
        try:
            with trio.CancelScope(shield=True):
                await trio.sleep(starting)
            task_status.started()
            await trio.sleep_forever()
        finally:
            ended.append(trio.current_time())

    with trio.move_on_after(starting / 2):
        async with outliving(serve):
            pytest.fail("it has not started")
    assert ended == [starting]


async def test_its_failure_ends_the_block() -> None:
    async def fail(*, task_status: trio.TaskStatus[None]) -> None:
        task_status.started()
        raise KeyError("no")

    with pytest.RaisesGroup(KeyError):
        async with outliving(fail):
            await trio.sleep_forever()


async def test_a_failure_to_start_never_enters_the_block() -> None:
    async def fail(*, task_status: trio.TaskStatus[None]) -> None:
        raise KeyError("no")

    entered = False
    with pytest.RaisesGroup(KeyError):
        async with outliving(fail):
            entered = True
    assert not entered

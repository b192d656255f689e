"""The asyncio loop that runs within Trio, with types."""

import warnings
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

with warnings.catch_warnings():
    # It derives from a class that Python 3.12 deprecates and 3.14, which is not supported, removes.
    warnings.simplefilter("ignore", DeprecationWarning)
    import trio_asyncio  # type: ignore[import-untyped]  # it has no types

T = TypeVar("T")


class Loop:
    """Runs coroutines of asyncio for Trio tasks; made by `open_loop`."""

    def __init__(self, loop: Any) -> None:
        self._loop = loop

    async def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Runs a coroutine to its end as an asyncio task. Trio-flavoured.

        Cancellation: the asyncio task is cancelled, and its end is waited for.
        """
        result: T = await self._loop.run_aio_coroutine(coroutine)
        return result


@asynccontextmanager
async def open_loop() -> AsyncIterator[Loop]:
    """A loop for the block. Errors of the block come out in exception groups, as from a nursery.

    Importing this module changes what asyncio's functions find as the present loop, in Trio tasks only.
    """
    async with trio_asyncio.open_loop() as loop:
        yield Loop(loop)

"""Looking again and again, in virtual time."""

import trio

from sentry_trio.status.report import Report
from sentry_trio.status.watching import watch

from .making import report


async def times_of(took: list[float], *, seconds: float) -> list[float]:
    """When something was shown, if looks take so long."""
    shown: list[float] = []
    begin = trio.current_time()

    async def look() -> Report:
        await trio.sleep(took[len(shown) % len(took)])
        return report()

    def show(_: Report) -> None:
        shown.append(trio.current_time() - begin)

    with trio.move_on_after(seconds):
        await watch(look, show, every=2)
    return shown


async def test_from_beginning_to_beginning(autojump_clock: trio.abc.Clock) -> None:
    assert await times_of([0, 1], seconds=7.5) == [0, 3, 4, 7]


async def test_a_slow_look_is_followed_at_once(autojump_clock: trio.abc.Clock) -> None:
    assert await times_of([3], seconds=10.5) == [3, 6, 9]

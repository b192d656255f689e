"""Those who ask the same at the same time share one answer."""

from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

import trio

from sentry_trio.errors import ApiUnavailableError

V = TypeVar("V")


class _Flight(Generic[V]):
    """One question under way.

    Attributes:
        ended: it was answered, or given up.
        answers: the answer, if there is one by now.
        failure: that there is none to be had.
    """

    __slots__ = ("answers", "ended", "failure")

    def __init__(self) -> None:
        self.ended = trio.Event()
        self.answers: list[V] = []
        self.failure: ApiUnavailableError | None = None


class SingleFlight(Generic[V]):
    """Asks once for all who ask at the same time.

    There is no task in the background: the first to ask does so in its own task, and when it is cancelled the next one
    asks in its place, so that nobody fails because another lost its patience.
    """

    def __init__(self) -> None:
        self._under_way: dict[Hashable, _Flight[V]] = {}

    async def run(self, key: Hashable, ask: Callable[[], Awaitable[V]]) -> V:
        """The answer of `ask`, or of another's `ask` for the same key that is under way.

        Raises:
            ApiUnavailableError: from the one who asked; all who wait for it are told.

        Cancellation: at once; those who wait for this one's answer go on without it.
        """
        while (flight := self._under_way.get(key)) is not None:
            await flight.ended.wait()
            if flight.failure is not None:
                raise ApiUnavailableError(str(flight.failure)) from flight.failure
            if flight.answers:
                return flight.answers[0]
        self._under_way[key] = flight = _Flight()
        try:
            answer = await ask()
            flight.answers.append(answer)
        except ApiUnavailableError as error:
            flight.failure = error
            raise
        finally:
            del self._under_way[key]
            flight.ended.set()
        return answer

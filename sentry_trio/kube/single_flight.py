"""Concurrent calls for the same key share one call."""

from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

import trio

from sentry_trio.errors import ApiUnavailableError

V = TypeVar("V")


class _Call(Generic[V]):
    """One call in progress.

    Attributes:
        ended: it has returned, raised or was cancelled.
        answers: the result, if it has returned.
        failure: the error that it raised.
    """

    __slots__ = ("answers", "ended", "failure")

    def __init__(self) -> None:
        self.ended = trio.Event()
        self.answers: list[V] = []
        self.failure: ApiUnavailableError | None = None


class SingleFlight(Generic[V]):
    """Makes one call for all concurrent callers with the same key.

    There is no background task: the first caller makes the call in its own task. If that is cancelled, the next
    caller makes the call instead, so that no caller fails because of another's cancellation.
    """

    def __init__(self) -> None:
        self._calls: dict[Hashable, _Call[V]] = {}

    async def run(self, key: Hashable, ask: Callable[[], Awaitable[V]]) -> V:
        """Returns the result of `ask`, or of another caller's `ask` for the same key that is in progress.

        Raises:
            ApiUnavailableError: raised by `ask`, for all that wait for it.

        Cancellation: at once; callers that wait for this one's result make the call themselves.
        """
        while (call := self._calls.get(key)) is not None:
            await call.ended.wait()
            if call.failure is not None:
                raise ApiUnavailableError(str(call.failure)) from call.failure
            if call.answers:
                return call.answers[0]
        self._calls[key] = call = _Call()
        try:
            answer = await ask()
            call.answers.append(answer)
        except ApiUnavailableError as error:
            call.failure = error
            raise
        finally:
            del self._calls[key]
            call.ended.set()
        return answer

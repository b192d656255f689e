"""Attempts that fail for a while, in virtual time."""

import itertools

import pytest
import trio
from trio.testing import MockClock

from sentry_trio.errors import ApiRejectedError, ApiUnavailableError
from sentry_trio.kube.retry import retry
from testkit.kube.fakes import refused, unavailable


async def test_an_answer_is_passed_on(autojump_clock: MockClock) -> None:
    failures = iter([unavailable(), unavailable()])

    async def attempt() -> int:
        await trio.sleep(1)
        for failure in failures:
            raise failure
        return 7

    assert await retry(attempt) == 7
    assert 3.15 <= trio.current_time() <= 3.3


async def test_rejected_requests_are_not_retried(autojump_clock: MockClock) -> None:
    times: list[float] = []

    async def attempt() -> None:
        times.append(trio.current_time())
        raise refused(403, "Forbidden")

    with pytest.raises(ApiRejectedError):
        await retry(attempt)
    assert times == [0]


@pytest.mark.parametrize(("retry_after", "attempts"), [(None, 4), (0.7, 2), (60.0, 1)])
async def test_patience_ends(autojump_clock: MockClock, retry_after: float | None, attempts: int) -> None:
    times: list[float] = []

    async def attempt() -> None:
        times.append(trio.current_time())
        raise ApiUnavailableError(f"{len(times)}", retry_after=retry_after)

    with pytest.raises(ApiUnavailableError, match=str(attempts)):
        await retry(attempt, patience=0.72)
    assert len(times) == attempts
    if retry_after is None:
        assert all(later - earlier >= 0.05 for earlier, later in itertools.pairwise(times))

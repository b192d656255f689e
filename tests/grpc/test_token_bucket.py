"""The budget that refills with time."""

import pytest
import trio
from trio.testing import MockClock

from sentry_trio.grpc.token_bucket import TokenBucket


@pytest.fixture
def clock() -> MockClock:
    return MockClock()


async def test_it_is_spent_and_comes_back_within_a_minute(clock: MockClock) -> None:
    bucket = TokenBucket(60)
    assert all(bucket.spend() for _ in range(60))
    assert not bucket.spend()
    clock.jump(1)
    assert bucket.spend()
    assert not bucket.spend()
    clock.jump(3600)
    assert sum(bucket.spend() for _ in range(100)) == 60


async def test_earned_tokens_can_be_spent_but_not_saved(clock: MockClock) -> None:
    bucket = TokenBucket(10)
    bucket.earn(5)
    assert sum(bucket.spend() for _ in range(100)) == 10
    clock.jump(60)
    assert all(bucket.spend() for _ in range(10))
    bucket.earn(3)
    assert sum(bucket.spend() for _ in range(100)) == 3
    await trio.lowlevel.checkpoint()

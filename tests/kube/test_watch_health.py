"""A watch that fails, in virtual time."""

from contextlib import AbstractContextManager

import trio
from trio.testing import MockClock

from sentry_trio.conditions import Conditions
from sentry_trio.errors import ApiRefusedError, ApiUnavailableError
from sentry_trio.kube.watch_health import STEADY, WatchHealth
from testkit.log_capture import capture_logs

CUT = ApiUnavailableError("cut")
FORBIDDEN = ApiRefusedError("403", status=403, reason="Forbidden")


async def test_a_series_ends_with_a_watch_that_lasts(autojump_clock: MockClock) -> None:
    conditions = Conditions()

    def stands(health: WatchHealth) -> AbstractContextManager[None]:
        return health.established()

    with capture_logs() as lines:
        async with trio.open_nursery() as nursery:
            health = WatchHealth("cannot", "can again", nursery, condition=conditions.condition("pods"))
            for _ in range(5):
                with stands(health):
                    await trio.sleep(STEADY / 2)
                health.failed(CUT)
            assert dict(conditions.active) == {"pods": "cannot: cut"}
            with stands(health):
                await trio.sleep(STEADY + 1)
            assert dict(conditions.active) == {}
            for _ in range(2):
                health.failed(CUT)
            assert dict(conditions.active) == {}
    assert [line["event"] for line in lines if line["log_level"] != "debug"] == ["cannot: cut", "can again"]


async def test_a_refusal_is_reported_at_once(autojump_clock: MockClock) -> None:
    conditions = Conditions()
    with capture_logs() as lines:
        async with trio.open_nursery() as nursery:
            health = WatchHealth("cannot", "can again", nursery, condition=conditions.condition("pods"))
            for _ in range(3):
                health.failed(FORBIDDEN)
    assert dict(conditions.active) == {"pods": "cannot: 403"}
    assert [line["log_level"] for line in lines] == ["warning", "debug", "debug"]

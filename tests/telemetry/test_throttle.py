"""Throttled log lines: one a minute, with counts and the addresses that caused most."""

import trio
from trio.testing import MockClock

from sentry_trio.telemetry.logs import get_logger
from sentry_trio.telemetry.throttle import INTERVAL, ThrottledLog
from testkit.log_capture import capture_logs


async def test_one_line_an_interval_with_counts_and_top_addresses(mock_clock: MockClock) -> None:
    throttled = ThrottledLog(get_logger("dapr.sentry"))
    with capture_logs() as lines:
        assert throttled.warning("too many", peer="10.0.0.1", limit=2)
        for peer, times in {"10.0.0.2": 5, "10.0.0.3": 3, "10.0.0.4": 2, "10.0.0.5": 1}.items():
            for _ in range(times):
                assert not throttled.warning("too many", peer=peer, limit=2)
        mock_clock.jump(INTERVAL)
        assert throttled.warning("too many", peer="10.0.0.4", limit=2)
        mock_clock.jump(INTERVAL)
        assert throttled.warning("too many", peer="10.0.0.9", limit=2)
    common = {"event": "too many", "log_level": "warning", "limit": 2}
    shown = [{name: line[name] for name in line if name != "scope"} for line in lines]
    top = "10.0.0.2 (5), 10.0.0.3 (3), 10.0.0.4 (3)"
    assert shown == [
        {**common, "peer": "10.0.0.1"},
        {**common, "peer": "10.0.0.4", "suppressed": 11, "top_peers": top},
        {**common, "peer": "10.0.0.9"},
    ]


async def test_a_flood_of_addresses_is_counted_in_bounds(mock_clock: MockClock) -> None:
    throttled = ThrottledLog(get_logger("dapr.sentry"))
    with capture_logs() as lines:
        for number in range(100_000):
            throttled.warning("too many", peer=f"peer {number}")
        assert len(throttled._peers) <= 1000
        mock_clock.jump(INTERVAL)
        throttled.warning("too many")
    assert lines[1]["suppressed"] == 99_999


async def test_a_failure_keeps_its_traceback(mock_clock: MockClock) -> None:
    throttled = ThrottledLog(get_logger("dapr.sentry"))
    error = RuntimeError("a defect")
    with capture_logs() as lines:
        assert [throttled.error("failed", exc_info=error) for _ in range(3)] == [True, False, False]
        await trio.lowlevel.checkpoint()
    assert [(line["log_level"], line["event"]) for line in lines] == [("error", "failed")]

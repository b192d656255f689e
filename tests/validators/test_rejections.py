"""Refusals in the log: one line a minute for each cause and pod."""

import trio
from trio.testing import MockClock

from sentry_trio.telemetry.logs import get_logger
from sentry_trio.validators.kubernetes import MOST_REFUSALS, RejectionLog
from testkit.log_capture import Line


def made() -> RejectionLog:
    return RejectionLog(get_logger("dapr.test"))


async def test_repeated_refusals_are_counted(lines: list[Line], autojump_clock: MockClock) -> None:
    refusals = made()
    for _ in range(118):
        refusals.warning("pod", "shop/cart-0", "no such pod")
        await trio.sleep(1)
    assert [(line["log_level"], line["event"], line.get("suppressed")) for line in lines] == [
        ("warning", "no such pod", None),
        ("warning", "no such pod", 59),
    ]
    await trio.sleep(60)
    refusals.warning("pod", "shop/cart-0", "no such pod")
    assert lines[2]["suppressed"] == 57
    await trio.sleep(60)
    refusals.warning("pod", "shop/cart-0", "no such pod")
    assert "suppressed" not in lines[3]


async def test_other_causes_and_pods_are_not_held_back(lines: list[Line]) -> None:
    refusals = made()
    for cause in ("pod", "app ID"):
        for pod in ("shop/cart-0", "shop/cart-1", "bank/cart-0"):
            for _ in range(3):
                refusals.warning(cause, pod, f"{cause} {pod}")
    assert len(lines) == 6


async def test_only_so_many_are_remembered(lines: list[Line]) -> None:
    refusals = made()
    for number in range(2 * MOST_REFUSALS):
        refusals.warning("pod", str(number), "x")
    assert len(lines) == 2 * MOST_REFUSALS
    assert len(refusals._seen) == MOST_REFUSALS
    # The latest are.
    refusals.warning("pod", str(2 * MOST_REFUSALS - 1), "x")
    assert len(lines) == 2 * MOST_REFUSALS
    refusals.warning("pod", "0", "x")
    assert len(lines) == 2 * MOST_REFUSALS + 1

"""Outages of the API server: one line when they begin, one when they end, and a condition in between."""

import pytest
import trio
from trio.testing import MockClock

from sentry_trio.conditions import Conditions
from sentry_trio.errors import ApiRejectedError, ApiUnavailableError, ApiUnreachableError
from sentry_trio.kube.reachability import Reachability, wait_reachable
from testkit.log_capture import Line

AWAY = ApiUnreachableError("GET /api: cannot connect to 10.0.0.1:443: Connection refused")
MEANWHILE = "retrying, known pods still get certificates"
URL = "https://10.0.0.1:443"


def said(lines: list[Line]) -> list[tuple[str, str]]:
    return [(str(line["log_level"]), str(line["event"])) for line in lines]


async def test_an_outage_is_two_lines_and_a_condition(autojump_clock: MockClock, lines: list[Line]) -> None:
    conditions = Conditions()
    reachability = Reachability(conditions.condition("api-server"))
    reachability.answered()
    for _ in range(30):
        await trio.sleep(1)
        reachability.failed(AWAY)
    assert dict(conditions.active) == {"api-server": f"cannot reach the Kubernetes API server: {AWAY}"}
    reachability.answered()
    reachability.answered()
    assert dict(conditions.active) == {}
    assert said(lines) == [
        ("warning", f"cannot reach the Kubernetes API server: {AWAY}; {MEANWHILE}"),
        ("info", "the Kubernetes API server is reachable again after 30 s"),
    ]


async def test_a_lost_connection_is_no_outage(autojump_clock: MockClock, lines: list[Line]) -> None:
    conditions = Conditions()
    reachability = Reachability(conditions.condition("api-server"))
    for _ in range(100):
        reachability.answered()
        await trio.sleep(4.9)
        reachability.failed(AWAY)
    assert (said(lines), dict(conditions.active)) == ([], {})


class Server:
    """Answers after so many attempts."""

    def __init__(self, failures: list[Exception], *, delay: float = 0.0) -> None:
        self.failures = failures
        self.delay = delay

    async def get(self, path: str) -> bytes:
        assert path == "/version"
        await trio.sleep(self.delay)
        if self.failures:
            raise self.failures.pop(0)
        return b"{}"


@pytest.mark.parametrize("failures", [[], [ApiRejectedError("no", status=403, reason="Forbidden")]], ids=str)
async def test_a_server_that_answers_is_not_worth_a_line(
    autojump_clock: MockClock, lines: list[Line], failures: list[Exception]
) -> None:
    await wait_reachable(URL, Server(failures).get)
    assert (said(lines), trio.current_time()) == ([], 0)


async def test_a_server_that_is_away_at_start_is_reported_at_once(autojump_clock: MockClock, lines: list[Line]) -> None:
    failed = f"cannot reach the Kubernetes API server {URL}"
    with trio.move_on_after(0.01):
        await wait_reachable(URL, Server([AWAY] * 1000).get)
    assert said(lines) == [("warning", f"{failed}, retrying for 30 s: {AWAY}")]
    began = trio.current_time()
    with pytest.raises(ApiUnavailableError) as caught:
        await wait_reachable(URL, Server([AWAY] * 1000).get)
    assert str(caught.value) == f"{failed} within 30 s: {AWAY}"
    assert 20 < trio.current_time() - began <= 30
    assert len(lines) == 2


async def test_a_server_that_comes_back_in_time_is_used(autojump_clock: MockClock, lines: list[Line]) -> None:
    await wait_reachable(URL, Server([AWAY] * 5).get)
    assert said(lines)[1:] == [("info", f"the Kubernetes API server {URL} answers")]


async def test_silence_at_start_is_reported_soon(autojump_clock: MockClock, lines: list[Line]) -> None:
    server = Server([AWAY] * 3, delay=10)
    with trio.move_on_after(2.5):
        await wait_reachable(URL, server.get)
    assert said(lines) == [
        ("warning", f"cannot reach the Kubernetes API server {URL}, retrying for 30 s: no answer within 2 s")
    ]

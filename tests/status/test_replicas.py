"""One replica that is asked, in memory; over real sockets in tests/cli/test_status.py."""

import pytest

from sentry_trio.status.figures import Figures
from sentry_trio.status.health import Health
from sentry_trio.status.http import NotAnsweredError
from sentry_trio.status.replicas import Absent, Place, look_at
from sentry_trio.status.report import NotShown
from sentry_trio.telemetry.metrics import Metrics

HEALTH = b'{"ready": true, "run": 1, "bundle": null, "degraded": null, "targets": {"metrics-exporter": true}}'
WITHOUT_METRICS = HEALTH.replace(b"metrics-exporter", b"sentry-server")
METRICS = Metrics().exposition()[0]


def answering(**by_port: bytes | None) -> Place:
    """A replica whose ports answer so; None does not."""

    async def get(port: int, path: str) -> bytes:
        assert path == {1: "/livez?verbose", 2: "/metrics"}[port]
        answer = by_port[f"port{port}"]
        if answer is None:
            raise NotAnsweredError(f"{port} did not answer")
        return answer

    return Place("me", get, health_port=1, metrics_port=2, metrics_asked=True)


async def test_both() -> None:
    found = await look_at(answering(port1=HEALTH, port2=METRICS))
    assert isinstance(found.health, Health)
    assert found.figures == Figures(received=0, signed=0)


@pytest.mark.parametrize(
    ("health", "metrics", "why"),
    [
        (HEALTH, None, NotShown("2 did not answer", asked=True)),
        (HEALTH, b"junk", NotShown("port 2: no metrics: not the Prometheus text format", asked=True)),
        (WITHOUT_METRICS, None, NotShown("metrics are off in this process", asked=False)),
        (None, None, NotShown("2 did not answer", asked=False)),
    ],
)
async def test_no_metrics(health: bytes | None, metrics: bytes | None, why: NotShown) -> None:
    assert (await look_at(answering(port1=health, port2=metrics))).figures == why


async def test_no_health() -> None:
    found = await look_at(answering(port1=None, port2=METRICS))
    assert found.health == NotShown("1 did not answer")
    assert isinstance(found.figures, Figures)
    found = await look_at(answering(port1=b"junk", port2=METRICS))
    assert isinstance(found.health, NotShown)
    assert found.health.reason.startswith("me: no health report of sentry-trio: ")


async def test_metrics_whose_port_is_not_known() -> None:
    place = Place("me", answering(port1=HEALTH).get, health_port=1)
    assert (await look_at(place)).figures == NotShown("no metrics port is named", asked=False)


async def test_one_that_is_not_there_yet() -> None:
    found = await look_at(Absent("me", "no address yet"))
    assert found.health == NotShown("no address yet")
    assert found.figures == NotShown("no address yet", asked=False)

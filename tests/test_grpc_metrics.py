"""Metrics of the gRPC server's events."""

import pytest
import trio
from grpclib.const import Status
from trio.testing import MockClock

from sentry_trio.grpc_metrics import SIGN_CERTIFICATE, ServerObserver
from sentry_trio.proto.sentry_pb2 import DESCRIPTOR
from sentry_trio.telemetry.metrics import Metrics
from testkit.scraping import value

FAILURES = "sentry_sign_failures_total"
PEER = ("192.0.2.1", 4000)
DURATIONS = "sentry_sign_call_duration_seconds_count"


def test_the_path_is_the_one_that_is_served() -> None:
    (method,) = DESCRIPTOR.services_by_name["CA"].methods
    assert f"/{method.containing_service.full_name}/{method.name}" == SIGN_CERTIFICATE


@pytest.mark.parametrize(("status", "outcome"), [(Status.OK, "success"), (Status.UNAVAILABLE, "failure")])
def test_a_signing_call_is_timed_by_outcome(status: Status, outcome: str) -> None:
    metrics = Metrics()
    ServerObserver(metrics).call_finished(SIGN_CERTIFICATE, status, 0.5, PEER)
    assert value(metrics, DURATIONS, outcome=outcome) == 1
    assert value(metrics, "sentry_sign_call_duration_seconds_sum", outcome=outcome) == 0.5


def test_other_calls_are_counted_and_not_timed() -> None:
    """Watching health lasts as long as a connection does."""
    metrics = Metrics()
    ServerObserver(metrics).call_finished("/grpc.health.v1.Health/Watch", Status.CANCELLED, 1800, PEER)
    assert value(metrics, "sentry_grpc_calls_total", code="Cancelled") == 1
    assert value(metrics, DURATIONS, outcome="failure") == 0
    assert value(metrics, "dapr_sentry_cert_sign_failure_total", reason="cancelled") == 0


@pytest.mark.parametrize("status", [Status.CANCELLED, Status.DEADLINE_EXCEEDED])
def test_a_cancelled_signing_call_is_a_failure(status: Status) -> None:
    metrics = Metrics()
    ServerObserver(metrics).call_finished(SIGN_CERTIFICATE, status, 3, PEER)
    assert value(metrics, "dapr_sentry_cert_sign_failure_total", reason="cancelled") == 1


def test_a_defect_is_a_failure_of_signing_only_where_it_was_signing() -> None:
    metrics = Metrics()
    observer = ServerObserver(metrics)
    observer.handler_failed("/grpc.health.v1.Health/Check", RuntimeError("defect"))
    assert value(metrics, "dapr_sentry_cert_sign_failure_total", reason="internal") == 0
    observer.handler_failed(SIGN_CERTIFICATE, RuntimeError("defect"))
    assert value(metrics, FAILURES, reason="internal", code="Unknown") == 1


def test_connections_go_up_and_down() -> None:
    metrics = Metrics()
    observer = ServerObserver(metrics)
    observer.connection_opened()
    observer.connection_opened()
    observer.connection_closed()
    assert value(metrics, "sentry_grpc_connections") == 1
    assert value(metrics, "sentry_grpc_connections_opened_total") == 2


def test_calls_that_wait_go_up_and_down() -> None:
    metrics = Metrics()
    observer = ServerObserver(metrics)
    observer.call_queued()
    observer.call_queued()
    observer.call_dequeued()
    assert value(metrics, "sentry_grpc_calls_waiting") == 1


def _logged(caplog: pytest.LogCaptureFixture) -> list[tuple[str, dict[str, object]]]:
    return [(record.message, record.__dict__["fields"]) for record in caplog.records]


async def test_the_log_has_the_peers_of_calls(caplog: pytest.LogCaptureFixture) -> None:
    observer = ServerObserver(Metrics())
    with caplog.at_level("DEBUG", logger="dapr.sentry.server"):
        observer.call_shed("queue_full", PEER)
        observer.call_finished(SIGN_CERTIFICATE, Status.RESOURCE_EXHAUSTED, 0.5, ("2001:db8::1", 4000, 0, 0))
    shed, finished = _logged(caplog)
    assert shed == ("call rejected: the server is overloaded", {"reason": "queue_full", "peer": "192.0.2.1"})
    assert finished[1]["peer"] == "[2001:db8::1]:4000"


async def test_failures_to_accept_are_logged_once_a_minute(
    caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    observer = ServerObserver(Metrics())
    for _ in range(610):
        observer.accept_failed(OSError(24, "Too many open files"))
        await trio.sleep(0.1)
    first, second = _logged(caplog)
    assert first[1] == {}
    assert second[1] == {"suppressed": 599}


async def test_evictions_and_refusals_are_counted_and_logged_once_a_minute(
    caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    metrics = Metrics()
    observer = ServerObserver(metrics)
    for _ in range(2):
        for port in range(4):
            observer.connection_evicted(("192.0.2.1", port), "work")
            observer.connection_refused(("2001:db8::1", port, 0, 0), "none is idle")
        await trio.sleep(60)
    assert value(metrics, "sentry_grpc_connections_evicted_total", reason="work") == 8
    assert value(metrics, "sentry_grpc_connections_refused_total") == 8
    evicted, refused, *later = _logged(caplog)
    assert evicted == ("gRPC connection closed: it caused too much work without calls", {"peer": "192.0.2.1"})
    assert refused == ("gRPC connection refused: none is idle", {"peer": "2001:db8::1"})
    assert [fields["suppressed"] for _, fields in later] == [3, 3]
    assert later[0][1]["top_peers"] == "192.0.2.1 (4)"

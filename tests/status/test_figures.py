"""What a replica counts, read from what our own metrics write, and from what others might."""

from contextlib import suppress

import pytest
from grpclib.const import Status
from hypothesis import given, settings
from hypothesis import strategies as st

from sentry_trio.status.figures import Figures, read_figures
from sentry_trio.status.health import NotOursError
from sentry_trio.telemetry.metrics import Metrics, RestartFailure, SignFailure


def test_nothing_yet() -> None:
    body, _ = Metrics().exposition()
    assert read_figures(body) == Figures(received=0, signed=0)


def test_everything() -> None:
    metrics = Metrics()
    for _ in range(3):
        metrics.csr_received()
    metrics.sign_succeeded()
    metrics.sign_failed(SignFailure.NOT_PERMITTED, Status.PERMISSION_DENIED)
    metrics.sign_failed(SignFailure.INVALID_CSR, Status.PERMISSION_DENIED)
    metrics.grpc_call_finished(Status.OK)
    metrics.grpc_call_finished(Status.UNAVAILABLE)
    metrics.restart_succeeded()
    metrics.restart_failed(RestartFailure.BUNDLE)
    for tell in (metrics.grpc_connection_opened, metrics.grpc_connection_refused, metrics.grpc_handshake_failed):
        tell()
    metrics.grpc_call_queued()
    metrics.grpc_call_shed("in_vain")
    assert read_figures(metrics.exposition()[0]) == Figures(
        received=3,
        signed=1,
        refused=(("invalid_csr", "PermissionDenied", 1), ("not_permitted", "PermissionDenied", 1)),
        calls=(("OK", 1), ("Unavailable", 1)),
        restarts=(("failure", 1), ("success", 1)),
        restart_failures=(("bundle", 1),),
        connections=1,
        connections_refused=1,
        handshakes_failed=1,
        waiting=1,
        shed=(("in_vain", 1),),
    )


def test_daprs_own_are_metrics_of_a_sentry_too() -> None:
    body = b"dapr_sentry_cert_sign_request_received_total 7\ndapr_sentry_cert_sign_success_total 6\n"
    assert read_figures(body) == Figures(received=7, signed=6)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "there is no dapr_sentry_cert_sign_request_received_total"),
        (b"up 1\n", "there is no dapr_sentry_cert_sign_request_received_total"),
        (b"<!doctype html>", "not the Prometheus text format"),
        (b"\xff", "not the Prometheus text format"),
        (b"dapr_sentry_cert_sign_request_received_total NaN\n", "not the Prometheus text format"),
        (b"dapr_sentry_cert_sign_request_received_total +Inf\n", "not the Prometheus text format"),
    ],
)
def test_what_is_none(body: bytes, says: str) -> None:
    with pytest.raises(NotOursError, match=says):
        read_figures(body)


@settings(deadline=None)
@given(st.binary() | st.text(alphabet='a_total{}=",# \n\\1e+-TYPEHL').map(str.encode))
def test_any_bytes_are_figures_or_are_refused(body: bytes) -> None:
    with suppress(NotOursError):
        read_figures(body)

"""Content of replicas, stores and the ConfigMap, read with care: anything may answer on a port."""

import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from grpclib.const import Status
from hypothesis import given, settings
from hypothesis import strategies as st

from sentry_trio.ca.bundle import verify
from sentry_trio.ca.certificates import fingerprint, write_certificates
from sentry_trio.ca.lineage import Link
from sentry_trio.renewal_status import RenewalStatus
from sentry_trio.status.parsers import read_figures, read_health, read_published, read_stored
from sentry_trio.status.report import Figures, NotShownError
from sentry_trio.stores.part_store import PublicParts
from sentry_trio.telemetry.metrics import Metrics, RestartFailure, SignFailure
from testkit.ca.making import DAY, NOW, certificate, new_key, stored

SAID: dict[str, Any] = {
    "version": "0.1.0",
    "mode": "standalone",
    "started_at": "2026-11-25T20:00:00.5+00:00",
    "run": 2,
    "bundle": "ab",
    "loaded_at": "2026-11-25T22:00:00+02:00",
    "last_restart": "succeeded",
    "last_restart_at": "2026-11-25T20:00:00Z",
    "degraded": None,
    "certificates": [
        {
            "role": "anchor",
            "subject": "CN=root",
            "fingerprint": "cd",
            "not_before": "2026-01-01T00:00:00Z",
            "not_after": "2027-01-01T00:00:00Z",
            "signed_by": None,
        }
    ],
    "ready": True,
    "targets": {"a": True, "b": False},
    "to come": [1],
}


def read(**changes: object) -> Any:
    return read_health(json.dumps({**SAID, **changes}).encode(), "me")


def test_the_state_of_renewal() -> None:
    assert read().renewal is None
    renewal = read(
        renewal={
            "phase": "signing",
            "generation": 2,
            "bridge_end": "2027-01-01T02:00:00+02:00",
            "sidecars": {"current": 1},
        }
    ).renewal
    assert renewal == RenewalStatus(
        phase="signing", generation=2, bridge_end=datetime(2027, 1, 1, tzinfo=UTC), sidecars={"current": 1}
    )
    for each in ({"phase": "signing"}, {"phase": "a", "generation": 1, "bridge_end": "2027-01-01T02:00:00"}):
        with pytest.raises(NotShownError):
            read(renewal=each)


def test_former_anchors_are_anchors() -> None:
    former = {**SAID["certificates"][0], "role": "former", "fingerprint": "ef"}
    assert read(certificates=[*SAID["certificates"], former]).anchors == ("cd", "ef")


def test_a_health_report() -> None:
    health = read()
    assert (health.ready, health.run, health.bundle, health.degraded) == (True, 2, "ab", None)
    assert health.started_at == datetime(2026, 11, 25, 20, 0, 0, 500_000, UTC)
    assert health.loaded_at == health.last_restart_at == datetime(2026, 11, 25, 20, tzinfo=UTC)
    assert health.loaded_at.utcoffset().total_seconds() == 0
    assert health.certificates == (
        Link("anchor", "CN=root", "cd", datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)),
    )
    assert health.anchors == ("cd",)
    assert health.unready == ("b",)


def test_a_report_of_an_older_release() -> None:
    least = {name: SAID[name] for name in ("run", "bundle", "degraded", "ready", "targets")}
    health = read_health(json.dumps(least).encode(), "me")
    assert (health.version, health.started_at, health.certificates, health.anchors) == (None, None, (), ())


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"<html>",
        b"\xff\xfe",
        b"{}",
        b"[" * 100_000,
        json.dumps({**SAID, "run": -1}).encode(),
        json.dumps({**SAID, "ready": "yes"}).encode(),
        json.dumps({**SAID, "loaded_at": "2026-11-25T20:00:00"}).encode(),
        json.dumps({**SAID, "loaded_at": "0001-01-01T00:00:00+10:00"}).encode(),
        json.dumps({**SAID, "certificates": SAID["certificates"] * 1001}).encode(),
        json.dumps({**SAID, "targets": {str(number): True for number in range(1001)}}).encode(),
    ],
    ids=lambda body: repr(body[:20]),
)
def test_invalid_health_reports(body: bytes) -> None:
    with pytest.raises(NotShownError, match="not a health report of sentry-trio: "):
        read_health(body, "me")


ANYTHING: st.SearchStrategy[object] = (
    st.none() | st.booleans() | st.integers() | st.text() | st.just([{}]) | st.just({"a": 1})
)
BROKEN = st.dictionaries(st.sampled_from(sorted(SAID)), ANYTHING)


@settings(deadline=None)
@given(st.binary() | BROKEN.map(lambda changes: json.dumps({**SAID, **changes}).encode()))
def test_any_bytes_are_a_report_or_are_refused(body: bytes) -> None:
    with suppress(NotShownError):
        read_health(body, "me")


def test_no_figures_yet() -> None:
    body, _ = Metrics().exposition()
    assert read_figures(body, "port 1") == Figures(signing_requests=0, certificates=0)


def test_all_figures() -> None:
    metrics = Metrics()
    for _ in range(3):
        metrics.csrs_received.inc()
    metrics.certificates_issued.inc()
    metrics.sign_failed(SignFailure.NOT_PERMITTED, Status.PERMISSION_DENIED)
    metrics.sign_failed(SignFailure.INVALID_CSR, Status.PERMISSION_DENIED)
    metrics.grpc_call_finished(Status.OK)
    metrics.grpc_call_finished(Status.UNAVAILABLE)
    metrics.restart_succeeded()
    metrics.restart_failed(RestartFailure.BUNDLE)
    for series in (metrics.grpc_connections, metrics.grpc_connections_refused, metrics.grpc_handshakes_failed):
        series.inc()
    metrics.grpc_calls_waiting.inc()
    metrics.grpc_call_shed("in_vain")
    assert read_figures(metrics.exposition()[0], "port 1") == Figures(
        signing_requests=3,
        certificates=1,
        rejected={("invalid_csr", "PermissionDenied"): 1, ("not_permitted", "PermissionDenied"): 1},
        calls={"OK": 1, "Unavailable": 1},
        restarts={"failure": 1, "success": 1},
        restart_failures={"bundle": 1},
        connections=1,
        connections_refused=1,
        handshakes_failed=1,
        calls_waiting=1,
        calls_shed={"in_vain": 1},
    )


def test_daprs_own_are_metrics_of_a_sentry_too() -> None:
    body = b"dapr_sentry_cert_sign_request_received_total 7\ndapr_sentry_cert_sign_success_total 6\n"
    assert read_figures(body, "port 1") == Figures(signing_requests=7, certificates=6)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "dapr_sentry_cert_sign_request_received_total is missing"),
        (b"up 1\n", "dapr_sentry_cert_sign_request_received_total is missing"),
        (b"<!doctype html>", "not metrics in the Prometheus text format"),
        (b"\xff", "not metrics in the Prometheus text format"),
        (b"dapr_sentry_cert_sign_request_received_total NaN\n", "not metrics in the Prometheus text format"),
        (b"dapr_sentry_cert_sign_request_received_total +Inf\n", "not metrics in the Prometheus text format"),
    ],
)
def test_invalid_metrics(body: bytes, says: str) -> None:
    with pytest.raises(NotShownError, match=says):
        read_figures(body, "port 1")


@settings(deadline=None)
@given(st.binary() | st.text(alphabet='a_total{}=",# \n\\1e+-TYPEHL').map(str.encode))
def test_any_bytes_are_figures_or_are_refused(body: bytes) -> None:
    with suppress(NotShownError):
        read_figures(body, "port 1")


ROOT_KEY, KEY, OTHER_KEY = new_key(), new_key(), new_key()
ROOT = certificate("root", ROOT_KEY)
ISSUER = certificate("issuer", KEY, "root", ROOT_KEY)
GOOD = stored([ROOT], [ISSUER, ROOT], KEY)
PARTS = PublicParts(GOOD.anchors, GOOD.chain)


def test_a_good_bundle() -> None:
    found = read_stored(PARTS, "here", NOW)
    assert (found.place, found.problem) == ("here", None)
    # As the authority that uses it names it: without the self-signed certificate in the chain.
    assert found.fingerprint == verify(GOOD, NOW).fingerprint
    assert [link.role for link in found.certificates] == ["anchor", "issuer"]


def test_a_bundle_that_has_expired_is_shown() -> None:
    found = read_stored(PARTS, "here", NOW + timedelta(days=400))
    assert "certificate has expired" in (found.problem or "")
    assert found.fingerprint == verify(GOOD, NOW).fingerprint
    assert len(found.certificates) == 2


def test_a_bundle_that_does_not_go_together_is_shown() -> None:
    stranger = certificate("root", OTHER_KEY)
    found = read_stored(PublicParts(write_certificates([stranger]), GOOD.chain), "here", NOW + DAY)
    assert "issuer chain does not belong to trust anchors" in (found.problem or "")
    assert [link.signed_by for link in found.certificates] == [None, None]


@pytest.mark.parametrize(
    "parts",
    [PublicParts(b"junk", GOOD.chain), PublicParts(GOOD.anchors, GOOD.key), PublicParts(GOOD.anchors, b"\xff" * 9)],
)
def test_a_bundle_that_cannot_be_read(parts: PublicParts) -> None:
    found = read_stored(parts, "here", NOW)
    assert (found.fingerprint, found.certificates) == (None, ())
    assert found.problem
    assert GOOD.key.splitlines()[1].decode() not in repr(found)


def test_published_anchors() -> None:
    found = read_published(GOOD.anchors.decode(), "there")
    assert (found.anchors, found.problem) == ((fingerprint(ROOT),), None)


@pytest.mark.parametrize(
    ("anchors", "problem"),
    [
        (None, "it has no trust anchors"),
        ("", "it has no trust anchors"),
        ("\ud800", "no certificates found: it is not PEM text"),
    ],
)
def test_no_published_anchors(anchors: str | None, problem: str) -> None:
    found = read_published(anchors, "there")
    assert (found.anchors, found.problem) == ((), problem)

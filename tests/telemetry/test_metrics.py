"""The metrics, read back by Prometheus's own parser."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from grpclib.const import Status

from sentry_trio import __version__
from sentry_trio.renewal_status import CertificateExpiry, CertificateRole
from sentry_trio.telemetry.metrics import (
    Metrics,
    RestartFailure,
    ServerCertificateFailure,
    SignFailure,
)
from testkit.scraping import scrape, value

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def expiry(role: CertificateRole, days: float, fingerprint: str = "aa", subject: str = "O=x") -> CertificateExpiry:
    return CertificateExpiry(role, subject, fingerprint, NOON + timedelta(days=days))


@pytest.mark.parametrize(
    ("name", "kind", "labels", "text"),
    [
        ("dapr_sentry_cert_sign_request_received_total", "counter", set(), "The number of CSRs received."),
        (
            "dapr_sentry_cert_sign_success_total",
            "counter",
            set(),
            "The number of certificates issuances that have succeeded.",
        ),
        (
            "dapr_sentry_cert_sign_failure_total",
            "counter",
            {"reason"},
            "The number of errors occurred when signing the CSR.",
        ),
        (
            "dapr_sentry_servercert_issue_failed_total",
            "counter",
            {"reason"},
            "The number of server TLS certificate issuance failures.",
        ),
        (
            "dapr_sentry_issuercert_changed_total",
            "counter",
            set(),
            "The number of issuer cert updates, when issuer cert or key is changed",
        ),
        (
            "dapr_sentry_issuercert_expiry_timestamp",
            "gauge",
            set(),
            "The unix timestamp, in seconds, when issuer/root cert will expire.",
        ),
    ],
)
def test_the_series_of_dapr_sentry(name: str, kind: str, labels: set[str], text: str) -> None:
    metrics = Metrics(now=lambda: NOON)
    metrics.watch_certificates([expiry(CertificateRole.ISSUER, 1)])
    body = metrics.exposition()[0].decode()
    assert f"# HELP {name} {text}\n# TYPE {name} {kind}\n" in body
    family = scrape(metrics)[name.removesuffix("_total")]
    assert {sample.name for sample in family.samples} == {name}
    assert all(set(sample.labels) == labels for sample in family.samples)


def test_a_process_exports_its_own_series_and_none_of_go() -> None:
    body = Metrics().exposition()[0].decode()
    for name in ("process_cpu_seconds_total", "process_open_fds", "python_info", "python_gc_collections_total"):
        assert f"# TYPE {name} " in body
    assert not re.search(r"^go_", body, flags=re.MULTILINE)
    assert "_created" not in body


def test_two_processes_worth_of_metrics_do_not_meet() -> None:
    one, other = Metrics(), Metrics()
    one.csrs_received.inc()
    assert value(one, "dapr_sentry_cert_sign_request_received_total") == 1
    assert value(other, "dapr_sentry_cert_sign_request_received_total") == 0


@pytest.mark.parametrize(
    ("say", "name", "labels"),
    [
        (lambda metrics: metrics.csrs_received.inc(), "dapr_sentry_cert_sign_request_received_total", {}),
        (lambda metrics: metrics.certificates_issued.inc(), "dapr_sentry_cert_sign_success_total", {}),
        (lambda metrics: metrics.issuer_changes.inc(), "dapr_sentry_issuercert_changed_total", {}),
        (
            lambda metrics: metrics.server_certificate_failed(ServerCertificateFailure.SIGNING),
            "dapr_sentry_servercert_issue_failed_total",
            {"reason": "signing"},
        ),
        (Metrics.restart_succeeded, "sentry_restarts_total", {"outcome": "success"}),
        (
            lambda metrics: metrics.restart_failed(RestartFailure.BUNDLE),
            "sentry_restart_failures_total",
            {"cause": "bundle"},
        ),
        (
            lambda metrics: metrics.restart_failed(RestartFailure.STORE),
            "sentry_restarts_total",
            {"outcome": "failure"},
        ),
        (
            lambda metrics: metrics.sign_failed(SignFailure.NOT_PERMITTED, Status.PERMISSION_DENIED),
            "dapr_sentry_cert_sign_failure_total",
            {"reason": "not_permitted"},
        ),
        (lambda metrics: metrics.grpc_handshakes_failed.inc(), "sentry_grpc_handshakes_failed_total", {}),
        (lambda metrics: metrics.grpc_call_shed("in_vain"), "sentry_grpc_calls_shed_total", {"reason": "in_vain"}),
        (lambda metrics: metrics.grpc_calls_waiting.inc(), "sentry_grpc_calls_waiting", {}),
        (lambda metrics: metrics.grpc_call_finished(Status.OK), "sentry_grpc_calls_total", {"code": "OK"}),
        (
            lambda metrics: metrics.grpc_call_finished(Status.INVALID_ARGUMENT),
            "sentry_grpc_calls_total",
            {"code": "InvalidArgument"},
        ),
        (Metrics.oidc_tls_reloaded, "sentry_oidc_tls_reloads_total", {"outcome": "success"}),
        (lambda metrics: metrics.audit_lost.inc(), "sentry_audit_decisions_lost_total", {}),
        (Metrics.oidc_tls_failed, "sentry_oidc_tls_reloads_total", {"outcome": "failure"}),
    ],
)
def test_counters_start_at_zero_and_count(say: Callable[[Metrics], None], name: str, labels: dict[str, str]) -> None:
    metrics = Metrics()
    assert value(metrics, name, **labels) == 0
    say(metrics)
    say(metrics)
    assert value(metrics, name, **labels) == 2


def test_a_failure_is_counted_by_cause_and_code() -> None:
    metrics = Metrics()
    assert scrape(metrics)["sentry_sign_failures"].samples == []
    metrics.sign_failed(SignFailure.INVALID_CSR, Status.INVALID_ARGUMENT)
    assert value(metrics, "sentry_sign_failures_total", reason="invalid_csr", code="InvalidArgument") == 1


def test_degraded_is_one_or_zero() -> None:
    metrics = Metrics()
    assert value(metrics, "sentry_degraded") == 0
    metrics.degraded.set(True)  # as `Conditions` does
    assert value(metrics, "sentry_degraded") == 1
    metrics.degraded.set(False)  # as `Conditions` does
    assert value(metrics, "sentry_degraded") == 0


def test_the_time_of_the_last_restart_is_exported_by_outcome() -> None:
    """Exported once there was one: 0 would read as 1970."""
    now = NOON
    metrics = Metrics(now=lambda: now)
    name = "sentry_last_restart_timestamp_seconds"
    assert scrape(metrics)[name].samples == []
    metrics.run_started(1)
    now += timedelta(minutes=1)
    metrics.restart_failed(RestartFailure.BUNDLE)
    assert value(metrics, name, outcome="success") == NOON.timestamp()
    assert value(metrics, name, outcome="failure") == now.timestamp()


def test_the_version_is_exported_from_the_first_moment() -> None:
    assert value(Metrics(), "sentry_build_info", version=__version__) == 1


def test_the_bounds_of_connections_and_waiting_calls() -> None:
    metrics = Metrics()
    metrics.grpc_connections_max.set(20)
    metrics.grpc_calls_waiting_max.set(30)
    assert value(metrics, "sentry_grpc_connections_max") == 20
    assert value(metrics, "sentry_grpc_calls_waiting_max") == 30


def test_the_digest_of_the_bundle_in_use_and_no_other() -> None:
    metrics = Metrics()
    assert scrape(metrics)["sentry_trust_bundle_info"].samples == []
    metrics.bundle_in_use("old")
    metrics.bundle_in_use("new")
    assert value(metrics, "sentry_trust_bundle_info", digest="new") == 1
    assert len(scrape(metrics)["sentry_trust_bundle_info"].samples) == 1


def test_the_run_number() -> None:
    metrics = Metrics()
    metrics.run_started(3)
    assert value(metrics, "sentry_run_number") == 3


def test_stages_are_measured_also_when_they_fail() -> None:
    ticks = iter([0.0, 0.0002, 10.0, 10.03, 20.0, 26.0])
    metrics = Metrics(elapsed=lambda: next(ticks))
    with metrics.stage("sign"):
        pass
    with pytest.raises(ValueError, match="refused"), metrics.stage("sign"):
        raise ValueError("refused")
    with metrics.stage("sign"):
        pass

    name = "sentry_sign_stage_duration_seconds"
    assert value(metrics, f"{name}_count", stage="sign") == 3
    assert value(metrics, f"{name}_sum", stage="sign") == pytest.approx(6.0302)
    counts = {bound: value(metrics, f"{name}_bucket", stage="sign", le=bound) for bound in ("5e-05", "0.00025", "0.05")}
    assert counts == {"5e-05": 0, "0.00025": 1, "0.05": 2}
    assert value(metrics, f"{name}_bucket", stage="sign", le="5.0") == 2
    assert value(metrics, f"{name}_bucket", stage="sign", le="+Inf") == 3
    assert value(metrics, f"{name}_count", stage="parse") == 0


def test_expiry_does_not_exist_before_there_is_a_certificate() -> None:
    body = Metrics().exposition()[0].decode()
    assert "expiry" not in body


def test_expiry_is_computed_when_asked() -> None:
    now = NOON
    metrics = Metrics(now=lambda: now)
    metrics.watch_certificates(
        [
            expiry(CertificateRole.ISSUER, 30, "bb", 'CN="cluster"\n\\'),
            expiry(CertificateRole.ANCHOR, 10, "aa"),
            expiry(CertificateRole.INTERMEDIATE, 20, "cc"),
        ]
    )
    name = "sentry_certificate_expiry_seconds"
    issuer = {"role": "issuer", "subject": 'CN="cluster"\n\\', "fingerprint": "bb"}
    assert value(metrics, "dapr_sentry_issuercert_expiry_timestamp") == (NOON + timedelta(days=30)).timestamp()
    assert value(metrics, name, **issuer) == 30 * 86400
    assert value(metrics, "sentry_soonest_expiry_seconds") == 10 * 86400

    now += timedelta(days=11)
    assert value(metrics, name, **issuer) == 19 * 86400
    assert value(metrics, "sentry_soonest_expiry_seconds") == -86400
    assert value(metrics, "dapr_sentry_issuercert_expiry_timestamp") == (NOON + timedelta(days=30)).timestamp()


def test_bridges_and_former_roots_do_not_count_as_soonest_expiry() -> None:
    metrics = Metrics(now=lambda: NOON)
    left_over = expiry(CertificateRole.BRIDGE, 1, "bb"), expiry(CertificateRole.FORMER, -1, "cc")
    metrics.watch_certificates([expiry(CertificateRole.ISSUER, 30), *left_over])
    assert value(metrics, "sentry_soonest_expiry_seconds") == 30 * 86400
    name = "sentry_certificate_expiry_seconds"
    assert value(metrics, name, role="former", subject="O=x", fingerprint="cc") == -86400


def test_only_the_present_bundle_is_exported() -> None:
    metrics = Metrics(now=lambda: NOON)
    metrics.watch_certificates([expiry(CertificateRole.ISSUER, 1, "old")])
    metrics.watch_certificates([expiry(CertificateRole.ISSUER, 2, "new")])
    samples = scrape(metrics)["sentry_certificate_expiry_seconds"].samples
    assert [sample.labels["fingerprint"] for sample in samples] == ["new"]


def test_a_certificate_listed_twice_is_one_series() -> None:
    metrics = Metrics(now=lambda: NOON)
    metrics.watch_certificates([expiry(CertificateRole.ANCHOR, 1), expiry(CertificateRole.ANCHOR, 1)])
    assert len(scrape(metrics)["sentry_certificate_expiry_seconds"].samples) == 1
    # Anchors alone do not show the issuer.
    assert "dapr_sentry_issuercert_expiry_timestamp" not in scrape(metrics)

"""Metrics of CA renewal, read back by Prometheus's own parser."""

from datetime import UTC, datetime, timedelta

from msgspec.structs import replace

from sentry_trio.renewal_status import HoldReason, RenewalStatus, Step
from sentry_trio.telemetry.metrics import Metrics
from testkit.scraping import scrape, value

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
STEADY = RenewalStatus(phase="steady", generation=1, next_step="publish", next_step_at=NOON)


def test_there_are_no_gauges_before_the_state_is_known() -> None:
    scraped = scrape(Metrics())
    assert not {name for name in scraped if name.startswith(("sentry_ca_", "dapr_sentry_ca_"))} - {
        "dapr_sentry_ca_renewal",
        "dapr_sentry_ca_switchover",
        "sentry_ca_steps",
        "sentry_ca_preflight_refusals",
    }


def test_the_state_replaces_the_one_before() -> None:
    metrics = Metrics()
    metrics.ca_renewal(STEADY)
    assert value(metrics, "sentry_ca_phase", phase="steady") == 1
    assert value(metrics, "sentry_ca_next_step_timestamp_seconds", step="publish") == NOON.timestamp()
    assert value(metrics, "dapr_sentry_ca_renewal_pending") == 0
    assert value(metrics, "dapr_sentry_ca_switchover_timestamp") == 0
    assert not {"sentry_ca_bridge_end_timestamp_seconds", "sentry_ca_sidecars"} & scrape(metrics).keys()

    bridge_end = NOON + timedelta(days=180)
    metrics.ca_renewal(replace(STEADY, phase="distributing", generation=2, next_step="switch", bridge_end=bridge_end))
    assert value(metrics, "sentry_ca_phase", phase="steady") == 0
    assert value(metrics, "sentry_ca_phase", phase="distributing") == 1
    assert value(metrics, "sentry_ca_generation") == 2
    steps = [each.labels for each in scrape(metrics)["sentry_ca_next_step_timestamp_seconds"].samples]
    assert steps == [{"step": "switch"}]
    assert value(metrics, "sentry_ca_bridge_end_timestamp_seconds") == bridge_end.timestamp()
    assert value(metrics, "dapr_sentry_ca_renewal_pending") == 1
    assert value(metrics, "dapr_sentry_ca_switchover_timestamp") == NOON.timestamp()


def test_without_a_next_step_there_is_no_time_of_it() -> None:
    metrics = Metrics()
    metrics.ca_renewal(replace(STEADY, next_step=None, next_step_at=None))
    assert "sentry_ca_next_step_timestamp_seconds" not in scrape(metrics)


def test_one_reason_holds_a_step() -> None:
    metrics = Metrics()
    metrics.ca_renewal(replace(STEADY, held="the clock was set", held_reason=HoldReason.CLOCK))
    held = {each.labels["reason"]: each.value for each in scrape(metrics)["sentry_ca_held"].samples}
    assert held == {"clock": 1, "config_map": 0, "store": 0, "read_only": 0, "root_key": 0, "bundle": 0}


def test_sidecar_counts_start_at_zero() -> None:
    metrics = Metrics()
    metrics.ca_renewal(replace(STEADY, sidecars={"former": 3}, injector_stale=True))
    sidecars = {each.labels["anchors"]: each.value for each in scrape(metrics)["sentry_ca_sidecars"].samples}
    assert sidecars == {"current": 0, "former": 3, "none": 0, "file": 0}
    assert value(metrics, "sentry_ca_injector_stale") == 1


def test_steps_are_counted_under_dapr_s_names_too() -> None:
    metrics = Metrics()
    for step in (Step.PUBLISH, Step.SWITCH, Step.PUBLISH_AND_SWITCH, Step.ERASE):
        metrics.ca_step_stored(step)
    metrics.ca_step_failed(Step.PUBLISH)
    assert value(metrics, "sentry_ca_steps_total", step="publish", outcome="success") == 1
    assert value(metrics, "sentry_ca_steps_total", step="publish", outcome="failure") == 1
    assert value(metrics, "sentry_ca_steps_total", step="cut", outcome="success") == 0
    assert value(metrics, "dapr_sentry_ca_renewal_total") == 2
    assert value(metrics, "dapr_sentry_ca_switchover_total") == 2


def test_refusals_are_counted_by_finding() -> None:
    metrics = Metrics()
    metrics.trust_bundle_refused("regression")
    assert value(metrics, "sentry_ca_preflight_refusals_total", code="regression") == 1
    assert value(metrics, "sentry_ca_preflight_refusals_total", code="cut-leaves") == 0

"""Series of CA renewal."""

from collections.abc import Iterable, Mapping
from typing import Final

from prometheus_client.metrics_core import GaugeMetricFamily, Metric

from sentry_trio.errors import Fault
from sentry_trio.renewal_status import AnchorsHeld, HoldReason, Phase, RenewalStatus, Step
from sentry_trio.telemetry.registry import OUTCOMES, Registry

REFUSALS: Final = ("cut-leaves", "cut-consumers", "regression", "anchor-lost", "weak-key", *Fault)
"""Findings of the preflight for which a trust bundle is rejected."""
_STEPS: Final = tuple(step for step in Step if step is not Step.ROLLBACK)  # which only a command takes
_BEGINNINGS: Final = frozenset({Step.PUBLISH, Step.PUBLISH_AND_SWITCH, Step.RENEW_ISSUER})
_SWITCHES: Final = frozenset({Step.SWITCH, Step.PUBLISH_AND_SWITCH, Step.RENEW_ISSUER})


class RenewalMetrics:
    """Part of `Metrics`.

    Args:
        registry: registry of the series.
    """

    def __init__(self, registry: Registry) -> None:
        self._renewal: RenewalStatus | None = None
        registry.computed(self._renewal_gauges)
        self._begun = registry.counter(
            "dapr_sentry_ca_renewal_total", "Renewals of the certificate authority that this replica has begun."
        )
        self._switched = registry.counter(
            "dapr_sentry_ca_switchover_total", "Renewals in which this replica made the next issuer sign."
        )
        self._steps = registry.counter(
            "sentry_ca_steps_total",
            "Steps of CA renewal that this replica tried to store, by outcome.",
            "step",
            "outcome",
        )
        for step in _STEPS:
            for outcome in OUTCOMES:
                self._steps.labels(step, outcome)
        self._refusals = registry.counter(
            "sentry_ca_preflight_refusals_total",
            "Changed trust bundles that were rejected because they would cut off workloads, by finding.",
            "code",
            values=REFUSALS,
        )

    def ca_renewal(self, status: RenewalStatus) -> None:
        """Reports this state from now on."""
        self._renewal = status

    def ca_step_stored(self, step: Step) -> None:
        """Counts a step that this replica has stored."""
        self._steps.labels(step, "success").inc()
        if step in _BEGINNINGS:
            self._begun.inc()
        if step in _SWITCHES:
            self._switched.inc()

    def ca_step_failed(self, step: Step) -> None:
        """Counts a step that could not be stored and is retried."""
        self._steps.labels(step, "failure").inc()

    def trust_bundle_refused(self, code: str) -> None:
        """Counts a finding of the preflight for which a trust bundle was rejected; one of `REFUSALS`."""
        self._refusals.labels(code).inc()

    def _renewal_gauges(self) -> Iterable[Metric]:
        """Gauges of the state; none before it is known, as a time of 0 would read "overdue since 1970"."""
        status = self._renewal
        if status is None:
            return
        yield _by(
            "sentry_ca_phase",
            "1 for the phase of CA renewal, else 0.",
            "phase",
            {each: float(each == status.phase) for each in Phase},
        )
        yield GaugeMetricFamily(
            "sentry_ca_generation", "Number of the certificate authority; 1 for the first.", value=status.generation
        )
        if status.next_step is not None and status.next_step_at is not None:
            yield _by(
                "sentry_ca_next_step_timestamp_seconds",
                "Time at which the next step of CA renewal is due.",
                "step",
                {status.next_step: status.next_step_at.timestamp()},
            )
        if status.bridge_end is not None:
            yield GaugeMetricFamily(
                "sentry_ca_bridge_end_timestamp_seconds",
                "Time at which the first sidecars with only former trust anchors stop working.",
                value=status.bridge_end.timestamp(),
            )
        yield _by(
            "sentry_ca_held",
            "1 for the reason why a step of CA renewal that is due is not taken, else 0.",
            "reason",
            {each: float(each == status.held_reason) for each in HoldReason},
        )
        yield from _of_sidecars(status)
        yield from _of_dapr(status)


def _of_sidecars(status: RenewalStatus) -> Iterable[Metric]:
    if status.sidecars is not None:
        yield _by(
            "sentry_ca_sidecars",
            "Running sidecars by the trust anchors that they have.",
            "anchors",
            {each: float(status.sidecars.get(each, 0)) for each in AnchorsHeld},
        )
    if status.injector_stale is not None:
        yield GaugeMetricFamily(
            "sentry_ca_injector_stale",
            "1 if new pods do not get the newest trust anchor from Dapr's injector, else 0.",
            value=status.injector_stale,
        )


def _of_dapr(status: RenewalStatus) -> Iterable[Metric]:
    """The gauges of Dapr's own renewal, which is not released yet."""
    is_pending = status.phase == Phase.DISTRIBUTING
    switch_at = status.next_step_at.timestamp() if is_pending and status.next_step_at else 0.0
    yield GaugeMetricFamily(
        "dapr_sentry_ca_renewal_pending",
        "1 while the next issuer is stored and does not sign yet, else 0.",
        value=is_pending,
    )
    yield GaugeMetricFamily(
        "dapr_sentry_ca_switchover_timestamp",
        "Time at which the next issuer begins to sign; 0 if there is none.",
        value=switch_at,
    )


def _by(name: str, text: str, label: str, values: Mapping[str, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=(label,))
    for value, number in values.items():
        family.add_metric((value,), number)
    return family

"""Every series, label and value that dashboard and alert rules name is exported by a real process.

This needs no Prometheus: its own parser in Python reads the scrape.
"""

import re
from collections.abc import Iterator
from urllib.request import ProxyHandler, build_opener

import pytest
from prometheus_client.parser import text_string_to_metric_families

from sentry_trio.telemetry.metrics import SignFailure
from testkit.monitoring.expressions import (
    OWN_SERIES,
    TARGET_LABELS,
    NotUnderstoodError,
    Selector,
    all_expressions,
    names_in,
)
from testkit.processes import sentry_process
from tests.telemetry.test_metrics_page import TOLD

EXPRESSIONS = all_expressions()
# They appear once they have happened. Their description on the page of metrics is checked against the code.
LATER = {
    "sentry_oidc_requests_total",
    "sentry_ca_bridge_end_timestamp_seconds",
    "sentry_ca_injector_stale",
    "sentry_ca_sidecars",
}

Labels = dict[str, set[str]]


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Labels]:
    """The series of a process that has just come to serve, each with its labels and their values."""
    with sentry_process(tmp_path_factory.mktemp("credentials")) as process:
        port = process.metrics_port()
        process.log_until("Running gRPC server on port ")
        # The line is written a moment before the run counts as begun.
        begun = ("sentry_trust_bundle_info{", "sentry_soonest_expiry", "sentry_ca_next_step_timestamp_seconds{")
        while not all(each in (text := _scrape(port)) for each in begun):
            pass
    found: dict[str, Labels] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = found.setdefault(sample.name, {})
            for label, value in sample.labels.items():
                labels.setdefault(label, set()).add(value)
    return found


def _scrape(port: int) -> str:
    with build_opener(ProxyHandler({})).open(f"http://127.0.0.1:{port}/metrics", timeout=60) as response:
        text: str = response.read().decode()
        return text


def _documented_values(series: str, label: str) -> set[str]:
    """Values on the page of metrics, which is checked against the code: not all occur in every process."""
    return set(TOLD[series].labels.get(label) or ()) if series in TOLD else set()


def complaints(selector: Selector, scraped: dict[str, Labels]) -> Iterator[str]:
    """Faults of a selector."""
    if selector.name in OWN_SERIES:
        labels: Labels = {}
    elif selector.name in LATER:
        labels = {label: set(values or ()) for label, values in TOLD[selector.name].labels.items()}
    elif selector.name in scraped:
        labels = scraped[selector.name]
    else:
        yield f"no series {selector.name}"
        return
    for label, operator, value in selector.matchers:
        if label in TARGET_LABELS:
            continue
        known = _documented_values(selector.name, label) | labels.get(label, set())
        if label not in labels:
            yield f"{selector.name} has no label {label}"
        elif selector.name not in LATER or known:
            values = value.split("|") if operator == "=~" else [value]
            yield from (
                f"no {selector.name} has {label}={each}"
                for each in values
                if not any(re.fullmatch(each, there) for there in known)
            )


@pytest.mark.parametrize("where", EXPRESSIONS)
def test_names_in_expressions_exist(where: str, scraped: dict[str, Labels]) -> None:
    named = names_in(EXPRESSIONS[where])
    assert named.selectors
    assert [text for each in named.selectors for text in complaints(each, scraped)] == []
    labels = {label for each in named.selectors for label in scraped.get(each.name, TARGET_LABELS)}
    labels |= {label for each in named.selectors if each.name in LATER for label in TOLD[each.name].labels}
    assert named.groupings <= labels | TARGET_LABELS


@pytest.mark.parametrize(
    ("expression", "complaint"),
    [
        ("rate(sentry_restart_total[5m])", "no series sentry_restart_total"),
        ('sentry_restarts_total{outcom="success"}', "sentry_restarts_total has no label outcom"),
        ('sentry_restarts_total{outcome=~"success|failed"}', "no sentry_restarts_total has outcome=failed"),
        ('sentry_oidc_requests_total{path="keys"}', "no sentry_oidc_requests_total has path=keys"),
    ],
)
def test_a_typo_is_found(expression: str, complaint: str, scraped: dict[str, Labels]) -> None:
    assert [text for each in names_in(expression).selectors for text in complaints(each, scraped)] == [complaint]


@pytest.mark.parametrize("expression", ["sun(up)", 'up{job!~"a"}', "up ; down"])
def test_unknown_values_are_rejected(expression: str) -> None:
    with pytest.raises(NotUnderstoodError):
        names_in(expression)


@pytest.mark.parametrize("kind", ["alert", "panel"])
def test_no_cause_of_a_failure_is_left_out(kind: str) -> None:
    """Each new cause is the responsibility of the operator or of the callers."""
    series = "dapr_sentry_cert_sign_failure_total"
    selectors = [
        selector
        for where, expression in EXPRESSIONS.items()
        if where.startswith(kind)
        for selector in names_in(expression).selectors
        if selector.name == series
    ]
    looked_at = {cause for each in selectors for _, _, value in each.matchers for cause in value.split("|")}
    assert looked_at - {".*"} == {each.value for each in SignFailure}


def test_names_are_read() -> None:
    named = names_in('sum by (job, reason) (rate(a_total{reason=~"x|y"}[5m])) / b > 0.2 and on (pod) c{d="e",f="g"}')
    assert named.groupings == {"job", "reason", "pod"}
    assert named.selectors == (
        Selector("a_total", (("reason", "=~", "x|y"),)),
        Selector("b", ()),
        Selector("c", (("d", "=", "e"), ("f", "=", "g"))),
    )
    assert named.selectors[2].labels == {"d", "f"}


def test_expressions_are_found() -> None:
    assert len(EXPRESSIONS) > 60
    assert not any("$" in expression for expression in EXPRESSIONS.values())

"""docs/metrics.md lists every series, by name, type, labels and their values, and no other."""

import ast
import enum
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, get_args

import pytest
from grpclib.const import Status
from msgspec.structs import replace

import sentry_trio
from sentry_trio.renewal_status import AnchorsHeld, CertificateExpiry, CertificateRole, HoldReason, RenewalStatus, Step
from sentry_trio.telemetry.metrics import (
    Metrics,
    OidcPath,
    RestartFailure,
    ServerCertificateFailure,
    SignFailure,
    Stage,
)
from sentry_trio.telemetry.renewal_metrics import REFUSALS

PAGE = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()
# Values that come from outside, or from a standard.
OPEN = {"version", "digest", "subject", "fingerprint", "code", "generation"}
CLOSED = {"sentry_ca_preflight_refusals_total"}  # has values of its own for one of these labels
OPEN |= {"implementation", "major", "minor", "patchlevel"}

RENEWAL = RenewalStatus(
    phase="steady",
    generation=1,
    next_step_at=datetime(2026, 1, 1, tzinfo=UTC),
    bridge_end=datetime(2026, 1, 1, tzinfo=UTC),
    sidecars={},
    injector_stale=False,
)


@dataclass(frozen=True)
class Series:
    """A family: its type, and the values of each label; None for one whose values are not bounded here."""

    kind: str
    labels: dict[str, frozenset[str] | None]


def _tables(section: str) -> list[list[str]]:
    """Rows of the tables in a section, without their heads."""
    lines = [line for line in section.splitlines() if line.startswith("|") and not set(line) <= set("|-")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def _section(anchor: str) -> str:
    for section in PAGE.split("\n## ")[1:]:
        title = section.partition("\n")[0]
        if title.lower().replace(" ", "-") == anchor:
            return section
    raise AssertionError(f"the page has no section {anchor}")


def _ticked(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


def _labels(cell: str) -> dict[str, frozenset[str] | None]:
    found: dict[str, frozenset[str] | None] = {}
    for part in filter(None, cell.split(";")):
        names, _, values = part.partition(":")
        linked = re.search(r"\(#([\w-]+)\)", values)
        reported = [_ticked(row[0])[0] for row in _tables(_section(linked[1]))[1:]] if linked else _ticked(values)
        found.update(dict.fromkeys(_ticked(names), frozenset(reported) or None))
    return found


def reported() -> dict[str, Series]:
    rows = [row for row in _tables(PAGE) if len(row) == 4 and row[0] != "metric"]
    names = [_ticked(row[0])[0] for row in rows]
    assert len(set(names)) == len(names)
    return {name: Series(row[1], _labels(row[2])) for name, row in zip(names, rows, strict=True)}


def spoken() -> Metrics:
    """Metrics with every possible label value."""
    metrics = Metrics()
    metrics.watch_certificates(
        CertificateExpiry(role, "O=x", role.value, datetime(2026, 1, 1, tzinfo=UTC)) for role in CertificateRole
    )
    metrics.run_started(1)
    metrics.bundle_in_use("0")
    for cause in RestartFailure:
        metrics.restart_failed(cause)
    for reason in SignFailure:
        metrics.sign_failed(reason, Status.UNKNOWN)
    for path in OidcPath:
        metrics.oidc_answered(path, 200)
    return metrics


def existing() -> dict[str, Series]:
    """Everything that can be there; a renewal has one next step at a time."""
    metrics = spoken()
    found: dict[str, Series] = {}
    for step in set(Step) - {Step.ROLLBACK}:
        metrics.ca_renewal(replace(RENEWAL, next_step=step))
        for name, series in _collected(metrics).items():
            known = found.setdefault(name, series)
            for label, values in series.labels.items():
                if values is not None:
                    known.labels[label] = values | (known.labels[label] or frozenset())
    return found


def _collected(metrics: Metrics) -> dict[str, Series]:
    found = {}
    for family in metrics._registry.collect():
        labels: dict[str, Any] = {}
        for sample in family.samples:
            for label, value in sample.labels.items():
                if label != "le":
                    labels.setdefault(label, set()).add(value)
        name = f"{family.name}_total" if family.type == "counter" else family.name
        found[name] = Series(
            family.type,
            {
                label: None if label in OPEN and name not in CLOSED else frozenset(values)
                for label, values in labels.items()
            },
        )
    return found


TOLD, EXISTING = reported(), existing()


def test_every_series_is_documented_and_every_documented_one_exists() -> None:
    assert TOLD.keys() == EXISTING.keys()
    assert len(TOLD) > 30


@pytest.mark.parametrize("name", EXISTING)
def test_type_labels_and_values_are_as_documented(name: str) -> None:
    assert TOLD[name] == EXISTING[name]


@pytest.mark.parametrize(
    ("name", "label", "values"),
    [
        ("dapr_sentry_cert_sign_failure_total", "reason", SignFailure),
        ("sentry_restart_failures_total", "cause", RestartFailure),
        ("sentry_oidc_requests_total", "path", OidcPath),
        ("sentry_certificate_expiry_seconds", "role", CertificateRole),
        ("sentry_ca_held", "reason", HoldReason),
        ("sentry_ca_sidecars", "anchors", AnchorsHeld),
    ],
)
def test_values_are_those_of_the_code(name: str, label: str, values: type[enum.StrEnum]) -> None:
    """Read from the enums, too: the list above could lack one."""
    assert TOLD[name].labels[label] == frozenset(each.value for each in values)


def test_stages_are_those_of_the_code() -> None:
    assert TOLD["sentry_sign_stage_duration_seconds"].labels["stage"] == frozenset(get_args(Stage))


def test_findings_of_the_preflight_are_those_of_the_code() -> None:
    assert TOLD["sentry_ca_preflight_refusals_total"].labels["code"] == frozenset(REFUSALS)


def test_causes_name_the_responsible_party() -> None:
    rows = _tables(_section("causes-of-a-signing-request-that-failed"))[1:]
    assert {row[1] for row in rows} == {"caller", "operator", "either"}


PACKAGE = Path(sentry_trio.__file__).parent
# The roles of certificates are texts of the trust bundle's report; other labels are literals, which mypy checks.
LABELS = (OidcPath, RestartFailure, ServerCertificateFailure, SignFailure)


@cache
def referenced() -> set[tuple[str, str]]:
    """Enum members that production code names outside the series, as pairs of class and member."""
    modules = [path for path in PACKAGE.rglob("*.py") if PACKAGE / "telemetry" not in path.parents]
    return {
        (node.value.id, node.attr)
        for path in modules
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    }


@pytest.mark.uncovered
@pytest.mark.parametrize("values", LABELS)
def test_every_value_of_a_label_is_set_somewhere(values: type[enum.Enum]) -> None:
    """`spoken` sets each value itself, and so cannot notice one that production code never sets."""
    named = referenced()
    assert [each.name for each in values if (values.__name__, each.name) not in named] == []

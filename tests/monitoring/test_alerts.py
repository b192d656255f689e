"""The alert rules, by promtool: every one fires when it should, and none when it should not."""

import json
import re
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from testkit.monitoring.binaries import Binaries

from .cases import CASES, Case

ROOT = Path(__file__).parents[2]
ALERTS = ROOT / "helm" / "sentry-trio" / "files" / "alerts.yaml"
RUNBOOK = ROOT / "docs" / "alerts.md"
RULES: list[dict[str, Any]] = [
    rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]
]
NAMES = [rule["alert"] for rule in RULES]


def promtool(built: Binaries, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([built.promtool, *arguments], capture_output=True, text=True, check=False)


def test_rules_are_rules(built: Binaries) -> None:
    checked = promtool(built, "check", "rules", "--lint=all", "--lint-fatal", ALERTS)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert f"{len(RULES)} rules found" in checked.stdout


def written(cases: tuple[Case, ...], path: Path, *, rules: Path = ALERTS) -> Path:
    """The cases as promtool reads them.

    Those of one moment are beside each other, each in a cluster of its own, which all rules keep apart: promtool takes
    hundreds of milliseconds for each test, and evaluates to its last moment. JSON is YAML, and much quicker to write.
    """
    tests = [
        *(
            promtool_test({each.name: each for each in cases if each.at == at and not each.alone})
            for at in sorted({each.at for each in cases})
        ),
        *(promtool_test({"": each}) for each in cases if each.alone),
    ]
    path.write_text(json.dumps({"rule_files": [str(rules)], "evaluation_interval": "1m", "tests": tests}))
    return path


def promtool_test(cases: Mapping[str, Case]) -> dict[str, Any]:
    """Cases by their clusters; what fires is asked of the series that Prometheus itself makes of alerts.

    The alerts themselves are expected to be none, so that promtool reports each as people read it.
    """
    return {
        "interval": "1m",
        "input_series": [
            {"series": each["series"].replace('cluster="one"', f'cluster="{cluster}"'), "values": each["values"]}
            for cluster, case in cases.items()
            for each in case.input_series
        ],
        "promql_expr_test": [
            {
                "expr": f'group by (alertname) (ALERTS{{alertstate="firing",cluster="{cluster}"}})',
                "eval_time": case.at,
                "exp_samples": [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in sorted(case.fires)],
            }
            for cluster, case in cases.items()
        ],
        "alert_rule_test": [{"alertname": name, "eval_time": at} for name, at in sorted(firing(cases.values()))],
    }


def firing(cases: Iterable[Case]) -> set[tuple[str, str]]:
    """The alerts that fire, each with the moment."""
    return {(name, each.at) for each in cases for name in each.fires}


@pytest.fixture(scope="module")
def reported(built: Binaries, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Report of promtool about all cases."""
    tested = promtool(built, "test", "rules", written(CASES, tmp_path_factory.mktemp("alerts") / "cases.yaml"))
    return tested.stdout + tested.stderr


def test_each_case_fires_the_expected_alerts(reported: str) -> None:
    assert "expr:" not in reported
    expected = [firing(each for each in CASES if each.alone is alone) for alone in (False, True)]
    assert reported.count("exp:[]") == sum(map(len, expected))


def test_a_rule_that_is_wrong_would_be_noticed(built: Binaries, tmp_path: Path) -> None:
    rules = tmp_path / "alerts.yaml"
    rules.write_text(ALERTS.read_text().replace("sentry_degraded == 1", "sentry_degraded == 2"))
    cases = tuple(each for each in CASES if "SentryDegraded" in each.fires)
    tested = promtool(built, "test", "rules", written(cases, tmp_path / "cases.yaml", rules=rules))
    assert tested.returncode == 1
    assert "expr:" in tested.stdout + tested.stderr
    assert 'alertname="SentryDegraded"' in tested.stdout + tested.stderr


def test_every_alert_reads_well(reported: str) -> None:
    summaries = dict(re.findall(r'alertname="(\w+)".*?summary="((?:[^"\\]|\\.)*)"', reported, flags=re.DOTALL))
    assert summaries.keys() == set(NAMES)
    for fault in ("error expanding", "<no value>", "{{", "NaN"):
        assert fault not in reported
    assert summaries["SentryIssuerExpiring"] == "The issuer of Sentry in dapr-system expires in 28d 22h 40m 0s"
    assert summaries["SentryOverloaded"] == "Sentry in dapr-system rejects 100% of calls because it is overloaded"
    assert (
        summaries["SentryReplicasDisagree"] == "Replicas of Sentry in dapr-system sign with 2 different trust bundles"
    )


@pytest.mark.parametrize("name", NAMES)
def test_every_alert_is_seen_to_fire(name: str) -> None:
    """And not to fire, in all the other cases."""
    firing = [each for each in CASES if name in each.fires]
    assert 0 < len(firing) < len(CASES) / 2


def test_cases_have_different_names_and_name_existing_alerts() -> None:
    names = [each.name for each in CASES]
    assert len(set(names)) == len(names)
    assert {name for each in CASES for name in each.fires} == set(NAMES)
    assert len(set(NAMES)) == len(NAMES)


@pytest.mark.parametrize("rule", RULES, ids=NAMES)
def test_every_alert_has_summary_description_and_runbook(rule: dict[str, Any]) -> None:
    assert re.fullmatch("Sentry[A-Za-z]+", rule["alert"])
    assert rule["labels"] in ({"severity": "warning"}, {"severity": "critical"})
    annotations = rule["annotations"]
    assert set(annotations) == {"summary", "description", "runbook_url"}
    assert len(annotations["summary"]) < 120
    assert annotations["description"].endswith(".")
    assert annotations["runbook_url"] == f"docs/alerts.md#{rule['alert'].lower()}"


@pytest.mark.parametrize("name", NAMES)
def test_the_runbook_has_a_section_for_it(name: str) -> None:
    sections = dict(re.findall(r"^### (\w+)\n(.*?)(?=^##|\Z)", RUNBOOK.read_text(), flags=re.MULTILINE | re.DOTALL))
    for part in ("**Meaning.**", "**Impact.**", "**Cause.**", "**Fix.**"):
        assert part in sections[name]


def test_the_runbook_has_no_unknown_alert() -> None:
    assert re.findall(r"^### (\w+)$", RUNBOOK.read_text(), flags=re.MULTILINE) == NAMES

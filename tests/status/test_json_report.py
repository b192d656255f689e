"""The JSON document: its schema, which docs/ publishes, and its content."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from sentry_trio.status.assess import Cause, assess
from sentry_trio.status.json_report import json_report
from sentry_trio.status.report import NotShown, Report
from testkit.ca.making import HOUR, NOW

from .making import ANCHOR, figures, published, renewal, replica, report, stored, unreachable

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "status.schema.json").read_text())
FULL = report(
    replica(
        "a",
        counts=figures(
            signing_requests=9,
            certificates=8,
            rejected={("invalid_csr", "PermissionDenied"): 1},
            calls={"OK": 8, "PermissionDenied": 1},
            restarts={"failure": 1, "success": 1},
            restart_failures={"bundle": 1},
            calls_shed={"in_vain": 2},
        ),
        last_restart="failed",
        last_restart_at=NOW - HOUR,
        degraded="no such file",
        renewal=renewal(),
    ),
    unreachable("b"),
    stored=stored(),
    published=published(),
)


def documented(given: Report) -> Any:
    """Through JSON, as a script gets it."""
    found = json.loads(json.dumps(json_report(given, assess(given))))
    jsonschema.Draft202012Validator(SCHEMA, format_checker=jsonschema.FormatChecker()).validate(found)
    return found


@pytest.mark.parametrize(
    "given",
    [
        FULL,
        report(),
        report(unreachable(), stored=NotShown("no"), published=NotShown("no"), not_found=NotShown("no")),
        report(replica(bundle=None, run=0, certificates=(), version=None, mode=None, started_at=None, loaded_at=None)),
        report(stored=stored(fingerprint=None, certificates=(), problem="bad"), published=published(problem="bad")),
    ],
)
def test_every_report_keeps_to_the_schema(given: Report) -> None:
    documented(given)


def test_the_schema_lets_nothing_else_through() -> None:
    found = documented(FULL)
    for part in (found, found["replicas"][0], found["replicas"][0]["health"], found["store"]):
        part["more"] = 1
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(found, SCHEMA)
        del part["more"]


def test_the_schema_knows_every_cause() -> None:
    assert SCHEMA["$defs"]["cause"]["enum"] == [cause.value for cause in Cause]


def test_the_document_contains_the_whole_report() -> None:
    found = documented(FULL)
    assert (found["schema"], found["time"], found["verdict"]) == (1, "2026-11-22T19:41:15Z", "attention")
    assert [finding["cause"] for finding in found["findings"]] == ["degraded", "unreachable"]
    assert found["agreement"] == {"replicas": "unknown", "store": "agree", "config_map": "agree"}
    first, second = found["replicas"]
    assert second == {
        "name": "b",
        "health": None,
        "health_not_shown": "cannot reach b: Connection refused",
        "metrics": None,
        "metrics_not_shown": "cannot reach b: Connection refused",
    }
    anchor = first["health"]["certificates"][0]
    assert anchor["fingerprint"] == ANCHOR
    assert (anchor["not_after"], anchor["seconds_left"]) == ("2027-11-22T19:41:15Z", 365 * 24 * 3600.0)
    assert first["health"]["renewal"] == {
        "phase": "retiring",
        "generation": 2,
        "next_step": "publish",
        "next_step_at": "2027-05-23T19:41:15Z",
        "bridge_end": "2027-05-24T19:41:15Z",
        "held": None,
        "held_reason": None,
        "sidecars": {"current": 1200, "former": 34, "none": 0, "file": 2},
        "injector_stale": False,
        "has_root_key": False,
    }
    assert first["health"]["last_restart_at"] == "2026-11-22T18:41:15Z"
    assert first["metrics"]["rejected"] == [{"cause": "invalid_csr", "status": "PermissionDenied", "count": 1}]
    assert first["metrics"]["calls"] == {"OK": 8, "PermissionDenied": 1}
    assert found["store"]["place"] == ".sentry"
    assert found["config_map"]["anchors"] == [ANCHOR]


def test_missing_values_have_a_reason() -> None:
    found = documented(report(stored=NotShown("no right", asked=False)))
    assert (found["store"], found["store_not_shown"]) == (None, "no right")
    assert (found["config_map"], found["config_map_not_shown"]) == (None, None)

"""The dashboard, by itself and on a real Prometheus that scrapes a real process."""

import math
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sentry_trio.client import Authority, RequestFailedError, Workload, obtain
from sentry_trio.proto.sentry_pb2 import SignCertificateRequest
from testkit.monitoring.binaries import Binaries
from testkit.monitoring.expressions import DASHBOARD, FILES, PANELS, all_expressions
from testkit.monitoring.server import QueryError, Server, prometheus
from testkit.subject import SPIFFE_ID, Subject, subject

UNITS = {"short", "s", "percentunit", "reqps", "cps", "bytes"}
WINDOW = "15s"
EXPRESSIONS = all_expressions(window=WINDOW)
# What is empty where all is well, or off.
EMPTY = {
    "panel Server-side failures, A",
    "panel Failed restarts by cause, A",
    "panel OIDC responses, A",
}


# --- by itself


def test_variables() -> None:
    variables = {each["name"]: each for each in DASHBOARD["templating"]["list"]}
    assert list(variables) == ["datasource", "namespace", "pod"]
    assert variables["datasource"]["type"] == "datasource"
    for name in ("namespace", "pod"):
        assert variables[name]["query"]["query"].startswith("label_values(sentry_build_info")
        assert variables[name]["allValue"] == ".*"


def test_panels_cover_the_grid_and_nothing_twice() -> None:
    taken = set()
    for panel in DASHBOARD["panels"]:
        grid = panel["gridPos"]
        for x in range(grid["x"], grid["x"] + grid["w"]):
            for y in range(grid["y"], grid["y"] + grid["h"]):
                assert x < 24
                assert (x, y) not in taken, panel["title"]
                taken.add((x, y))
    assert taken == {(x, y) for x in range(24) for y in range(max(y for _, y in taken) + 1)}
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    titles = [panel["title"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    assert len(set(titles)) == len(titles)


def test_rows() -> None:
    rows = [panel["title"] for panel in DASHBOARD["panels"] if panel["type"] == "row"]
    assert rows == ["Health and expiry", "Calls and errors", "Latency", "Capacity", "Restarts", "Process"]


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_every_panel_says_what_it_shows(panel: dict[str, Any]) -> None:
    assert panel["description"].endswith(".")
    defaults = panel["fieldConfig"]["defaults"]
    assert defaults["unit"] in UNITS
    assert defaults["thresholds"]["steps"][0]["value"] is None
    bounds = [step["value"] for step in defaults["thresholds"]["steps"][1:]]
    assert bounds == sorted(bounds)
    assert panel["targets"]
    for target in panel["targets"]:
        assert target["legendFormat"]
        assert target["datasource"]["uid"] == "${datasource}"
        assert 'namespace=~"$namespace",pod=~"$pod"' in target["expr"]
        assert "[" not in target["expr"] or "[$__rate_interval]" in target["expr"]


def test_every_legend_is_of_a_label_that_the_query_keeps() -> None:
    """Else a legend would be `{{reason}}` itself."""
    for panel in PANELS:
        for target in panel["targets"]:
            for label in target["legendFormat"].split("{{")[1:]:
                name = label.partition("}}")[0]
                kept = f"by ({name}" in target["expr"] or f", {name}" in target["expr"] or "by (" not in target["expr"]
                assert kept, (panel["title"], name)


# --- on Prometheus


@dataclass(frozen=True)
class Scene:
    """A process that was called and refused callers, and the Prometheus that has seen it."""

    server: Server
    subject: Subject


@pytest.fixture(scope="module")
def scene(built: Binaries, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    home, credentials = tmp_path_factory.mktemp("prometheus"), tmp_path_factory.mktemp("credentials")
    with ExitStack() as stack:
        target = stack.enter_context(subject(credentials))
        labels = {"namespace": "dapr-system", "pod": "dapr-sentry-1", "cluster": "one"}
        server = stack.enter_context(
            prometheus(
                built.prometheus,
                home,
                {target.metrics_port: labels},
                interval="500ms",
                rules=FILES / "alerts.yaml",
            )
        )
        _until(server, "count_over_time(sentry_sign_call_duration_seconds_count[1m]) > 1", credentials, target)
        _call(target, credentials)
        _until(server, "sum(rate(dapr_sentry_cert_sign_success_total[15s])) > 0", credentials, target)
        _until(server, "sum(rate(dapr_sentry_cert_sign_failure_total[15s])) > 0", credentials, target)
        yield Scene(server, target)


def _until(server: Server, expression: str, credentials: Path, target: Subject) -> None:
    """Asks until there is an answer, and makes calls meanwhile."""
    deadline = time.monotonic() + 60
    while not server.query(expression):
        assert time.monotonic() < deadline, f"never: {expression}"
        _call(target, credentials)


def _call(target: Subject, credentials: Path) -> None:
    """Asks for a certificate, and for one that is refused."""
    authority = Authority(
        host="127.0.0.1",
        port=target.grpc_port,
        trust_anchors=(credentials / "ca.crt").read_bytes(),
        spiffe_id=SPIFFE_ID,
    )
    obtain(authority, Workload(app_id="cart", namespace="shop"))
    with pytest.raises(RequestFailedError):
        obtain(authority, Workload(app_id="cart", namespace="shop", validator=SignCertificateRequest.KUBERNETES))


@pytest.mark.parametrize("where", [where for where in EXPRESSIONS if where.startswith("panel")])
def test_every_panel_has_data(where: str, scene: Scene) -> None:
    samples = scene.server.query(EXPRESSIONS[where])
    if where in EMPTY:
        assert samples == []
    else:
        assert samples
        assert not any(math.isnan(float(sample["value"][1])) for sample in samples)


def test_every_alert_is_evaluated_and_none_fires(scene: Scene) -> None:
    rules = scene.server.rules()
    assert len(rules) == sum(where.startswith("alert") for where in EXPRESSIONS)
    for rule in rules:
        assert rule["health"] in {"ok", "unknown"}, rule
        assert not [alert for alert in rule["alerts"] if alert["state"] == "firing"]


@pytest.mark.parametrize("where", [where for where in EXPRESSIONS if where.startswith("alert")])
def test_every_alert_is_understood_and_silent(where: str, scene: Scene) -> None:
    # A fifth of all callers is refused here, on purpose, and for a moment.
    samples = scene.server.query(EXPRESSIONS[where])
    assert samples == [] or where == "alert SentryCallersRefused"


@pytest.mark.parametrize("expression", ["sum(up", "sun(up)", "rate(up)", "up{job=}"])
def test_what_is_no_expression_is_refused(expression: str, scene: Scene) -> None:
    with pytest.raises(QueryError):
        scene.server.query(expression)

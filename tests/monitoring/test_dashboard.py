"""The dashboard, by itself and on a real Prometheus that scrapes a real process."""

import json
import math
import subprocess
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
from testkit.monitoring.expressions import ANNOTATIONS, DASHBOARD, FILES, PANELS, VARIABLES, all_expressions
from testkit.monitoring.server import QueryError, Server, prometheus
from testkit.subject import SPIFFE_ID, Subject, subject

from .mesh import ELSEWHERE, REPLICAS, named

UNITS = {"short", "s", "percentunit", "reqps", "cps", "bytes"}
WINDOW = "15s"
EXPRESSIONS = all_expressions(window=WINDOW)
# What is empty where all is well, or off.
EMPTY = {
    "panel Server-side failures, A",
    "panel Failed restarts by cause, A",
    "panel OIDC responses, A",
    "panel Steps of CA renewal, A",
    "panel Steps of CA renewal, B",
    "panel Steps of CA renewal, C",
    # A mesh that was never renewed has no bridge, and only the cluster knows sidecars.
    "panel Time to the next step and to the end of the bridge, B",
    "panel Sidecars by trust anchors, A",
    "annotation Failed restarts",
    "annotation Trust bundle changes",
}
# What is empty in a mesh without calls, too.
IDLE = EMPTY | {
    "panel Success rate of signing requests, A",
    "panel p99 latency of signing calls, A",
    "panel Rejected requests, A",
    "panel gRPC calls by status, A",
    "panel Latency of signing calls, A",
    "panel Latency of signing calls, B",
    "panel Latency of signing calls, C",
    "panel p95 duration by stage, A",
    "panel Average duration by stage, A",
}
SELECTED = ",".join(f'{name}=~"${name}"' for name in VARIABLES)


# --- by itself


def test_variables() -> None:
    variables = {each["name"]: each for each in DASHBOARD["templating"]["list"]}
    assert list(variables) == ["datasource", *VARIABLES]
    assert variables["datasource"]["type"] == "datasource"
    for number, name in enumerate(VARIABLES):
        query = variables[name]["query"]["query"]
        assert query == variables[name]["definition"]
        assert query.startswith("label_values(sentry_build_info")
        assert query.endswith(f", {name})")
        # Each offers what the choices before it leave.
        assert [earlier for earlier in VARIABLES if f"${earlier}" in query] == list(VARIABLES[:number])
        assert variables[name]["allValue"] == ".*"


def test_annotations() -> None:
    assert [each["name"] for each in ANNOTATIONS] == ["Restarts", "Failed restarts", "Trust bundle changes"]
    for each in ANNOTATIONS:
        assert each["enable"]
        assert each["expr"].count(SELECTED) == each["expr"].count("{")
        assert each["datasource"]["uid"] == "${datasource}"


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
    assert rows == ["Health and expiry", "CA renewal", "Calls and errors", "Latency", "Capacity", "Restarts", "Process"]


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_every_panel_has_a_description_a_unit_and_legends(panel: dict[str, Any]) -> None:
    assert panel["description"].endswith(".")
    defaults = panel["fieldConfig"]["defaults"]
    assert defaults["unit"] in UNITS
    assert defaults["noValue"]
    assert defaults["thresholds"]["steps"][0]["value"] is None
    bounds = [step["value"] for step in defaults["thresholds"]["steps"][1:]]
    assert bounds == sorted(bounds)
    assert panel["targets"]
    for target in panel["targets"]:
        assert target["legendFormat"]
        assert target["datasource"]["uid"] == "${datasource}"
        assert target["expr"].count(SELECTED) == target["expr"].count("{")
        assert "[" not in target["expr"] or "[$__rate_interval]" in target["expr"]


def test_every_legend_is_of_a_label_that_the_query_keeps() -> None:
    """Else a legend would be `{{reason}}` itself."""
    for panel in PANELS:
        for target in panel["targets"]:
            for label in target["legendFormat"].split("{{")[1:]:
                name = label.partition("}}")[0]
                kept = f"by ({name}" in target["expr"] or f", {name}" in target["expr"] or "by (" not in target["expr"]
                assert kept, (panel["title"], name)


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_nothing_is_divided_by_a_rate_that_may_be_zero(panel: dict[str, Any]) -> None:
    for target in panel["targets"]:
        _, slash, divisor = target["expr"].partition(" / ")
        assert not slash or "rate(" not in divisor or "> 0)" in divisor


# --- on Prometheus


@dataclass(frozen=True)
class Scene:
    """A process that was called and refused callers, another mesh that was not called, and their Prometheus."""

    server: Server
    subject: Subject


@pytest.fixture(scope="module")
def scene(built: Binaries, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    home, credentials = tmp_path_factory.mktemp("prometheus"), tmp_path_factory.mktemp("credentials")
    with ExitStack() as stack:
        target = stack.enter_context(subject(credentials))
        idle = stack.enter_context(subject(tmp_path_factory.mktemp("idle")))
        labels = {"namespace": "dapr-system", "pod": "dapr-sentry-1", "cluster": "one"}
        server = stack.enter_context(
            prometheus(
                built.prometheus,
                home,
                {target.metrics_port: labels, idle.metrics_port: labels | {"cluster": "two"}},
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


SHOWN = [where for where in EXPRESSIONS if not where.startswith("alert")]


@pytest.mark.parametrize("where", SHOWN)
def test_every_panel_has_data(where: str, scene: Scene) -> None:
    samples = scene.server.query(EXPRESSIONS[where])
    assert bool(samples) == (where not in EMPTY)
    assert not any(math.isnan(float(sample["value"][1])) for sample in samples)


@pytest.mark.parametrize("where", SHOWN)
def test_a_mesh_without_calls_has_no_quotient_of_zeros(where: str, scene: Scene) -> None:
    samples = scene.server.query(all_expressions(window=WINDOW, cluster="two")[where])
    assert bool(samples) == (where not in IDLE)
    assert not any(math.isnan(float(sample["value"][1])) for sample in samples)


def _shown(scene: Scene, panel: str, **chosen: str) -> list[float]:
    samples = scene.server.query(all_expressions(window=WINDOW, **chosen)[f"panel {panel}, A"])
    return sorted(float(sample["value"][1]) for sample in samples)


def test_two_healthy_meshes_do_not_look_like_a_broken_one(scene: Scene) -> None:
    assert _shown(scene, "Replicas") == [2]
    assert _shown(scene, "Trust bundles in use") == [1]
    assert _shown(scene, "Replicas by trust bundle") == [1, 1]
    assert _shown(scene, "Degraded replicas") == [0]


def test_the_variables_choose_a_mesh(scene: Scene) -> None:
    chosen = {"cluster": "one", "namespace": "dapr-system", "job": "dapr-sentry", "pod": "dapr-sentry-1"}
    for name in chosen:
        assert _shown(scene, "Replicas", **chosen) == [1]
        assert _shown(scene, "Replicas", **chosen | {name: "other"}) == []


def test_a_restart_is_annotated_at_its_time(scene: Scene) -> None:
    samples = scene.server.query(EXPRESSIONS["annotation Restarts"])
    assert {sample["metric"]["cluster"] for sample in samples} == {"one", "two"}
    for sample in samples:
        assert 0 <= time.time() - float(sample["value"][1]) / 1000 < 3600


def test_a_new_trust_bundle_is_annotated(built: Binaries, tmp_path: Path) -> None:
    """In the mesh that changed, once; neither when a replica follows, nor when the other mesh is seen first."""
    changes = EXPRESSIONS["annotation Trust bundle changes"]
    mesh = {"cluster": "one", "namespace": "dapr-system", "job": "dapr-sentry"}
    labels = ",".join(f'{name}="{value}"' for name, value in sorted((mesh | {"digest": "cc"}).items()))
    series = {
        named('sentry_trust_bundle_info{digest="aa"}', REPLICAS[0]): "1+0x10 stale",
        named('sentry_trust_bundle_info{digest="cc"}', REPLICAS[0]): "_x11 1+0x20",
        named('sentry_trust_bundle_info{digest="aa"}', REPLICAS[1]): "1+0x15 stale",
        named('sentry_trust_bundle_info{digest="cc"}', REPLICAS[1]): "_x16 1+0x20",
        named('sentry_trust_bundle_info{digest="bb"}', ELSEWHERE): "_x5 1+0x30",
    }
    expected = {"5m": [], "6m": [], "10m": [], "11m": [{"labels": f"{{{labels}}}", "value": 1}], "14m": [], "16m": []}
    test = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {"expr": changes, "eval_time": at, "exp_samples": samples} for at, samples in expected.items()
        ],
    }
    path = tmp_path / "changes.yaml"
    path.write_text(json.dumps({"evaluation_interval": "1m", "tests": [test]}))
    tested = subprocess.run([built.promtool, "test", "rules", path], capture_output=True, text=True, check=False)
    assert tested.returncode == 0, tested.stdout + tested.stderr


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
def test_invalid_expressions_are_rejected(expression: str, scene: Scene) -> None:
    with pytest.raises(QueryError):
        scene.server.query(expression)

"""One audit log for all runs: it has the decisions of a draining run and of its successor."""

import json
from pathlib import Path
from typing import Any

import trio

from sentry_trio.grpc_metrics import ServerObserver
from sentry_trio.telemetry.metrics import Metrics
from testkit.audit_chains import verified
from testkit.authorities import Served, serving
from tests.test_run import QUICK, SLOW, Caller, Hesitant, hesitant

__all__ = ["hesitant"]  # a fixture


def caller(served: Served) -> Caller:
    return Caller(served.application.grpc_port, (served.credentials / "ca.crt").read_bytes())


def decisions(path: Path) -> list[dict[str, Any]]:
    data = path.read_bytes()
    assert verified(data).is_intact
    found = [json.loads(line) for line in data.splitlines()]
    return [line for line in found if line["event"] == "decision"]


async def test_a_run_that_drains_and_its_successor_write_one_chain(tmp_path: Path, hesitant: Hesitant) -> None:
    path = tmp_path / "audit.log"
    async with (
        serving(tmp_path, "--audit-log", str(path), "--audit-required") as served,
        trio.open_nursery() as callers,
    ):
        slow, quick = caller(served), caller(served)
        callers.start_soon(slow.ask, SLOW)
        await hesitant.arrived.wait()
        await served.application.authority.restart()
        callers.start_soon(quick.ask, QUICK)
        await quick.answered.wait()
        hesitant.release.set()
        await slow.answered.wait()
        callers.cancel_scope.cancel()
    assert [(line["asked"]["app_id"], line["outcome"]) for line in decisions(path)] == [
        (QUICK, "issued"),
        (SLOW, "issued"),
    ]


async def test_disconnected_callers_are_recorded_as_cancelled(tmp_path: Path, hesitant: Hesitant) -> None:
    path = tmp_path / "audit.log"
    async with serving(tmp_path, "--audit-log", str(path)) as served:
        async with trio.open_nursery() as callers:
            callers.start_soon(caller(served).ask, SLOW)
            await hesitant.arrived.wait()
            callers.cancel_scope.cancel()
        quick = caller(served)
        async with trio.open_nursery() as callers:
            callers.start_soon(quick.ask, QUICK)
            await quick.answered.wait()
            callers.cancel_scope.cancel()
    found = {line["asked"]["app_id"]: (line["outcome"], line["cause"]) for line in decisions(path)}
    assert found == {SLOW: ("not_issued", "cancelled"), QUICK: ("issued", None)}


async def test_calls_that_are_shed_are_recorded_and_counted() -> None:
    shed: list[str] = []
    metrics = Metrics()
    ServerObserver(metrics, shed.append).call_shed("in_vain", ("192.0.2.1", 4000))
    assert shed == ["in_vain"]
    assert b'sentry_grpc_calls_shed_total{reason="in_vain"} 1.0' in metrics.exposition()[0]

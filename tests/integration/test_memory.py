"""Memory stays flat, however many calls are answered; `make soak` shows the same over a million calls."""

import time
from pathlib import Path

import pytest

from testkit.clients import grpc_go
from testkit.credentials import ANCHORS, KubeletVolume, two_issuers
from testkit.subject import SPIFFE_ID, Subject, subject

WARM, MORE = 4_000, 8_000  # calls
GROWTH = 4 * 1024  # KiB: half a KiB for each call, less than anything that a call could leave behind


def _rss(target: Subject) -> int:
    status = Path("/proc", str(target.process.popen.pid), "status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))


def _wait_for(target: Subject, calls: int) -> None:
    while target.metric("dapr_sentry_cert_sign_success_total ") < calls:
        time.sleep(0.05)  # between two questions


@pytest.mark.soak
def test_calls_leave_nothing_behind(tmp_path: Path, load_client: Path) -> None:
    KubeletVolume(tmp_path, two_issuers()[0])
    with subject(tmp_path) as target:
        flags: dict[str, int | str] = {"kept": 4, "new": 4, "pace": "0s"}
        with grpc_go.load(load_client, target.grpc_port, tmp_path / ANCHORS, SPIFFE_ID, **flags) as load:
            _wait_for(target, WARM)
            before = _rss(target)
            _wait_for(target, WARM + MORE)
            after = _rss(target)
            report = load.stop()
        target.stop()
    assert report.failures == 0
    assert min(report.kept.calls, report.new.calls) > 1000
    assert after - before < GROWTH

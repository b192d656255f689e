"""A hot restart loses no call: real processes, real files, and a foreign client that gives up at the first failure."""

import signal
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from sentry_trio.ca.bundle import StoredBundle
from testkit.clients import grpc_go
from testkit.credentials import ANCHORS, KubeletVolume, PlainFiles, Put, issuer_digest, two_issuers
from testkit.processes import FAILED
from testkit.subject import SPIFFE_ID, Subject, subject

# A swap takes 0.4 s, most of it the watcher's quiet time, and twice that on two busy cores. `make soak` restarts a
# thousand times.
every_number = pytest.mark.parametrize("swaps", [4, pytest.param(100, marks=pytest.mark.soak)])
PACE = "50ms"
# On a busy machine the handshakes that follow a swap have delayed calls by 13 s. A lost call fails at once.
TIMEOUT = "60s"


@contextmanager
def calling(
    binary: Path, target: Subject, anchors: Path, *, kept: int = 16, new: int = 16, **flags: int | str
) -> Iterator[grpc_go.Load]:
    """Keeps callers busy on the subject for the block, each of which has had its first answer."""
    counts = {"kept": kept, "new": new, "pace": PACE, "timeout": TIMEOUT, **flags}
    with grpc_go.load(binary, target.grpc_port, anchors, SPIFFE_ID, **counts) as load:
        load.wait_ready()
        yield load


def swap(target: Subject, put: Put, bundles: tuple[StoredBundle, StoredBundle], times: int) -> None:
    """Puts the other bundle, again and again; each swap is a run of its own before the next one begins."""
    first = target.state()["run"] + 1
    for number in range(first, first + times):
        bundle = bundles[(number - 1) % 2]
        put(bundle)
        target.wait_for_run(number, bundle)


def assert_no_loss(report: grpc_go.Report, *, at_least: int, issuers: tuple[StoredBundle, ...]) -> None:
    assert report.errors == []
    assert report.failures == 0
    assert report.leaves_verified == report.calls
    assert min(report.kept.calls, report.new.calls) >= at_least
    assert set(report.issuers) == {issuer_digest(bundle) for bundle in issuers}


@every_number
def test_swaps_as_the_kubelet_makes_them(load_client: Path, tmp_path: Path, swaps: int) -> None:
    bundles = two_issuers()
    volume = KubeletVolume(tmp_path, bundles[0])
    with subject(tmp_path) as target:
        with calling(load_client, target, tmp_path / ANCHORS) as load:
            swap(target, volume, bundles, swaps)
            report = load.stop()
        target.stop()
    assert_no_loss(report, at_least=16 * swaps // 2, issuers=bundles)
    assert target.complaints() == []


@every_number
def test_files_renamed_one_by_one(load_client: Path, tmp_path: Path, swaps: int) -> None:
    bundles = two_issuers()
    files = PlainFiles(tmp_path, bundles[0])
    refusals = 0

    def seen_half_way() -> None:
        """The watcher looks while chain and key do not match: only the health report changes."""
        before = target.state()
        target.process.log_until(FAILED)
        after = target.state()
        assert "key" in after["degraded"]
        forgotten = dict.fromkeys(("degraded", "conditions", "last_restart", "last_restart_at"))
        assert {**after, **forgotten} == {**before, **forgotten}
        nonlocal refusals
        refusals += 1

    def put_slowly(bundle: StoredBundle) -> None:
        files(bundle, meanwhile=seen_half_way)

    with subject(tmp_path) as target:
        with calling(load_client, target, tmp_path / ANCHORS) as load:
            swap(target, files, bundles, swaps // 2)
            swap(target, put_slowly, bundles, swaps // 4)
            report = load.stop()
        failed = target.metric('sentry_restarts_total{outcome="failure"}')
        target.stop()
    assert_no_loss(report, at_least=16 * swaps // 2, issuers=bundles)
    # A busy machine may show the watcher more of them.
    assert failed >= refusals == swaps // 4
    assert [text.startswith(FAILED) for text in target.complaints()] == [True] * int(failed)


# All reconnect at once after a swap: on a busy machine handshakes of 200 could take longer than a handshake may.
@pytest.mark.parametrize(("swaps", "idle_h2"), [(4, 50), pytest.param(100, 200, marks=pytest.mark.soak)])
def test_swaps_beside_hundreds_of_idle_connections(load_client: Path, tmp_path: Path, swaps: int, idle_h2: int) -> None:
    bundles = two_issuers()
    volume = KubeletVolume(tmp_path, bundles[0])
    with subject(tmp_path) as target:
        with calling(load_client, target, tmp_path / ANCHORS, kept=8, new=8, idle_tcp=200, idle_h2=idle_h2) as load:
            swap(target, volume, bundles, swaps)
            report = load.stop()
        target.stop()
    assert_no_loss(report, at_least=16 * swaps // 4, issuers=bundles)
    assert target.complaints() == []
    assert report.idle_tcp.refused == 0  # a busy machine may let handshakes come too late
    assert report.idle_tcp.opened > 200  # closed by the old runs, and reconnected
    assert report.idle_h2.opened > idle_h2


@every_number
def test_restarts_asked_for_all_the_time(load_client: Path, tmp_path: Path, swaps: int) -> None:
    bundle, _ = two_issuers()
    PlainFiles(tmp_path, bundle)
    signals = 2 * swaps
    with subject(tmp_path) as target:
        with calling(load_client, target, tmp_path / ANCHORS) as load:
            for _ in range(signals):
                target.process.send(signal.SIGHUP)
                time.sleep(0.1)
            while target.state()["run"] <= 2:  # a busy machine may have answered all with one restart
                target.process.send(signal.SIGHUP)
                signals += 1
                time.sleep(0.1)
            report = load.stop()
        runs = target.state()["run"]
        target.stop()
    assert_no_loss(report, at_least=16 * swaps // 2, issuers=(bundle,))
    assert target.complaints() == []
    # Those that come while a restart is under way are answered together by the next one.
    assert 2 < runs <= signals + 1


# --- the client detects it


def failing(load: AbstractContextManager[grpc_go.Load]) -> grpc_go.Report:
    with load as client:
        client.wait_ready()
        return client.stop()


@pytest.mark.parametrize(
    ("spiffe_id", "trusted", "complaint"),
    [
        ("spiffe://localhost/ns/other/dapr-sentry", True, "and not for spiffe://localhost/ns/other/dapr-sentry"),
        (SPIFFE_ID, False, "the authority's own certificate: x509: certificate signed by unknown authority"),
    ],
    ids=["another identity", "another root"],
)
def test_the_client_refuses(load_client: Path, tmp_path: Path, spiffe_id: str, trusted: bool, complaint: str) -> None:
    bundle, _ = two_issuers()
    PlainFiles(tmp_path, bundle)
    anchors = tmp_path / ("ca.crt" if trusted else "other.crt")
    if not trusted:
        anchors.write_bytes(two_issuers()[0].anchors)
    with subject(tmp_path) as target:
        report = failing(grpc_go.load(load_client, target.grpc_port, anchors, spiffe_id, kept=1, new=1))
    assert report.failures == report.calls >= 2
    assert report.leaves_verified == 0
    assert any(complaint in text for text in report.errors), report.errors


def test_the_client_notices_a_server_that_goes_away(load_client: Path, tmp_path: Path) -> None:
    bundle, _ = two_issuers()
    PlainFiles(tmp_path, bundle)
    with subject(tmp_path) as target, calling(load_client, target, tmp_path / ANCHORS, kept=2, new=2) as load:
        target.stop()
        time.sleep(1)  # twenty calls of each caller
        report = load.stop()
    assert report.kept.failures > 0
    assert report.new.failures > 0

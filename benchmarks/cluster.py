"""A mesh that starts at once, on a real kube-apiserver: certificates, their duration and their cost.

500 pods ask at the same moment, each on a new connection with a token of its own and a sidecar's patience; the process
that they ask has just started. Both ways of checking tokens take turns. Then the memory of the index, by its pods.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Final

import msgspec
import trio
from rich.console import Console
from rich.table import Table

from benchmarks.measure import usage
from testkit.clients import grpc_go
from testkit.cluster import binaries, manifests
from testkit.cluster.admin import Manifest
from testkit.cluster.cluster import Cluster, running
from testkit.cluster.control_plane import TRUST_DOMAIN, ControlPlane, install
from testkit.go_modules import UnavailableError

_MODES: Final = ("review", "local")
_AT_ONCE: Final = 8  # requests of the administrator's
_SETTLED: Final = 3.0  # seconds without growth, after which an index is taken to be whole
_SERVING: Final = "Running gRPC server on port "

_console: Final = Console()


class ColdStart(msgspec.Struct):
    """One start of the mesh; CPU in seconds."""

    mode: str
    found: grpc_go.Cold
    cpu_seconds: dict[str, float]
    rss_mib: float


class Size(msgspec.Struct):
    """The process with so many pods in its index; CPU in seconds, from its start until it serves."""

    pods: int
    start_cpu_seconds: float
    rss_mib: float


class Findings(msgspec.Struct):
    """All of it."""

    pods: int
    starts: list[ColdStart]
    sizes: list[Size]


class Mesh:
    """Pods that never run, in one namespace, and their tokens.

    Args:
        cluster: where.
        namespace: theirs.
    """

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._pods: list[Manifest] = []
        self._limit = trio.CapacityLimiter(_AT_ONCE)

    async def grow(self, number: int) -> None:
        """Makes pods until there are so many."""
        async with trio.open_nursery() as nursery:
            for each in range(len(self._pods), number):
                nursery.start_soon(self._make, each)

    async def _make(self, number: int) -> None:
        async with self._limit:
            manifest = manifests.pod(f"shop-{number}", service_account="shop", annotations={"dapr.io/app-id": "shop"})
            self._pods.append(await self._cluster.create_pod(self._namespace, manifest))

    async def tokens(self) -> bytes:
        """A new token of each, as the load client reads them: no answer to an earlier one helps."""
        found: list[dict[str, str]] = []
        async with trio.open_nursery() as nursery:
            for pod in self._pods:
                nursery.start_soon(self._ask_token, pod, found)
        return msgspec.json.encode(found)

    async def _ask_token(self, pod: Manifest, found: list[dict[str, str]]) -> None:
        async with self._limit:
            token = await self._cluster.create_token(self._namespace, "shop", audiences=["dapr.io/sentry"], pod=pod)
            found.append({"namespace": self._namespace, "app": "shop", "token": token})


async def _cold_start(plane: ControlPlane, mesh: Mesh, mode: str, client: Path, directory: Path) -> ColdStart:
    pods, anchors = directory / "pods.json", directory / "anchors.pem"
    pods.write_bytes(await mesh.tokens())
    with plane.process(f"--token-verification={mode}") as process:
        port = int(await trio.to_thread.run_sync(process.log_until, _SERVING))
        anchors.write_bytes(await plane.anchors())
        pids = {"sentry-trio": process.popen.pid, **plane.cluster.pids}
        before = {name: usage(pid).cpu_seconds for name, pid in pids.items()}
        found = await trio.to_thread.run_sync(
            grpc_go.cold_start,
            client,
            f"127.0.0.1:{port}",
            anchors,
            f"spiffe://{TRUST_DOMAIN}/ns/{plane.namespace}/dapr-sentry",
            pods,
        )
        spent = {name: usage(pid).cpu_seconds - before[name] for name, pid in pids.items()}
        return ColdStart(mode, found, spent, usage(process.popen.pid).rss_kib / 1024)


async def _size(plane: ControlPlane, number: int) -> Size:
    """Memory of the process once it has stopped growing."""
    with plane.process() as process:
        await trio.to_thread.run_sync(process.log_until, _SERVING)
        started = usage(process.popen.pid).cpu_seconds
        largest, since = 0, time.monotonic()
        while time.monotonic() - since < _SETTLED:
            await trio.sleep(0.1)
            if (now := usage(process.popen.pid).rss_kib) > largest:
                largest, since = now, time.monotonic()
        return Size(number, started, usage(process.popen.pid).rss_kib / 1024)


async def _measure(cluster: Cluster, given: argparse.Namespace, client: Path, directory: Path) -> Findings:
    plane = await install(cluster, directory)
    namespace = await cluster.create_namespace()
    await cluster.create_service_account(namespace, "shop")
    mesh = Mesh(cluster, namespace)
    sizes = [await _size(plane, 0)]
    starts = []
    if given.rounds:
        await mesh.grow(given.pods)
    for number in range(given.rounds):
        for mode in _MODES:
            _console.print(f"round {number + 1}, {mode}", style="dim")
            starts.append(await _cold_start(plane, mesh, mode, client, directory))
    for number in given.sizes:
        _console.print(f"{number} pods", style="dim")
        await mesh.grow(number)
        sizes.append(await _size(plane, number))
    return Findings(given.pods, starts, sizes)


def _tables(findings: Findings) -> list[Table]:
    starts = [_starts_table(findings)] if findings.starts else []
    return [*starts, _sizes_table(findings.sizes)]


def _starts_table(findings: Findings) -> Table:
    table = Table(title=f"{findings.pods} pods at once, median of the rounds")
    table.add_column("")
    for mode in _MODES:
        table.add_column(mode, justify="right")
    of = {mode: [each for each in findings.starts if each.mode == mode] for mode in _MODES}

    def row(title: str, form: str, values: dict[str, list[float]]) -> None:
        table.add_row(title, *(format(median(values[mode]), form) for mode in _MODES))

    row("without a certificate", ".0f", {mode: [each.found.pods.failures for each in of[mode]] for mode in _MODES})
    row("tries", ".0f", {mode: [each.found.tries for each in of[mode]] for mode in _MODES})
    row("s until the last", ".2f", {mode: [each.found.seconds for each in of[mode]] for mode in _MODES})
    row("calls / s", ".0f", {mode: [findings.pods / each.found.seconds for each in of[mode]] for mode in _MODES})
    row("p50 ms", ".0f", {mode: [each.found.pods.p50_ms for each in of[mode]] for mode in _MODES})
    row("p99 ms", ".0f", {mode: [each.found.pods.p99_ms for each in of[mode]] for mode in _MODES})
    for name in findings.starts[0].cpu_seconds:
        spent = {mode: [1000 * each.cpu_seconds[name] / findings.pods for each in of[mode]] for mode in _MODES}
        row(f"{name}, CPU ms / pod", ".2f", spent)
    row("RSS MiB afterwards", ".1f", {mode: [each.rss_mib for each in of[mode]] for mode in _MODES})
    return table


def _sizes_table(sizes: Sequence[Size]) -> Table:
    table = Table(title="Start and memory in Kubernetes mode")
    for heading in ("pods", "start, CPU ms", "RSS MiB", "KiB / pod"):
        table.add_column(heading, justify="right")
    none = sizes[0]
    for size in sizes:
        each = f"{1024 * (size.rss_mib - none.rss_mib) / size.pods:.2f}" if size.pods else "-"
        table.add_row(str(size.pods), f"{1000 * size.start_cpu_seconds:.0f}", f"{size.rss_mib:.1f}", each)
    return table


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench-cluster", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3, help="how many (default 3; 0 for memory only)")
    parser.add_argument("--pods", type=int, default=500, help="how many ask at once (default 500)")
    sizes = "pods with which memory is measured (default 1000 10000)"
    parser.add_argument("--sizes", type=int, nargs="*", default=[1000, 10000], help=sizes)
    where = "where the JSON file is written (default build/bench)"
    parser.add_argument("--output", type=Path, default=Path("build", "bench"), metavar="DIR", help=where)
    return parser.parse_args()


def main() -> int:
    """Measures by the flags of the command line; returns 1 if it could not, or if a pod got no certificate."""
    given = _arguments()
    try:
        with tempfile.TemporaryDirectory() as directory:
            client = grpc_go.build()
            with running(binaries.build()) as cluster:
                findings = trio.run(_measure, cluster, given, client, Path(directory))
    except UnavailableError as error:
        _console.print(f"cannot measure: {error}", style="red")
        return 1
    for table in _tables(findings):
        _console.print(table)
    given.output.mkdir(parents=True, exist_ok=True)
    file = given.output / "cluster.json"
    file.write_bytes(msgspec.json.format(msgspec.json.encode(findings)) + b"\n")
    _console.print(f"written: {file}")
    left_out = [start for start in findings.starts if start.found.pods.failures]
    for start in left_out:
        _console.print(f"{start.mode}: {start.found.pods.errors}", style="red")
    return 1 if left_out else 0


if __name__ == "__main__":
    sys.exit(main())

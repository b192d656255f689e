"""Restarts a real process again and again under load, and reports the cost: calls, gaps, memory, descriptors.

`make soak`, or `make soak ARGS="--restarts 100"`; `make soak ARGS="--calls 1000000"` makes so many calls instead and
shows if memory stays flat. Every second restart is a swap of the credentials, the others are
SIGHUPs; each is served before the next is asked for. Then another process is put under the same load for as long,
without restarts, as what a gap is worth depends on the machine. The tables go to standard error, JSON to standard
output. Linux only: it reads `/proc`. Go builds the client.
"""

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
from rich.console import Console
from rich.progress import track
from rich.table import Table

from sentry_trio.ca.bundle import StoredBundle
from testkit.clients import grpc_go
from testkit.credentials import ANCHORS, KubeletVolume, two_issuers
from testkit.subject import SPIFFE_ID, Subject, subject

_SETTLING = 20.0  # seconds for connections to end once the callers are gone
_console = Console(stderr=True)


class Usage(msgspec.Struct):
    """Resources of a process at one moment. `connections` is counted by the server itself; each is a few tasks."""

    moment: str
    rss_kib: int
    threads: int
    descriptors: int
    connections: int


class Finding(msgspec.Struct):
    """One process under load."""

    name: str
    runs: int
    load: grpc_go.Report
    usage: list[Usage]
    cpu_seconds: float


class Soak:
    """The load, and the observations under it.

    Args:
        client: the load client's binary.
        flags: its flags.
    """

    def __init__(self, client: Path, flags: dict[str, int | str]) -> None:
        self._client = client
        self._flags = flags

    def with_restarts(self, restarts: int) -> Finding:
        """Restarts a number of times, as fast as each is served."""

        def act(target: Subject, volume: KubeletVolume, bundles: tuple[StoredBundle, StoredBundle]) -> list[Usage]:
            usage, present = [], 0
            for number in track(
                range(1, restarts + 1), "restarts", console=_console, transient=True, disable=not _console.is_terminal
            ):
                if number % 2:
                    present = 1 - present
                    volume(bundles[present])
                else:
                    target.process.send(signal.SIGHUP)
                target.wait_for_run(number + 1, bundles[present])
                if number % 100 == 0:
                    usage.append(_usage(target, f"{number} restarts"))
            return usage

        return self._observe("restarted", act)

    def without_restarts(self, seconds: float) -> Finding:
        """The same load, left alone."""

        def act(target: Subject, *_: object) -> list[Usage]:
            time.sleep(seconds)
            return [_usage(target, f"{seconds:.0f} s")]

        return self._observe("left alone", act)

    def calls(self, number: int) -> Finding:
        """So many calls as fast as they are answered, without restarts; looked at after every tenth of them."""

        def act(target: Subject, *_: object) -> list[Usage]:
            usage: list[Usage] = []
            for tenth in track(
                range(1, 11), "calls", console=_console, transient=True, disable=not _console.is_terminal
            ):
                while (answered := target.metric("dapr_sentry_cert_sign_success_total ")) < number * tenth / 10:
                    time.sleep(0.2)
                usage.append(_usage(target, f"{answered:,.0f} calls"))
            return usage

        return self._observe("calls", act)

    def _observe(
        self, name: str, act: Callable[[Subject, KubeletVolume, tuple[StoredBundle, StoredBundle]], list[Usage]]
    ) -> Finding:
        bundles = two_issuers()
        with tempfile.TemporaryDirectory() as directory:
            credentials = Path(directory)
            volume = KubeletVolume(credentials, bundles[0])
            with subject(credentials) as target:
                usage = [_usage(target, "before")]
                with grpc_go.load(
                    self._client, target.grpc_port, credentials / ANCHORS, SPIFFE_ID, **self._flags
                ) as load:
                    load.wait_ready()
                    usage += [_usage(target, "under load"), *act(target, volume, bundles)]
                    report = load.stop()
                _settle(target)
                usage.append(_usage(target, "after"))
                runs, cpu = target.state()["run"], target.metric("process_cpu_seconds_total")
                target.stop()
        return Finding(name, runs, report, usage, cpu)


def _usage(target: Subject, moment: str) -> Usage:
    process = Path("/proc", str(target.process.popen.pid))
    status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
    return Usage(
        moment,
        rss_kib=int(status["VmRSS"].split()[0]),
        threads=int(status["Threads"]),
        descriptors=sum(1 for _ in (process / "fd").iterdir()),
        connections=_connections(target),
    )


def _connections(target: Subject) -> int:
    return int(target.metric("sentry_grpc_connections "))


def _settle(target: Subject) -> None:
    deadline = time.monotonic() + _SETTLING
    while _connections(target) and time.monotonic() < deadline:
        time.sleep(0.1)


def _tables(findings: list[Finding]) -> list[Table]:
    calls = Table("", *(each.name for each in findings), title="Calls")
    rows: dict[str, Callable[[Finding], object]] = {
        "runs": lambda f: f.runs,
        "seconds": lambda f: f"{f.load.seconds:.1f}",
        "calls on kept connections": lambda f: f.load.kept.calls,
        "calls on new connections": lambda f: f.load.new.calls,
        "leaves verified": lambda f: f.load.leaves_verified,
        "failures": lambda f: f.load.failures,
        "longest gap between successes, ms": lambda f: f.load.longest_gap_ms,
        "the same, kept connections": lambda f: f.load.kept.longest_gap_ms,
        "the same, new connections": lambda f: f.load.new.longest_gap_ms,
        "p50 / p99 / longest call, kept, ms": lambda f: _latencies(f.load.kept),
        "p50 / p99 / longest call, new, ms": lambda f: _latencies(f.load.new),
        "server CPU, s": lambda f: f"{f.cpu_seconds:.1f}",
    }
    for name, value in rows.items():
        calls.add_row(name, *(str(value(each)) for each in findings))
    tables = [calls]
    for each in findings:
        table = Table("moment", "RSS, MiB", "threads", "descriptors", "connections", title=f"Held, {each.name}")
        for u in each.usage:
            table.add_row(u.moment, f"{u.rss_kib / 1024:.1f}", str(u.threads), str(u.descriptors), str(u.connections))
        tables.append(table)
    return tables


def _latencies(calls: grpc_go.Calls) -> str:
    return f"{calls.p50_ms:.1f} / {calls.p99_ms:.1f} / {calls.max_ms:.1f}"


def main() -> int:
    """Soaks by the flags of the command line; returns 1 if a call failed."""
    parser = argparse.ArgumentParser(prog="soak", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--restarts", type=int, default=1000, help="how many (default 1000)")
    parser.add_argument("--kept", type=int, default=16, help="callers that keep their connection (default 16)")
    parser.add_argument("--new", type=int, default=16, help="callers with a connection for each call (default 16)")
    parser.add_argument("--pace", default="50ms", help="pause of each caller after a call (default 50ms)")
    parser.add_argument("--idle-tcp", type=int, default=0, help="silent TCP connections beside (default none)")
    parser.add_argument("--idle-h2", type=int, default=0, help="HTTP/2 connections without calls (default none)")
    parser.add_argument("--calls", type=int, help="make so many calls, without pauses or restarts, and nothing else")
    given = parser.parse_args()
    flags = {name: value for name, value in vars(given).items() if name not in {"restarts", "calls"}}
    client = grpc_go.build()
    if given.calls is not None:
        findings = [Soak(client, flags | {"pace": "0s"}).calls(given.calls)]
    else:
        soak = Soak(client, flags)
        restarted = soak.with_restarts(given.restarts)
        findings = [restarted, soak.without_restarts(restarted.load.seconds)]
    for table in _tables(findings):
        _console.print(table)
    for text in findings[0].load.errors:
        _console.print(f"[red]failed:[/red] {text}")
    sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(findings)) + b"\n")
    return 1 if findings[0].load.failures else 0


if __name__ == "__main__":
    sys.exit(main())

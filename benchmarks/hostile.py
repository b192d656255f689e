"""Lets a thousand hostile connections at a real process, and reports what well-behaved callers notice.

`make hostile`, or `make hostile ARGS="--kinds 'silent TCP' idle --seconds 10"`. One certificate authority serves
throughout. Before each kind of attacker the callers are measured in calm, then from the moment the attackers come:
what a latency is worth depends on the machine and the minute. The attackers live in a process of their own and come
from addresses of their own. They are paced all together, and their CPU is reported beside the server's:
the three share the machine. The table goes to standard error, JSON to standard output or a file. Linux only: it reads
`/proc`. Go builds the client.
"""

import argparse
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

import msgspec
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.health_probe import LIMIT_MS, Answers, probing
from sentry_trio.proto.sentry_pb2 import SignCertificateRequest
from testkit.attackers import HEALTH_KINDS, KINDS
from testkit.attackers.band import Report
from testkit.attackers.process import Attackers, attackers
from testkit.authorities import made_csr
from testkit.clients import grpc_go
from testkit.credentials import ANCHORS
from testkit.subject import SPIFFE_ID, Subject, subject

_METHOD: Final = "/dapr.proto.sentry.v1.CA/SignCertificate"
_STREAMING_METHOD: Final = "/grpc.health.v1.Health/Watch"
_SLOWER: Final = 2.0  # times: the target for p99 under attack
_RSS_MIB: Final = (
    256.0  # the target for the server's peak: what limits allow to be held, on top of what it always holds
)
_SETTLING: Final = 10.0  # seconds for the server to be rid of them
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_ALL: Final = (*KINDS, *HEALTH_KINDS)
_console = Console(stderr=True)
if not _console.is_terminal:
    _console.width = 140


class Usage(msgspec.Struct):
    """Resources that the server used while it was watched. CPU in cores: 1.0 is one core all the time."""

    cpu: float
    rss_before_mib: float
    rss_peak_mib: float
    rss_after_mib: float
    connections: int


class Finding(msgspec.Struct):
    """One kind of attacker; the last of all is calm alone."""

    kind: str
    calm: grpc_go.Report
    attacked: grpc_go.Report | None = None
    usage: Usage | None = None
    hostile: Report | None = None
    health: Answers | None = None

    @property
    def failures(self) -> int:
        """Calls that failed, in calm or under attack."""
        return self.calm.failures + (self.attacked.failures if self.attacked else 0)

    @property
    def errors(self) -> list[str]:
        """The first few error texts."""
        return self.calm.errors + (self.attacked.errors if self.attacked else [])


class Siege:
    """The server, its callers and its attackers.

    Args:
        client: the load client's binary.
        target: the server.
        credentials: the directory that has its trust anchors.
        given: the command line.
    """

    def __init__(self, client: Path, target: Subject, credentials: Path, given: argparse.Namespace) -> None:
        self._client = client
        self._target = target
        self._credentials = credentials
        self._given = given
        self._process = Path("/proc", str(target.process.popen.pid))
        self._message = credentials.parent / "request"
        request = SignCertificateRequest(
            id="hostile",
            namespace="default",
            trust_domain="localhost",
            certificate_signing_request=made_csr(),
            token_validator=SignCertificateRequest.TokenValidator.INSECURE,
        )
        self._message.write_bytes(request.SerializeToString())

    def calm(self) -> grpc_go.Report:
        """Measures the callers alone."""
        with self._load() as load:
            load.wait_ready()
            time.sleep(self._given.seconds)
            return load.stop()

    def under(self, kind: str) -> Finding:
        """Measures them in calm, then from the coming of the attackers until some seconds after all have begun."""
        calm = self.calm()
        self._forget_peak()
        before = self._mib("VmRSS")
        with self._load() as load:
            load.wait_ready()
            begin, cpu = time.monotonic(), self._cpu_seconds()
            with probing(self._target.health_port) as health, self._attackers(kind) as band:
                band.wait_ready()
                time.sleep(self._given.seconds)
                seconds, cpu = time.monotonic() - begin, self._cpu_seconds() - cpu
                connections = self._connections()
                attacked = load.stop()
                hostile = band.stop()
        self._settle()
        usage = Usage(cpu / seconds, before, self._mib("VmHWM"), self._mib("VmRSS"), connections)
        return Finding(kind, calm, attacked, usage, hostile, health)

    def _load(self) -> AbstractContextManager[grpc_go.Load]:
        flags: dict[str, int | str] = {name: getattr(self._given, name) for name in ("kept", "new", "pace")}
        anchors = self._credentials / ANCHORS
        return grpc_go.load(self._client, self._target.grpc_port, anchors, SPIFFE_ID, **flags)

    def _attackers(self, kind: str) -> AbstractContextManager[Attackers]:
        flags = {
            "port": self._target.grpc_port,
            "health-port": self._target.health_port,
            "path": _METHOD,
            "streaming-path": _STREAMING_METHOD,
            "message": self._message,
            "sources": ",".join(f"127.0.0.{number}" for number in range(2, 2 + self._given.sources)),
            "connections": self._given.connections,
            "connects": self._given.connects,
            "calls": self._given.calls,
            "frames": self._given.frames,
        }
        return attackers(kind, flags)

    def _settle(self) -> None:
        deadline = time.monotonic() + _SETTLING
        while self._connections() and time.monotonic() < deadline:
            time.sleep(0.1)

    def _connections(self) -> int:
        """The server's own count; -1 if it does not answer in time."""
        try:
            return int(self._target.metric("sentry_grpc_connections "))
        except OSError:
            return -1

    def _forget_peak(self) -> None:
        (self._process / "clear_refs").write_text("5")

    def _mib(self, name: str) -> float:
        status = dict(line.split(":", 1) for line in (self._process / "status").read_text().splitlines())
        return int(status[name].split()[0]) / 1024

    def _cpu_seconds(self) -> float:
        user, system = (self._process / "stat").read_text().rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / _TICKS


def _callers(findings: list[Finding]) -> Table:
    table = Table("", title="Well-behaved callers, ms: in calm, then under attack", caption_justify="left")
    table.caption = (
        f"Targets: p99 within {_SLOWER:g} times of calm, /readyz within {LIMIT_MS:g} ms; ! where one is missed. "
        "Probes: /readyz requests under attack that failed or were late."
    )
    for name in ("kept, p50", "kept, p99", "new, p50", "new, p99", "failed", "probes", "/readyz max"):
        table.add_column(name, justify="right", no_wrap=True)
    for each in findings:
        calm, attacked = each.calm, each.attacked or each.calm
        table.add_row(
            each.kind,
            f"{calm.kept.p50_ms:.1f} {attacked.kept.p50_ms:.1f}",
            _compared(calm.kept.p99_ms, attacked.kept.p99_ms),
            f"{calm.new.p50_ms:.1f} {attacked.new.p50_ms:.1f}",
            _compared(calm.new.p99_ms, attacked.new.p99_ms),
            f"{each.failures}{'!' * bool(each.failures)}",
            *_health(each.health),
        )
    return table


def _health(answers: Answers | None) -> tuple[str, str]:
    if answers is None:
        return "", ""
    return f"{answers.late}/{answers.count}{'!' * bool(answers.late)}", f"{answers.max_ms:.0f}"


def _compared(calm_ms: float, attacked_ms: float) -> str:
    return f"{calm_ms:.1f} {attacked_ms:.1f}{'!' * (attacked_ms > _SLOWER * calm_ms)}"


def _costs(findings: list[Finding]) -> Table:
    table = Table("", title="What it cost: RSS in MiB, CPU in cores, connections", caption_justify="left")
    table.caption = (
        f"Target: RSS within {_RSS_MIB:g} MiB; ! where it is missed. Connections: those open in the end, the callers' "
        "included; then the attackers' that came as far as their misdeed, that ended later, that never came as far."
    )
    for name in ("RSS", "peak", "after", "server's CPU", "attackers'", "open", "begun", "cut", "refused"):
        table.add_column(name, justify="right", no_wrap=True)
    for each in findings:
        if each.usage is None or each.hostile is None:
            continue
        table.add_row(
            each.kind,
            f"{each.usage.rss_before_mib:.0f}",
            f"{each.usage.rss_peak_mib:.0f}{'!' * (each.usage.rss_peak_mib > _RSS_MIB)}",
            f"{each.usage.rss_after_mib:.0f}",
            f"{each.usage.cpu:.2f}",
            f"{each.hostile.cpu_seconds / each.hostile.seconds:.2f}",
            *map(str, (each.usage.connections, each.hostile.begun, each.hostile.cut, each.hostile.refused)),
        )
    return table


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="hostile", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kinds", nargs="+", choices=_ALL, default=list(_ALL), help="of attackers (default all)")
    parser.add_argument("--connections", type=int, default=1000, help="of attackers at a time (default 1000)")
    parser.add_argument("--sources", type=int, default=4, help="addresses that they come from (default 4)")
    parser.add_argument(
        "--connects", type=float, default=200, help="connections a second, all together (200; 0: no limit)"
    )
    parser.add_argument("--calls", type=float, default=300, help="whole calls a second, of all (300; 0: no limit)")
    parser.add_argument("--frames", type=float, default=2000, help="other frames a second, of all (2000; 0: no limit)")
    parser.add_argument("--seconds", type=float, default=5, help="of calm, and of attack once all came (default 5)")
    parser.add_argument("--kept", type=int, default=8, help="callers that keep their connection (default 8)")
    parser.add_argument("--new", type=int, default=8, help="callers with a connection for each call (default 8)")
    parser.add_argument("--pace", default="50ms", help="pause of each caller after a call (default 50ms)")
    parser.add_argument("--output", type=Path, help="file for the findings (default standard output)")
    return parser.parse_args()


def _besiege(given: argparse.Namespace) -> Iterator[Finding]:
    with tempfile.TemporaryDirectory() as directory:
        client = grpc_go.build(Path(directory))
        credentials = Path(directory, "credentials")
        credentials.mkdir(mode=0o700)
        with subject(credentials) as target:
            siege = Siege(client, target, credentials, given)
            for kind in given.kinds:
                yield siege.under(kind)
            yield Finding("calm again", siege.calm())
            target.stop()


def _tell(findings: list[Finding], output: Path | None) -> None:
    for table in (_callers(findings), _costs(findings)):
        _console.print(table)
    for each in findings:
        for text in each.errors:
            _console.print(f"[red]failed:[/red] {each.kind}: {text}")
    encoded = msgspec.json.format(msgspec.json.encode(findings)) + b"\n"
    if output is None:
        sys.stdout.buffer.write(encoded)
    else:
        output.write_bytes(encoded)


def main() -> int:
    """Attacks as the command line says; returns 1 if a well-behaved call failed."""
    given = _arguments()
    # The server and the attackers inherit it.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    findings: list[Finding] = []
    try:
        total, silent = len(given.kinds) + 1, not _console.is_terminal
        findings.extend(track(_besiege(given), "kinds", total=total, console=_console, transient=True, disable=silent))
    finally:
        _tell(findings, given.output)  # what is known, also where a server did not survive
    return 1 if any(each.failures for each in findings) else 0


if __name__ == "__main__":
    sys.exit(main())

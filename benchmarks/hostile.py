"""Attacks a real process with a thousand hostile connections, and reports the effect on well-behaved callers.

`make hostile`, or `make hostile ARGS="--kinds 'silent TCP' idle --seconds 10"`. One certificate authority serves
throughout, which shows what grows with each attack; with `--new-processes` each kind attacks a new one, which shows
what only a first attack costs. Before each kind of attacker the callers are measured in calm, then from the moment the
attackers come, then after they have gone: what a latency is worth depends on the machine and the minute. The attackers
live in a process of their own, come from addresses of their own and attack at full speed, unless a pace is given. The
server has a core of its own, if there are two. The tables go to standard error, JSON to standard output or a file.
Linux only: it reads `/proc`. Go builds the client.
"""

import argparse
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
from benchmarks.server_watch import RSS_MIB, TURN_MAX_MS, TURN_P99_MS, ServerWatch, Usage, pin
from testkit.attackers import HEALTH_KINDS, KINDS
from testkit.attackers.band import Report
from testkit.attackers.process import Attackers, attackers
from testkit.authorities import made_request
from testkit.clients import grpc_go
from testkit.credentials import ANCHORS
from testkit.subject import SPIFFE_ID, Subject, subject

_METHOD: Final = "/dapr.proto.sentry.v1.CA/SignCertificate"
_STREAMING_METHOD: Final = "/grpc.health.v1.Health/Watch"
_FAILED_NEW: Final = 0.01  # part of the calls on new connections that may fail
_ALL: Final = (*KINDS, *HEALTH_KINDS)
_console = Console(stderr=True)
if not _console.is_terminal:
    _console.width = 140


class Finding(msgspec.Struct):
    """One kind of attacker; the last of all is calm alone."""

    kind: str
    calm: grpc_go.Report
    attacked: grpc_go.Report | None = None
    after: grpc_go.Report | None = None
    usage: Usage | None = None
    hostile: Report | None = None
    health: Answers | None = None

    @property
    def reports(self) -> list[grpc_go.Report]:
        """Of the callers: before, during and after the attack."""
        return [report for report in (self.calm, self.attacked, self.after) if report is not None]

    @property
    def errors(self) -> list[str]:
        """The first few error texts."""
        return [text for report in self.reports for text in report.errors]

    @property
    def violations(self) -> list[str]:
        """Bounds that were not kept, by the names of their columns."""
        if self.usage is None or self.health is None:
            return []
        missed = {
            "failed kept": any(report.kept.failures for report in self.reports),
            "failed new": any(report.new.failures > _FAILED_NEW * report.new.calls for report in self.reports),
            "/readyz": self.health.late > 0,
            "turn p99": self.usage.turn_p99_ms > TURN_P99_MS,
            "turn max": self.usage.turn_max_ms > TURN_MAX_MS,
            "RSS": self.usage.rss_peak_mib > RSS_MIB,
        }
        return [name for name, is_missed in missed.items() if is_missed]


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
        self._watch = ServerWatch(target)
        self._message = credentials.parent / "request"
        self._message.write_bytes(made_request("hostile").SerializeToString())

    def calm(self) -> grpc_go.Report:
        """Measures the callers alone."""
        with self._load() as load:
            load.wait_ready()
            time.sleep(self._given.seconds)
            return load.stop()

    def under(self, kind: str) -> Finding:
        """Measures them in calm, from the coming of the attackers until some time after all have begun, and later."""
        calm = self.calm()
        with self._watch.watching() as usage, self._load() as load:
            load.wait_ready()
            with probing(self._target.health_port) as health, self._attackers(kind) as band:
                band.wait_ready()
                time.sleep(self._given.seconds)
                usage.connections = self._watch.connections()
                attacked = load.stop()
                hostile = band.stop()
        return Finding(kind, calm, attacked, self.calm(), usage, hostile, health)

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


def _callers(findings: list[Finding]) -> Table:
    table = Table("", title="Well-behaved callers: before, during and after the attack", caption_justify="left")
    table.caption = f"p99 in ms, failed calls. At most {_FAILED_NEW:.0%} of the new calls may fail, and no kept one."
    for name in ("kept p99", "new p99", "failed kept", "failed new"):
        table.add_column(name, justify="right", no_wrap=True)
    for each in findings:
        table.add_row(
            each.kind,
            " ".join(f"{report.kept.p99_ms:.0f}" for report in each.reports),
            " ".join(f"{report.new.p99_ms:.0f}" for report in each.reports),
            " ".join(str(report.kept.failures) for report in each.reports),
            " ".join(f"{report.new.failures}/{report.new.calls}" for report in each.reports),
        )
    return table


def _bounds(findings: list[Finding]) -> Table:
    table = Table("", title="Bounds under attack", caption_justify="left")
    table.caption = (
        f"Probes of /readyz that failed or took more than {LIMIT_MS:g} ms, and the longest; turns of the event loop, "
        f"p99 up to {TURN_P99_MS:g} and longest up to {TURN_MAX_MS:g} ms; RSS before, at most ({RSS_MIB:g} MiB), after."
    )
    for name in ("late probes", "/readyz max", "turn p99", "turn max", "RSS"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("")
    for each in findings:
        usage, health = each.usage, each.health
        if usage is None or health is None:
            continue
        table.add_row(
            each.kind,
            f"{health.late}/{health.count}",
            f"{health.max_ms:.0f}",
            f"{usage.turn_p99_ms:g}",
            f"{usage.turn_max_ms:g}",
            f"{usage.rss_before_mib:.0f} {usage.rss_peak_mib:.0f} {usage.rss_after_mib:.0f}",
            f"failed: {', '.join(each.violations)}" if each.violations else "passed",
        )
    return table


def _costs(findings: list[Finding]) -> Table:
    table = Table("", title="CPU in cores, connections", caption_justify="left")
    table.caption = (
        "Connections: those open in the end, the callers' included; then the attackers' that came as far as their "
        "misdeed, that ended later, that never came as far."
    )
    for name in ("server's CPU", "attackers'", "open", "begun", "cut", "refused"):
        table.add_column(name, justify="right", no_wrap=True)
    for each in findings:
        if each.usage is None or each.hostile is None:
            continue
        table.add_row(
            each.kind,
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
        "--connects", type=float, default=0, help="connections a second, all together (default 0: no limit)"
    )
    parser.add_argument("--calls", type=float, default=0, help="whole calls a second, of all (0: no limit)")
    parser.add_argument("--frames", type=float, default=0, help="other frames a second, of all (0: no limit)")
    parser.add_argument("--seconds", type=float, default=5, help="of calm, and of attack once all came (default 5)")
    parser.add_argument("--kept", type=int, default=8, help="callers that keep their connection (default 8)")
    parser.add_argument("--new", type=int, default=8, help="callers with a connection for each call (default 8)")
    parser.add_argument("--pace", default="50ms", help="pause of each caller after a call (default 50ms)")
    parser.add_argument(
        "--cpu-turns", action="store_true", help="measure turns in CPU time, which a busy machine does not lengthen"
    )
    parser.add_argument("--new-processes", action="store_true", help="start a new server for each kind")
    parser.add_argument("--flags", nargs="+", default=[], help="of the server, as in --flags=--jwt-enabled")
    parser.add_argument("--output", type=Path, help="file for the findings (default standard output)")
    return parser.parse_args()


def _besiege(given: argparse.Namespace) -> Iterator[Finding]:
    client = grpc_go.build()
    for kinds in [[kind] for kind in given.kinds] if given.new_processes else [given.kinds]:
        yield from _besiege_process(client, kinds, given)


def _besiege_process(client: Path, kinds: list[str], given: argparse.Namespace) -> Iterator[Finding]:
    with tempfile.TemporaryDirectory() as directory:
        credentials = Path(directory, "credentials")
        credentials.mkdir(mode=0o700)
        module = "testkit.cpu_turns" if given.cpu_turns else "sentry_trio"
        with subject(credentials, *given.flags, module=module) as target:
            pin(target.process.popen.pid)
            siege = Siege(client, target, credentials, given)
            for kind in kinds:
                yield siege.under(kind)
            yield Finding("calm again", siege.calm())
            target.stop()


def _tell(findings: list[Finding], output: Path | None) -> None:
    for table in (_callers(findings), _costs(findings), _bounds(findings)):
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
    """Attacks by the flags of the command line; returns 1 if a bound was not kept."""
    given = _arguments()
    # The server and the attackers inherit it.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    findings: list[Finding] = []
    try:
        total = len(given.kinds) + (len(given.kinds) if given.new_processes else 1)
        silent = not _console.is_terminal
        for each in track(_besiege(given), "kinds", total=total, console=_console, transient=True, disable=silent):
            findings.append(each)
            if silent:
                _console.print(f"{each.kind}: {', '.join(each.violations) or 'passed'}")
    finally:
        _tell(findings, given.output)  # what is known, also where a server did not survive
    return 1 if any(each.violations for each in findings) else 0


if __name__ == "__main__":
    sys.exit(main())

"""Measures the server's cost of a certificate, ours and others, in alternation on this machine.

`make bench`, or `make bench ARGS="--rounds 3 --only ours,sentry"`. Each contender is a process that is started once. A
round is a pass of each contender, one after the other, first with kept connections and then with new ones; so the
machine's drift hits all alike, and what is compared is compared round by round. CPU is the server's own, user and
system, as the kernel counts it, divided by the calls it answered: other programs hardly change it, while throughput
and latency are only worth as much as the machine is quiet, and the load client has to share it.

The tables go to standard error, all figures as JSON and a plot to `build/bench/`. A missed target is reported and
fails nothing. Linux only. Go builds the client and Dapr Sentry, the first time for minutes.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
from rich.console import Console

from benchmarks.contenders import BARE, FLOOR, OURS, SERVERS, Contender
from benchmarks.findings import KINDS, Contest, Findings, Kind, Pass, verdicts
from benchmarks.machine import this_machine
from benchmarks.measure import CallsFailedError, Measure
from benchmarks.processes import StartError, started
from benchmarks.profiling import profile
from benchmarks.report import disturbance, tables
from benchmarks.startup import measure_starts
from sentry_trio.ca.generate import generate
from sentry_trio.ca.keys import KeyType
from testkit.clients import grpc_go
from testkit.go_modules import UnavailableError

_NAMES: Final = (*(each.name for each in SERVERS), FLOOR)
_USUAL: Final = (*(each.name for each in SERVERS if each.usual), FLOOR)
_PROFILED_AT_LEAST: Final = 10.0  # seconds; the kernel's clock may give 250 samples in each
_WIDTH: Final = 150  # columns, where there is no terminal

_console = Console(stderr=True, width=None if sys.stderr.isatty() else _WIDTH)


@dataclass(frozen=True, slots=True)
class _Entry:
    contest: Contest
    run: Callable[[Kind], Pass]


def _compete(measure: Measure, servers: Sequence[Contender], rounds: int, *, with_floor: bool) -> list[Contest]:
    """All rounds; every server is there from the first to the last."""
    with ExitStack() as stack:
        entries = []
        for each in servers:
            program = stack.enter_context(started(each, measure.credentials))
            run = partial(measure.server, program.pid, program.port)
            entries.append(_Entry(Contest(name=each.name, title=each.title), run))
        if with_floor:
            entries.append(_Entry(Contest(name=FLOOR, title=FLOOR), measure.floor))
        for number in range(1, rounds + 1):
            for kind in KINDS:
                for entry in entries:
                    with _console.status(f"round {number} of {rounds}, {kind} connections: {entry.contest.name}"):
                        entry.contest.passes(kind).append(entry.run(kind))
    return [each.contest for each in entries]


def write_credentials(directory: Path) -> None:
    """Writes one P-256 issuer for all contenders: ca.crt, issuer.crt and issuer.key."""
    stored = generate(
        "localhost", "default", KeyType.P256, now=datetime.now(UTC), allowed_clock_skew=timedelta(minutes=15)
    )
    for name, content in (("ca.crt", stored.anchors), ("issuer.crt", stored.chain), ("issuer.key", stored.key)):
        (directory / name).write_bytes(content)


def _bench(given: argparse.Namespace, directory: Path) -> Findings:
    credentials = directory / "credentials"
    credentials.mkdir()
    write_credentials(credentials)
    measure = Measure(grpc_go.build(), credentials, given.seconds, given.workers)
    servers = [each for each in SERVERS if each.name in given.only]
    start = None
    if OURS in servers and given.starts:
        with _console.status("starts"):
            start = measure_starts(credentials, given.starts)
    contests = _compete(measure, servers, given.rounds, with_floor=FLOOR in given.only)
    profiles = []
    if given.profile:
        with _console.status("profiles"):
            ours = [each for each in (OURS, BARE) if each in servers]
            profiles = profile(measure, ours, max(given.seconds, _PROFILED_AT_LEAST))
    return Findings(
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=this_machine(),
        rounds=given.rounds,
        seconds=given.seconds,
        workers=given.workers,
        contests=contests,
        verdicts=verdicts(contests),
        start=start,
        profiles=profiles,
    )


def _names(text: str) -> list[str]:
    names = text.split(",")
    if unknown := [name for name in names if name not in _NAMES]:
        raise argparse.ArgumentTypeError(f"no contender {', '.join(unknown)}; there are {', '.join(_NAMES)}")
    return names


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="how many (default 5)")
    parser.add_argument("--seconds", type=float, default=4, help="how long each pass counts calls (default 4)")
    parser.add_argument("--workers", type=int, default=8, help="how many call at once (default 8)")
    parser.add_argument("--starts", type=int, default=5, help="how many starts are measured (default 5)")
    only = f"the contenders, with commas between them (default {','.join(_USUAL)}; also grpcio-aio)"
    parser.add_argument("--only", type=_names, default=list(_USUAL), metavar="NAMES", help=only)
    parser.add_argument("--profile", action="store_true", help="also report where our time goes, by group of modules")
    where = "where JSON and plot are written (default build/bench)"
    parser.add_argument("--output", type=Path, default=Path("build", "bench"), metavar="DIR", help=where)
    return parser.parse_args()


def main() -> int:
    """Measures by the flags of the command line; returns 1 if it could not."""
    given = _arguments()
    try:
        with tempfile.TemporaryDirectory() as directory:
            findings = _bench(given, Path(directory))
    except (UnavailableError, StartError, CallsFailedError) as error:
        _console.print(f"cannot measure: {error}", style="red")
        return 1
    for table in tables(findings):
        _console.print(table)
    if warning := disturbance(findings.contests):
        _console.print(warning, style="yellow")
    given.output.mkdir(parents=True, exist_ok=True)
    figures, picture = given.output / "bench.json", given.output / "bench.png"
    figures.write_bytes(msgspec.json.format(msgspec.json.encode(findings)) + b"\n")
    from benchmarks.plot import plot  # noqa: PLC0415  # heavy, and not there where only tables are wanted

    plot(findings, picture)
    _console.print(f"written: {figures}, {picture}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

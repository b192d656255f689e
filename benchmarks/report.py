"""Findings as tables."""

from collections.abc import Iterable

from rich.table import Table

from benchmarks.findings import KINDS, Contest, Findings, Kind, Pass, Profile, Spread, Starts, Verdict

_CALLS = {"kept": "Kept connections", "new": "A new TLS connection for each call"}
_NONE = "-"
_BEARABLE = 0.1


def tables(findings: Findings) -> list[Table]:
    """All of it, in the order in which one reads."""
    found = [_calls(kind, findings.contests, findings.verdicts) for kind in KINDS]
    found.append(_memory(findings.contests))
    if findings.start is not None:
        found += [_start(findings.start), _imports(findings.start)]
    if findings.profiles:
        found.append(_profiles(findings.profiles))
    return found


def disturbance(contests: list[Contest]) -> str | None:
    """Warns if other programs took more of this machine than a measurement can bear."""
    parts = [one.others for contest in contests for kind in KINDS for one in contest.passes(kind)]
    worst = max((part for part in parts if part is not None), default=0.0)
    if worst <= _BEARABLE:
        return None
    return f"other programs took up to {100 * worst:.0f} % of this machine meanwhile: measure again when it is quiet"


def _calls(kind: Kind, contests: list[Contest], verdicts: list[Verdict]) -> Table:
    table = Table(title=_CALLS[kind])
    table.add_column("", no_wrap=True)
    for heading in ("CPU ms / call", "kernel", "calls / s", "p50 ms", "p99 ms", "ours / it", "target"):
        table.add_column(heading, justify="right", no_wrap=True)
    by_name = {each.name: each for each in verdicts if each.kind == kind}
    for contest in contests:
        passes, verdict = contest.passes(kind), by_name.get(contest.name)
        called = passes[0].p50_ms is not None
        table.add_row(
            contest.title,
            _spread(Spread.of(each.cpu_ms for each in passes), 3),
            _median(_system_ms(each) for each in passes),
            _median((each.rate for each in passes), 0) if called else _NONE,
            _median((each.p50_ms for each in passes), 1),
            _median((each.p99_ms for each in passes), 1),
            _spread(verdict.ratio, 2) if verdict else _NONE,
            _target(verdict),
        )
    return table


def _system_ms(one: Pass) -> float | None:
    return None if one.system_seconds is None else 1000 * one.system_seconds / one.calls


def _target(verdict: Verdict | None) -> str:
    if verdict is None or verdict.target is None:
        return ""
    return f"<= {verdict.target:.2f} " + ("[green]met[/green]" if verdict.met else "[red]missed[/red]")


def _memory(contests: list[Contest]) -> Table:
    table = Table("", "RSS MiB after the passes", title="Memory")
    for contest in contests:
        table.add_row(contest.title, f"{contest.new[-1].rss_kib / 1024:.1f}")
    return table


def _start(start: Starts) -> Table:
    table = Table("from exec to healthz 200", "median (lowest..highest)", title="Start of sentry-trio, standalone")
    table.add_row("wall ms", _spread(Spread.of(1000 * each.wall_seconds for each in start.starts), 0))
    table.add_row("CPU ms", _spread(Spread.of(1000 * each.cpu_seconds for each in start.starts), 0))
    table.add_row("RSS MiB", _spread(Spread.of(each.rss_kib / 1024 for each in start.starts), 1))
    table.add_row("modules imported", str(start.modules))
    return table


def _imports(start: Starts) -> Table:
    table = Table("package", "ms, itself", title="What importing costs, by -X importtime, the dearest packages")
    for package, milliseconds in start.import_ms.items():
        table.add_row(package, f"{milliseconds:.1f}")
    return table


def _profiles(profiles: list[Profile]) -> Table:
    table = Table(title="Where the CPU of a call goes: part of samples, and us per call")
    table.add_column("")
    for each in profiles:
        table.add_column(f"{each.name}, {each.kind}", justify="right", no_wrap=True)
    groups = dict.fromkeys(name for each in profiles for name in each.groups)
    for name in sorted(groups, key=lambda name: -sum(each.groups.get(name, 0) for each in profiles)):
        parts = [each.groups.get(name, 0) for each in profiles]
        shown = [
            f"{100 * part:.1f} %  {1000 * part * one.cpu_ms:4.0f}" for part, one in zip(parts, profiles, strict=True)
        ]
        table.add_row(name, *shown)
    table.add_row("samples", *(f"{each.samples}  {1000 * each.cpu_ms:4.0f}" for each in profiles))
    return table


def _spread(spread: Spread, digits: int) -> str:
    median, lowest, highest = (f"{value:.{digits}f}" for value in spread)
    return f"{median} ({lowest}..{highest})"


def _median(values: Iterable[float | None], digits: int = 3) -> str:
    present = [value for value in values if value is not None]
    return f"{Spread.of(present).median:.{digits}f}" if present else _NONE

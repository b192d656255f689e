"""A report for a terminal, by rich; pure.

Texts of others take one line each, without control characters, and are never read as markup. Colour only repeats what
the text says.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Final

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from sentry_trio.renewal_status import STEP_TEXTS, RenewalStatus
from sentry_trio.status.assess import Agreement, Assessment, Verdict, in_use, short
from sentry_trio.status.certificate_tree import certificate_trees
from sentry_trio.status.report import Figures, NotShown, Replica, ReplicaHealth, Report, Stored
from sentry_trio.status.text import duration, plain

_VERDICTS: Final = {
    Verdict.WELL: ("all is well", "bold green"),
    Verdict.ATTENTION: ("needs attention", "bold yellow"),
    Verdict.UNREACHABLE: ("not reachable", "bold red"),
}
_AGREEMENTS: Final = {Agreement.AGREE: "green", Agreement.DIFFER: "bold yellow", Agreement.UNKNOWN: "dim"}


class Rendering:
    """A report for rich to print: as wide as the terminal, in ASCII if the terminal has nothing else.

    Args:
        report: the collected state.
        assessment: assessment of the report.
        fit: cut at the bottom of the terminal, so that the first line, the verdict, is always visible.
    """

    def __init__(self, report: Report, assessment: Assessment, *, fit: bool = False) -> None:
        self._report = report
        self._assessment = assessment
        self._fit = fit

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """All parts, one below the other, without spaces at the ends of lines."""
        height = options.height or console.height
        options = options.update(height=None) if self._fit else options
        lines = [_stripped(line) for line in console.render_lines(Group(*self._parts(options)), options, pad=False)]
        if self._fit and len(lines) > height:
            note = f"... {len(lines) - height + 1} more lines: enlarge the terminal, or look once without --watch"
            lines = [*lines[: height - 1], [Segment(note[: options.max_width], console.get_style("dim"))]]
        for number, line in enumerate(lines):
            if number:
                yield Segment.line()
            yield from line
        if not self._fit:
            yield Segment.line()

    def _parts(self, options: ConsoleOptions) -> Iterator[RenderableType]:
        yield from self.head()
        for tree in certificate_trees(self._report, unicode=not options.ascii_only, width=options.max_width):
            yield Text()
            yield tree
        yield from _section("CA renewal", _renewals(self._report))
        yield from _section("Replicas", self._replicas())
        yield from _section("Calls", _calls(self._report))
        yield from _section("Trust bundle", self._agreements())

    def head(self) -> Iterator[RenderableType]:
        """The verdict and its findings."""
        text, style = _VERDICTS[self._assessment.verdict]
        yield Text.assemble(("sentry-trio ", "bold"), (text, style), f"  {self._report.at:%Y-%m-%d %H:%M:%S} UTC")
        for finding in self._assessment.findings:
            yield _indented(Text(plain(finding.text), style="yellow", overflow="fold"), "! ", style="yellow")

    def _replicas(self) -> Iterator[RenderableType]:
        for replica in self._report.replicas:
            yield from _replica(replica, self._report)
        if self._report.not_found is not None:
            yield _not_shown("other replicas" if self._report.replicas else "replicas", self._report.not_found)

    def _agreements(self) -> Iterator[RenderableType]:
        report, assessment = self._report, self._assessment
        if len(report.replicas) > 1:
            each = ", ".join(f"{plain(replica.name)} {short(health.bundle)}" for replica, health in report.reached)
            yield _agreement("replicas", assessment.replicas, each or "none was reached")
        match report.stored:
            case NotShown() as hidden:
                yield _not_shown("store", hidden)
            case Stored(place=place, fingerprint=fingerprint):
                used = f", {in_use(report)} in use" if report.reached else ""
                where = f"{short(fingerprint)} in {plain(place)}{used}"
                yield _agreement("store", assessment.store, where)
        match report.published:
            case None:
                pass
            case NotShown() as hidden:
                yield _not_shown("trust anchors for the mesh", hidden)
            case published:
                anchors = ", ".join(map(short, published.anchors)) or "none"
                where = f"{anchors} in {plain(published.place)}"
                yield _agreement("trust anchors for the mesh", assessment.config_map, where)


def _section(title: str, rows: Iterable[RenderableType]) -> Iterator[RenderableType]:
    content = list(rows)
    if content:
        yield Text()
        yield Text(title, style="bold")
        yield _indented(Group(*content))


def _stripped(line: list[Segment]) -> list[Segment]:
    """A line without the spaces that wrapping has left at its end."""
    while line and not line[-1].text.rstrip():
        line = line[:-1]
    return [*line[:-1], Segment(line[-1].text.rstrip(), line[-1].style)] if line else line


def _indented(content: RenderableType, mark: str = "  ", *, style: str = "") -> Table:
    """Content with a mark before its first line, and an indent before the others."""
    grid = Table.grid()
    grid.add_column(width=len(mark))
    grid.add_column(overflow="fold")
    grid.add_row(Text(mark, style=style), content)
    return grid


# --- renewal


def _renewals(report: Report) -> Iterator[RenderableType]:
    """The state of each replica, once if several have the same."""
    users: dict[tuple[str, ...], list[str]] = {}
    for replica, health in report.reached:
        if health.renewal is not None:
            users.setdefault(tuple(_renewal(health.renewal, report.at)), []).append(plain(replica.name))
    for lines, names in users.items():
        if len(users) > 1:
            yield Text(", ".join(names), style="bold", overflow="fold")
        for line in lines:
            yield Text(line, overflow="fold")


def _renewal(renewal: RenewalStatus, now: datetime) -> Iterator[str]:
    line = f"{plain(renewal.phase)}, generation {renewal.generation}"
    if renewal.next_step is not None and renewal.next_step_at is not None:
        step = STEP_TEXTS.get(renewal.next_step, plain(renewal.next_step))
        line += f"; next step: {step}, due {_when(renewal.next_step_at, now)}"
    yield line
    if renewal.has_root_key:
        yield "root key: kept, issuers are renewed below the same root"
    if renewal.bridge_end is not None:
        yield f"bridge for sidecars with former trust anchors: ends {_when(renewal.bridge_end, now)}"
    if renewal.sidecars is not None:
        yield f"sidecars by their trust anchors: {_counts(renewal.sidecars)}"


def _when(moment: datetime, now: datetime) -> str:
    distance = duration(moment - now)
    return f"{f'in {distance}' if moment >= now else f'{distance} ago'}, {moment:%Y-%m-%d}"


# --- replicas


def _replica(replica: Replica, report: Report) -> Iterator[RenderableType]:
    name = Text.assemble((plain(replica.name), "bold"), "  ", overflow="fold")
    health = replica.health
    if isinstance(health, NotShown):
        # The findings say why, and why it is degraded.
        yield name.append("not reachable", style="bold red")
        return
    name.append(*("ready", "green") if health.ready else ("not ready", "bold yellow"))
    if health.degraded is not None:
        name.append(", ").append("degraded", style="bold yellow")
    name.append(f", run {health.run}")
    if health.started_at is not None:
        name.append(f", up {duration(report.at - health.started_at)}")
    if health.version is not None:
        name.append(f", version {plain(health.version)}", style="dim")
    yield name
    lines = [_restarts(replica, health, report)]
    if isinstance(replica.figures, Figures):
        lines.append(_load(replica.figures))
    else:
        lines.append(Text(f"metrics not shown: {plain(replica.figures.reason)}", style="dim", overflow="fold"))
    yield _indented(Group(*lines))


def _restarts(replica: Replica, health: ReplicaHealth, report: Report) -> Text:
    counted = replica.figures.restarts if isinstance(replica.figures, Figures) else {}
    text = Text(overflow="fold")
    if counted:
        text.append(f"restarts: {counted.get('success', 0)} succeeded, {counted.get('failure', 0)} failed")
        if isinstance(replica.figures, Figures) and replica.figures.restart_failures:
            text.append(f" ({_counts(replica.figures.restart_failures)})")
    else:
        text.append("restarts: none" if health.last_restart is None else "restarts:")
    if health.last_restart is not None:
        when = "" if health.last_restart_at is None else f" {duration(report.at - health.last_restart_at)} ago"
        text.append(f"{'; the last' if counted else ' the last'} {plain(health.last_restart)}{when}")
    return text


def _load(figures: Figures) -> Text:
    text = Text(f"connections: {figures.connections:,}", overflow="fold")
    if figures.connections_refused:
        text.append(f" ({figures.connections_refused:,} refused)")
    text.append(f", calls waiting: {figures.calls_waiting:,}")
    if figures.calls_shed:
        text.append(f", shed: {_counts(figures.calls_shed)}")
    if figures.handshakes_failed:
        text.append(f", failed TLS handshakes: {figures.handshakes_failed:,}")
    return text


# --- calls


def _calls(report: Report) -> Iterator[RenderableType]:
    figures = [replica.figures for replica in report.replicas if isinstance(replica.figures, Figures)]
    if not figures:
        return
    if len(report.replicas) > 1:
        yield Text(f"of {len(figures)} of {len(report.replicas)} replicas, since the start of each", style="dim")
    rejected: Counter[tuple[str, str]] = Counter()
    calls: Counter[str] = Counter()
    for each in figures:
        rejected.update(each.rejected)
        calls.update(each.calls)
    rows = [
        (sum(each.signing_requests for each in figures), "signing requests", ""),
        (sum(each.certificates for each in figures), "certificates issued", ""),
    ]
    for (reason, code), count in sorted(rejected.items(), key=lambda item: (-item[1], item[0])):
        rows.append((count, f"rejected: {plain(reason)} ({plain(code)})", "yellow"))
    width = max(len(f"{count:,}") for count, _, _ in rows)
    for count, what, style in rows:
        yield _indented(Text(what, style=style, overflow="fold"), f"{count:>{width},} ", style=style)
    if calls:
        yield Text(f"gRPC calls by status: {_counts(dict(sorted(calls.items())))}", overflow="fold")


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{plain(name)} {count:,}" for name, count in counts.items())


# --- agreement


def _agreement(what: str, agreement: Agreement, where: str) -> Text:
    return Text.assemble(f"{what}: ", (agreement.value, _AGREEMENTS[agreement]), f" ({where})", overflow="fold")


def _not_shown(what: str, hidden: NotShown) -> Text:
    style = "yellow" if hidden.asked else "dim"
    return Text(f"{what}: not shown: {plain(hidden.reason)}", style=style, overflow="fold")

"""Live display and summary of the demonstration."""

from collections import deque
from collections.abc import Sequence
from typing import Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from benchmarks.demo.callers import Callers
from benchmarks.demo.figures import Result, StepResult, p99

_BLOCKS: Final = "▁▂▃▄▅▆▇█"
_WIDTH: Final = 60  # bars, one for each sample


class Screen:
    """Screen of the running demonstration.

    Args:
        titles: of all steps.
        callers: the counts that are shown.
        other: figures of the program beside; None if there are none.
    """

    def __init__(self, titles: Sequence[str], callers: Callers, other: Result | None) -> None:
        self._titles = titles
        self._callers = callers
        self._other = other
        self._samples: deque[tuple[int, int]] = deque(maxlen=_WIDTH)
        self._before = (0, 0)
        self.done: list[StepResult] = []
        self.since = (0, 0)

    def sample(self) -> None:
        """Adds the calls since the last sample as one bar."""
        now = (self._callers.answered, self._callers.failed)
        self._samples.append((now[0] - self._before[0], now[1] - self._before[1]))
        self._before = now

    def __rich__(self) -> RenderableType:
        """The whole display."""
        return Group(self._table(), Text(), self._bars(), self._state())

    def _table(self) -> Table:
        table = results_table("", self._other)
        for number, title in enumerate(self._titles):
            if number < len(self.done):
                mark, result = Text("✓", "green"), self.done[number]
            elif number == len(self.done):
                mark = Text("▶", "cyan")
                result = StepResult(title, self._callers.answered - self.since[0], self._callers.failed - self.since[1])
            else:
                mark, result = Text("·", "dim"), None
            add_row(table, mark, title, result, _step(self._other, number))
        return table

    def _bars(self) -> Text:
        top = max((sum(sample) for sample in self._samples), default=0) or 1
        text = Text("calls   ")
        for answered, failed in self._samples:
            bar = _BLOCKS[(answered + failed) * (len(_BLOCKS) - 1) // top]
            text.append(bar, "red" if failed else "green")
        return text

    def _state(self) -> Text:
        issuers = ", ".join(f"{name} {count:,}" for name, count in sorted(self._callers.issuers.items()))
        text = Text(f"signed  {issuers or 'nothing yet'}\n")
        text.append(f"p99     {p99(list(self._callers.seconds)):.1f} ms for a call on a new connection")
        if self._callers.reason:
            text.append(f"\nfailed  {self._callers.reason}", "red")
        return text


def results_table(title: str, other: Result | None) -> Table:
    """An empty table of steps."""
    table = Table(title=title, box=None, pad_edge=False, header_style="bold")
    table.add_column("")
    table.add_column("step", no_wrap=True)
    table.add_column("calls", justify="right")
    table.add_column("failed", justify="right")
    if other is not None:
        table.add_column(f"{other.program}: failed", justify="right")
    return table


def add_row(table: Table, mark: Text, title: str, result: StepResult | None, other: StepResult | None) -> None:
    """Adds the row of a step; cells without a result stay empty."""
    cells: list[RenderableType] = [mark, title]
    if result is None:
        cells += ["", ""]
    else:
        cells += [f"{result.answered + result.failed:,}", _failed(result.failed)]
    if other is not None:
        cells.append(_failed(other.failed, other.answered + other.failed))
    table.add_row(*cells)


def summary(result: Result, other: Result | None) -> RenderableType:
    """The table of all steps and the sums, after the end."""
    table = results_table(f"{result.program}: {result.answered + result.failed:,} calls", other)
    for number, step in enumerate(result.steps):
        add_row(table, Text("✓", "green"), step.title, step, _step(other, number))
    table.add_section()
    total = StepResult("all", result.answered, result.failed)
    total_other = StepResult("all", other.answered, other.failed) if other else None
    add_row(table, Text(), "all", total, total_other)
    lines = Text(f"\n{result.program} exited {result.exits} times; p99 {result.p99_ms:.1f} ms.")
    if result.control:
        lines.append(f"\nControl: {result.control}")
    if other is not None:
        lines.append(f"\n{other.program} exited {other.exits} times and was started again after 1 s each time.")
    return Group(table, lines)


def _step(result: Result | None, number: int) -> StepResult | None:
    return result.steps[number] if result is not None and number < len(result.steps) else None


def _failed(failed: int, calls: int | None = None) -> Text:
    text = f"{failed:,}" if calls is None else f"{failed:,} of {calls:,}"
    return Text(text, "red" if failed else "green")

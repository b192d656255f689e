"""A drawing in a terminal that is not high enough for it."""

import io

import pytest
from rich.console import Console
from rich.live import Live

from sentry_trio.status.drawing import Drawing
from sentry_trio.status.fitting import Fitted
from sentry_trio.status.judging import judge

from .golden import REPORTS
from .test_drawing import drawn


def fitted(name: str, *, height: int, width: int = 80, screen: bool = False) -> str:
    file = io.StringIO()
    console = Console(
        file=file, width=width, height=height, highlight=False, force_terminal=screen, color_system=None, _environ={}
    )
    drawing = Fitted(Drawing(REPORTS[name], judge(REPORTS[name])))
    if screen:
        with Live(drawing, console=console, screen=True, auto_refresh=False) as live:
            live.refresh()
    else:
        console.print(drawing)
    return file.getvalue()


@pytest.mark.parametrize("height", [1, 2, 10, 24])
@pytest.mark.parametrize("name", REPORTS)
def test_the_verdict_is_the_first_line_at_any_height(name: str, height: int) -> None:
    whole = drawn(REPORTS[name]).splitlines()
    lines = fitted(name, height=height).splitlines()
    if len(whole) <= height:
        assert lines == whole
        return
    assert lines[:-1] == whole[: height - 1]
    assert len(lines) == height
    hidden = len(whole) - height + 1
    assert lines[-1] == f"... {hidden} more lines: enlarge the terminal, or look once without --watch"
    assert height == 1 or lines[0].startswith("sentry-trio ")


def test_some_drawing_is_higher_than_a_usual_terminal() -> None:
    assert max(len(drawn(each).splitlines()) for each in REPORTS.values()) > 24


def test_a_screen_takes_no_more_than_its_rows() -> None:
    for name in REPORTS:
        shown = fitted(name, height=24, screen=True)
        last = shown.rpartition("\x1b[H")[2]
        assert last.startswith("sentry-trio ")
        assert last.partition("\x1b")[0].count("\n") <= 23

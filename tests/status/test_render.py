"""Rendered status: whole pictures in tests/status/golden/, and inputs that must not change the terminal.

`python -m tests.status.test_render` draws the pictures anew; look at what has changed before it is committed.
"""

import io
import re
from datetime import timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace
from rich.console import Console
from rich.live import Live

from sentry_trio.status.assess import assess
from sentry_trio.status.certificate_tree import bar, part_left, validity
from sentry_trio.status.render import Rendering
from sentry_trio.status.report import Report
from sentry_trio.status.text import duration, plain
from testkit.ca.making import DAY, HOUR, NOW

from .golden import REPORTS
from .making import ANCHOR, CERTIFICATES, SERVING, link, replica, report

PICTURES = Path(__file__).with_name("golden")
STYLES = {"wide": (100, "utf-8"), "narrow": (46, "ascii")}
CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")


def drawn(given: Report, *, width: int = 80, encoding: str = "utf-8", terminal: bool = False) -> str:
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="backslashreplace", write_through=True)
    console = Console(
        file=file,
        width=width,
        highlight=False,
        markup=False,
        emoji=False,
        force_terminal=terminal,
        color_system="standard" if terminal else None,
        _environ={},
    )
    console.print(Rendering(given, assess(given)))
    file.seek(0)
    return file.read()


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("name", REPORTS)
def test_a_picture(name: str, style: str) -> None:
    width, encoding = STYLES[style]
    assert drawn(REPORTS[name], width=width, encoding=encoding) == (PICTURES / f"{name}-{style}.txt").read_text()


@pytest.mark.parametrize("name", REPORTS)
@pytest.mark.parametrize("width", [20, 35, 60, 80, 200])
def test_at_any_width(name: str, width: int) -> None:
    lines = drawn(REPORTS[name], width=width).splitlines()
    assert max(map(len, lines)) <= width
    assert [line for line in lines if line.endswith(" ")] == []


@pytest.mark.parametrize("name", REPORTS)
def test_without_a_terminal_nothing_steers_one(name: str) -> None:
    assert CONTROL.search(drawn(REPORTS[name])) is None


def test_with_a_terminal_there_are_colours_and_the_same_words() -> None:
    coloured = drawn(REPORTS["attention"], terminal=True)
    assert "\x1b[1;33mneeds attention" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == drawn(REPORTS["attention"])


HOSTILE = "\x1b[2J\x1b]0;title\x07 [bold red]x[/] \x9b31m :smile: \u202e\ud800\r\n"


def test_foreign_text_is_one_plain_line() -> None:
    assert plain(HOSTILE) == "?[2J?]0;title? [bold red]x[/] ?31m :smile: ??"
    assert plain("a\n\tb") == "a b"
    assert plain("x" * 1001) == "x" * 1000 + "..."


def test_no_foreign_text_controls_the_terminal() -> None:
    certificates = tuple(replace(each, role=HOSTILE, subject=HOSTILE) for each in CERTIFICATES)
    given = report(
        replica(HOSTILE, degraded=HOSTILE, version=HOSTILE, last_restart=HOSTILE, certificates=certificates),
        replica("b", ready=False, targets={HOSTILE: False}),
    )
    picture = drawn(given)
    assert CONTROL.search(picture) is None
    assert "[bold red]" in picture


def test_certificates_that_sign_each_other_or_run_deep_are_no_trouble() -> None:
    circle = (link("anchor", "a", "b"), link("anchor", "b", "a"), link("issuer", "c", "c"))
    deep = tuple(link("intermediate", str(number), str(number - 1)) for number in range(1000))
    for certificates in (circle, deep):
        assert "Certificates in use" in drawn(report(replica(certificates=certificates)))


def test_each_of_several_replicas_has_a_serving_certificate_of_its_own() -> None:
    others = (*CERTIFICATES[:-1], link("serving", "0" * 64, CERTIFICATES[-1].signed_by))
    picture = drawn(report(replica("a"), replica("b", certificates=others)))
    assert picture.count("serving  spiffe://") == 2
    assert picture.count("issuer  ") == 1
    assert SERVING not in picture
    assert "of a" in picture
    assert "of b" in picture


def test_an_older_release_reports_fewer_members() -> None:
    picture = drawn(report(replica(certificates=(), version=None, started_at=None, mode=None, loaded_at=None)))
    assert "Certificates" not in picture
    assert "127.0.0.1:8080  ready, run 1\n" in picture


@pytest.mark.parametrize(
    ("length", "said"),
    [
        (timedelta(0), "0 s"),
        (timedelta(seconds=59, milliseconds=999), "59 s"),
        (timedelta(seconds=60), "1 min"),
        (timedelta(minutes=59, seconds=8), "59 min 8 s"),
        (timedelta(hours=23, minutes=59, seconds=59), "23 h 59 min"),
        (timedelta(days=1, minutes=59), "1 d"),
        (timedelta(days=364, hours=23), "364 d 23 h"),
        (-timedelta(hours=3), "3 h"),
        (timedelta.max, "999999999 d 23 h"),
    ],
)
def test_two_units_are_enough(length: timedelta, said: str) -> None:
    assert duration(length) == said


@pytest.mark.parametrize(
    ("begin", "end", "said", "left"),
    [
        (-3 * DAY, DAY, "1 d left", 0.25),
        (-DAY, timedelta(0), "0 s left", 0.0),
        (-DAY, -HOUR, "expired 1 h ago", 0.0),
        (HOUR, DAY, "not valid for another 1 h", 1.0),
        (timedelta(0), DAY, "1 d left", 1.0),
        (DAY, HOUR, "not valid for another 1 d", 0.0),
        (timedelta(0), timedelta(0), "0 s left", 0.0),
    ],
)
def test_the_place_of_a_certificate(begin: timedelta, end: timedelta, said: str, left: float) -> None:
    certificate = link("anchor", ANCHOR, not_before=NOW + begin, not_after=NOW + end)
    assert validity(certificate, NOW) == said
    assert part_left(certificate, NOW) == left


@pytest.mark.parametrize(
    ("part", "drawn"),
    [(0, "----"), (0.001, "#---"), (0.5, "##--"), (0.999, "###-"), (1, "####")],
)
def test_full_and_empty_mean_all_and_nothing(part: float, drawn: str) -> None:
    assert bar(part, 4, unicode=False) == drawn
    assert bar(part, 4, unicode=True) == drawn.replace("#", "█").replace("-", "░")


def test_a_bar_of_one_cell() -> None:
    assert [bar(part, 1, unicode=False) for part in (0, 0.4, 0.6, 1)] == ["-", "-", "#", "#"]


def fitted(name: str, *, height: int, width: int = 80, screen: bool = False) -> str:
    file = io.StringIO()
    console = Console(
        file=file, width=width, height=height, highlight=False, force_terminal=screen, color_system=None, _environ={}
    )
    drawing = Rendering(REPORTS[name], assess(REPORTS[name]), fit=True)
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


if __name__ == "__main__":
    PICTURES.mkdir(exist_ok=True)
    for name, given in REPORTS.items():
        for style, (width, encoding) in STYLES.items():
            (PICTURES / f"{name}-{style}.txt").write_text(drawn(given, width=width, encoding=encoding))

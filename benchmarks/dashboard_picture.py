"""A dashboard of Grafana as a picture: its panels in their places, with their units and thresholds."""

import math
import re
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
import matplotlib.ticker
from matplotlib.axes import Axes
from matplotlib.dates import DateFormatter, date2num
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from testkit.monitoring.expressions import filled
from testkit.monitoring.server import Server

_COLUMNS: Final = 24
_INCHES: Final = (0.80, 0.36)  # of one place in the grid
_APART: Final = (5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600)  # seconds from tick to tick
_POINTS: Final = 200  # in a line
_INK, _FAINT, _PAPER, _PANEL = "#1f2933", "#7b8794", "#f4f5f7", "#ffffff"
_COLOURS: Final = {"green": "#3a9a5b", "orange": "#e08a1e", "red": "#c8352b"}
_PALETTE: Final = ("#2a6f97", "#e08a1e", "#3a9a5b", "#8e5ea2", "#c8352b", "#4bb3c3", "#a17c38", "#6b7280")


@dataclass(frozen=True)
class Span:
    """Time range of the picture, in seconds since 1970, and the window that rates are of."""

    start: float
    end: float
    window: str


@dataclass(frozen=True)
class Line:
    """A series: its legend, and its values over time, in matplotlib's days."""

    legend: str
    times: list[float]
    values: list[float]


def draw(dashboard: dict[str, Any], server: Server, span: Span, path: Path) -> None:
    """Asks Prometheus for every panel and writes a PNG."""
    mpl.use("agg")
    rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in dashboard["panels"])
    width, height = _COLUMNS * _INCHES[0], rows * _INCHES[1] + 0.9
    figure = Figure(figsize=(width, height), facecolor=_PAPER)
    figure.text(0.012, 1 - 0.42 / height, dashboard["title"], fontsize=17, fontweight="bold", color=_INK, va="center")
    moments = [datetime.fromtimestamp(at, UTC) for at in (span.start, span.end)]
    text = f"{moments[0]:%Y-%m-%d %H:%M:%S} to {moments[1]:%H:%M:%S} UTC, rates over {span.window}"
    figure.text(0.988, 1 - 0.42 / height, text, fontsize=10, color=_FAINT, va="center", ha="right")
    for panel in dashboard["panels"]:
        place = _Place(figure, panel["gridPos"], width, height)
        _DRAWN[panel["type"]](place, panel, server, span)
    figure.savefig(path, dpi=100)


class _Place:
    """A panel's place on the figure, in inches from the top left, with its frame drawn."""

    def __init__(self, figure: Figure, grid: dict[str, int], width: float, height: float) -> None:
        self.figure = figure
        self._size = (width, height)
        self.x, self.y = grid["x"] * _INCHES[0] + 0.06, 0.85 + grid["y"] * _INCHES[1] + 0.05
        self.w, self.h = grid["w"] * _INCHES[0] - 0.12, grid["h"] * _INCHES[1] - 0.1

    def frame(self, title: str) -> None:
        x, y = self.at(0, self.h)
        box = Rectangle(
            (x, y),
            self.w / self._size[0],
            self.h / self._size[1],
            transform=self.figure.transFigure,
            color=_PANEL,
            zorder=-1,
        )
        self.figure.add_artist(box)
        self.text(0.12, 0.2, title, fontsize=10, fontweight="bold", color=_INK)

    def at(self, right: float, down: float) -> tuple[float, float]:
        """Figure coordinates of a point of the panel."""
        return (self.x + right) / self._size[0], 1 - (self.y + down) / self._size[1]

    def text(self, right: float, down: float, text: str, **style: Any) -> None:
        self.figure.text(*self.at(right, down), text, **{"va": "center", "color": _INK} | style)

    def axes(self, left: float, top: float, right: float, bottom: float) -> Axes:
        """Axes with so much room around, in inches."""
        x, y = self.at(left, self.h - bottom)
        size = ((self.w - left - right) / self._size[0], (self.h - top - bottom) / self._size[1])
        axes = self.figure.add_axes((x, y, *size), facecolor=_PANEL)
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
        axes.spines["bottom"].set_color("#cbd2d9")
        axes.tick_params(colors=_FAINT, labelsize=8, length=0)
        return axes


# --- asking


def _legend(template: str, metric: dict[str, str]) -> str:
    for label, value in metric.items():
        shown = value[:12] if label == "digest" else value
        template = template.replace(f"{{{{{label}}}}}", shown)
    return " ".join(re.sub(r"{{\w+}}", "", template).split())  # Grafana shows nothing for a label that is missing


def _lines(panel: dict[str, Any], server: Server, span: Span) -> Iterator[Line]:
    step = (span.end - span.start) / _POINTS
    for target in panel["targets"]:
        expression = filled(target["expr"], window=span.window)
        for series in server.query_range(expression, start=span.start, end=span.end, step=step):
            by_time = {float(at): float(value) for at, value in series["values"]}
            moments = [span.start + number * step for number in range(_POINTS + 1)]
            values = [_near(by_time, at, step) for at in moments]
            yield Line(
                _legend(target["legendFormat"], series["metric"]),
                [_day(at) for at in moments],
                values,
            )


def _day(at: float) -> float:
    """A moment as matplotlib counts: in days."""
    return float(date2num(datetime.fromtimestamp(at, UTC)))  # type: ignore[no-untyped-call]


def _near(by_time: dict[float, float], at: float, step: float) -> float:
    """The value at a moment; None in a gap of the series."""
    found = [value for moment, value in by_time.items() if abs(moment - at) < step / 2]
    return found[0] if found else math.nan


def _now(panel: dict[str, Any], server: Server, span: Span) -> list[tuple[str, float]]:
    return [
        (_legend(target["legendFormat"], sample["metric"]), float(sample["value"][1]))
        for target in panel["targets"]
        for sample in server.query(filled(target["expr"], window=span.window))
    ]


# --- units


def _told(value: float, unit: str) -> str:
    """A value as Grafana would write it, or nearly."""
    if unit == "percentunit":
        return f"{value * 100:.3g} %"
    if unit == "bytes":
        return f"{value / 2**20:.4g} MiB"
    if unit == "s":
        return _duration(value)
    return f"{value:.4g}" + {"reqps": " req/s", "cps": " c/s"}.get(unit, "")


def _duration(seconds: float) -> str:
    for size, name in ((86400, "days"), (3600, "h"), (60, "min"), (1, "s"), (1e-3, "ms")):
        if abs(seconds) >= size:
            return f"{seconds / size:.3g} {name}"
    return f"{seconds * 1e6:.3g} µs" if seconds else "0 s"


def _colour(value: float, panel: dict[str, Any]) -> str:
    steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    reached = [step["color"] for step in steps if step["value"] is None or value >= step["value"]]
    return _COLOURS[reached[-1]]


# --- drawing


def _row(place: _Place, panel: dict[str, Any], *_: object) -> None:
    place.text(0.05, place.h / 2, f"▾  {panel['title']}", fontsize=12, fontweight="bold")


def _stat(place: _Place, panel: dict[str, Any], server: Server, span: Span) -> None:
    place.frame(panel["title"])
    unit = panel["fieldConfig"]["defaults"]["unit"]
    for _legend_text, value in _now(panel, server, span):
        style = {"fontsize": 26, "fontweight": "bold", "ha": "center", "color": _colour(value, panel)}
        place.text(place.w / 2, place.h * 0.62, _told(value, unit), **style)


def _bars(place: _Place, panel: dict[str, Any], server: Server, span: Span) -> None:
    place.frame(panel["title"])
    defaults = panel["fieldConfig"]["defaults"]
    bars = sorted(_now(panel, server, span))
    axes = place.axes(0.3 + 0.09 * max((len(legend) for legend, _ in bars), default=0), 0.45, 1.1, 0.15)
    drawn = axes.barh(
        [legend for legend, _ in bars],
        [value for _, value in bars],
        color=[_colour(value, panel) for _, value in bars],
        height=0.6,
    )
    axes.bar_label(drawn, [_told(value, defaults["unit"]) for _, value in bars], padding=5, color=_INK, fontsize=10)
    for step in defaults["thresholds"]["steps"][1:]:
        axes.axvline(step["value"], color=_COLOURS[step["color"]], linestyle=":", linewidth=1)
    axes.set_xlim(left=0)
    axes.set_xticks([])
    axes.tick_params(axis="y", labelsize=9, colors=_INK)
    axes.invert_yaxis()
    axes.spines["bottom"].set_visible(False)


def _series(place: _Place, panel: dict[str, Any], server: Server, span: Span) -> None:
    place.frame(panel["title"])
    defaults = panel["fieldConfig"]["defaults"]
    custom = defaults["custom"]
    lines = [line for line in _lines(panel, server, span) if not all(map(math.isnan, line.values))]
    axes = place.axes(0.85, 0.42, 0.15, 0.62)
    step = custom["lineInterpolation"] == "stepAfter"
    if custom["stacking"]["mode"] == "normal" and lines:
        _stacked(axes, lines, fill=custom["fillOpacity"] / 100, step=step)
    else:
        for line, colour in zip(lines, _PALETTE * len(lines), strict=False):
            drawstyle = "steps-post" if step else "default"
            axes.plot(line.times, line.values, color=colour, linewidth=1.3, label=line.legend, drawstyle=drawstyle)
            axes.fill_between(
                line.times, line.values, color=colour, alpha=custom["fillOpacity"] / 100, step="post" if step else None
            )
    _scaled(axes, defaults, span)
    if lines:
        axes.legend(
            loc="upper left",
            bbox_to_anchor=(-0.02, -0.13),
            ncols=_legend_columns(lines),
            frameon=False,
            fontsize=8,
            handlelength=1.2,
            columnspacing=1.2,
            labelcolor=_INK,
        )
    else:
        text = textwrap.fill(defaults["noValue"], 30)
        axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=_FAINT, fontsize=11)


def _legend_columns(lines: list[Line]) -> int:
    """Number of legends side by side: there is room for two rows of them."""
    longest = max(len(line.legend) for line in lines)
    if longest < 18:
        return 4
    return 1 if longest > 25 and len(lines) <= 2 else 2


def _stacked(axes: Axes, lines: list[Line], *, fill: float, step: bool) -> None:
    base = [0.0] * len(lines[0].values)
    for line, colour in zip(lines, _PALETTE * len(lines), strict=False):
        top = [under + (0.0 if math.isnan(value) else value) for under, value in zip(base, line.values, strict=True)]
        axes.fill_between(line.times, base, top, color=colour, alpha=fill, step="post" if step else None, linewidth=0)
        shown = [math.nan if math.isnan(value) else high for value, high in zip(line.values, top, strict=True)]
        axes.plot(
            line.times,
            shown,
            color=colour,
            linewidth=1.2,
            label=line.legend,
            drawstyle="steps-post" if step else "default",
        )
        base = top


def _scaled(axes: Axes, defaults: dict[str, Any], span: Span) -> None:
    unit = defaults["unit"]
    top = axes.dataLim.y1
    top = top * 1.15 if math.isfinite(top) and top > 0 else 1.0
    if defaults["custom"]["thresholdsStyle"]["mode"] == "dashed":
        # As in Grafana, a threshold does not widen the scale.
        for step in (step for step in defaults["thresholds"]["steps"][1:] if step["value"] <= top):
            axes.axhline(step["value"], color=_COLOURS[step["color"]], linestyle="--", linewidth=1)
    axes.set_ylim(0, top)
    axes.set_xlim(_day(span.start), _day(span.end))
    apart = next((size for size in _APART if (span.end - span.start) / size < 6), _APART[-1])
    ticks = range(math.ceil(span.start / apart) * apart, int(span.end) + 1, apart)
    axes.xaxis.set_major_locator(mpl.ticker.FixedLocator([_day(at) for at in ticks]))
    axes.xaxis.set_major_formatter(DateFormatter("%H:%M:%S"))  # type: ignore[no-untyped-call]
    axes.yaxis.set_major_locator(mpl.ticker.MaxNLocator(4, integer=defaults.get("decimals") == 0))
    axes.yaxis.set_major_formatter(lambda value, _: _told(value, unit))
    axes.grid(axis="y", color="#e4e7eb", linewidth=0.8)
    axes.set_axisbelow(True)


_DRAWN: Final[dict[str, Callable[[_Place, dict[str, Any], Server, Span], None]]] = {
    "row": _row,
    "stat": _stat,
    "bargauge": _bars,
    "timeseries": _series,
}

"""Findings as a picture."""

from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.contenders import FLOOR, FLOOR_TITLES
from benchmarks.findings import KINDS, Contest, Findings, Kind, Spread

_TITLES = {"kept": "kept connections", "new": "a new TLS connection for each call"}
_OURS, _OTHERS, _FLOOR = "#2a6f97", "#a9b4c2", "#c1121f"


def plot(findings: Findings, path: Path) -> None:
    """Writes a PNG: a bar for each contender's CPU per call, with its spread; the floor is a line."""
    mpl.use("agg")
    figure = Figure(figsize=(11, 1.6 + 0.45 * len(findings.contests)), layout="constrained")
    for axes, kind in zip(figure.subplots(1, 2), KINDS, strict=True):
        _draw(axes, kind, findings.contests)
    machine = findings.machine
    figure.suptitle(
        f"Server CPU per SignCertificate, rounds: {findings.rounds}; median, lowest and highest\n"
        f"{machine.processor}, Python {machine.python}, {findings.at}",
        fontsize=10,
    )
    figure.savefig(path, dpi=150)


def _draw(axes: Axes, kind: Kind, contests: list[Contest]) -> None:
    spreads = {each.name: Spread.of(one.cpu_ms for one in each.passes(kind)) for each in contests}
    servers = [each for each in contests if each.name != FLOOR]
    shown = [spreads[each.name] for each in servers]
    bars = axes.barh(
        [each.title for each in servers],
        [one.median for one in shown],
        xerr=[[one.median - one.lowest for one in shown], [one.highest - one.median for one in shown]],
        color=[_OURS if each.name in {"ours", "bare"} else _OTHERS for each in servers],
        capsize=3,
    )
    axes.bar_label(bars, [f"{one.median:.2f}" for one in shown], label_type="edge", padding=6, fontweight="bold")
    axes.margins(x=0.18)
    if FLOOR in spreads:
        floor = spreads[FLOOR].median
        axes.axvline(floor, color=_FLOOR, linestyle="--", label=f"{FLOOR_TITLES[kind]}: {floor:.2f}")
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), frameon=False, fontsize=8)
    axes.invert_yaxis()
    axes.set_title(_TITLES[kind])
    axes.set_xlabel("ms")
    axes.set_xlim(left=0)

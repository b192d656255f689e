"""Conclusions from measurements."""

import pytest

from benchmarks.findings import Contest, Pass, Spread, verdicts
from benchmarks.report import disturbance


def passes(*cpu_ms: float, others: float | None = None) -> list[Pass]:
    return [Pass(calls=1000, seconds=2, cpu_seconds=each, rss_kib=1, others=others) for each in cpu_ms]


def contest(name: str, *cpu_ms: float) -> Contest:
    return Contest(name=name, title=name, kept=passes(*cpu_ms), new=passes(*(2 * each for each in cpu_ms)))


def test_a_pass() -> None:
    (one,) = passes(0.5)
    assert (one.cpu_ms, one.rate) == (0.5, 500)


@pytest.mark.parametrize(
    ("values", "spread"), [([1.0], (1, 1, 1)), ([3.0, 1.0, 2.0], (2, 1, 3)), ([4.0, 1.0], (2.5, 1, 4))]
)
def test_spread(values: list[float], spread: tuple[float, float, float]) -> None:
    assert Spread.of(values) == spread


def test_ratios_are_taken_round_by_round() -> None:
    # The machine was slow in the second round: that is in both, and not in the ratio.
    found = verdicts([contest("other", 1, 10, 1), contest("ours", 0.5, 5, 0.6)])
    assert [(each.kind, each.name, each.ratio, each.met) for each in found] == [
        ("kept", "other", (0.5, 0.5, 0.6), None),
        ("new", "other", (0.5, 0.5, 0.6), None),
    ]


def test_targets() -> None:
    found = verdicts([contest("ours", 1, 1), contest("grpcio", 1, 1), contest("trio-asyncio", 2, 2)])
    assert [(each.name, each.kind, each.target, each.met) for each in found] == [
        ("grpcio", "kept", 0.80, False),
        ("grpcio", "new", 1.20, True),
        ("trio-asyncio", "kept", 0.65, True),
        ("trio-asyncio", "new", 0.55, True),
    ]


def test_without_ours_there_is_nothing_to_compare() -> None:
    assert verdicts([contest("grpcio", 1)]) == []


def test_disturbance() -> None:
    quiet = Contest(name="ours", title="ours", kept=passes(1, others=0.05), new=passes(1))
    busy = Contest(name="ours", title="ours", kept=passes(1, others=0.05), new=passes(1, others=0.42))
    assert disturbance([quiet]) is None
    assert "up to 42 %" in (disturbance([quiet, busy]) or "")

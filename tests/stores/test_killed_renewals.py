"""Whole renewals in files that are killed at random moments: each goes on from what the last kill has left."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("flags", [(), ("keep",)], ids=["discard", "keep"])
@pytest.mark.parametrize("runs", [5, pytest.param(60, marks=pytest.mark.soak)])
def test_killed_renewals_come_to_their_end(tmp_path: Path, runs: int, flags: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "testkit.rotating", str(tmp_path), str(runs), "1", *flags]
    report = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    found = re.fullmatch(r"(\d+) renewals, killed (\d+) times\n", report)
    assert found is not None
    assert int(found[1]) == runs
    assert int(found[2]) > runs

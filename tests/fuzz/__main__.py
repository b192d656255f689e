"""Fuzzes all targets in turns and prints figures: `python -m tests.fuzz --seconds 60 --only certificate,token`."""

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .targets import TARGETS

_BUILD = Path(__file__).parents[2] / "build" / "fuzz"
# Seconds for one input, and MiB: an input of 16 KiB takes milliseconds, so more than this is not linear.
_LIMITS = ("-max_len=16384", "-timeout=5", "-rss_limit_mb=1500", "-print_final_stats=1")


def fuzz(name: str, seconds: int) -> tuple[bool, str]:
    """Returns True if nothing was found, and a line of figures; the log is kept in build/fuzz/."""
    directory = _BUILD / name
    directory.mkdir(parents=True, exist_ok=True)
    options = (*_LIMITS, f"-max_total_time={seconds}", f"-artifact_prefix={_BUILD / name}-")
    command = [sys.executable, "-m", "tests.fuzz.one", name, str(directory), *options]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    (_BUILD / f"{name}.log").write_text(done.stdout + done.stderr)
    runs = re.search(r"^Done (\d+) runs in (\d+) second", done.stderr, re.MULTILINE)
    coverage = [int(each) for each in re.findall(r"\scov: (\d+)", done.stderr)] or [0]
    figures = f"{runs[1]} runs in {runs[2]} s" if runs else "ended early"
    found = "nothing found" if done.returncode == 0 else f"exit code {done.returncode}, see build/fuzz/{name}.log"
    return done.returncode == 0, f"{name:14} {figures}, coverage {coverage[0]} to {coverage[-1]}: {found}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 1 if a target failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(TARGETS), help="targets, with commas")
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time")
    options = parser.parse_args(arguments)
    os.nice(19)
    good = True
    with ThreadPoolExecutor(options.jobs) as pool:
        for passed, line in pool.map(lambda name: fuzz(name, options.seconds), options.only):
            print(line, flush=True)
            good = good and passed
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())

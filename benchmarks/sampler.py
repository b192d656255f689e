"""Runs a module as a program and samples where it spends its CPU time.

`python -m benchmarks.sampler FILE MODULE ARGUMENTS...`: SIGUSR2 begins sampling; SIGUSR2 again ends it and writes the
samples to FILE, as JSON: stacks from the innermost frame out, with how often each was seen.

The kernel's profiling timer counts CPU time, user and system, of all threads; Python runs the handler before the next
bytecode, so that what C code has used falls to the Python function that called it. Unlike tracing, this slows no
function down, be it called ever so often.
"""

import runpy
import signal
import sys
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Final

import msgspec

INTERVAL: Final = 0.001  # seconds of CPU; the kernel's tick, 1 to 10 ms, may be longer
_FRAMES: Final = 12  # of each stack, from the innermost out

Stack = tuple[tuple[str, str], ...]
"""File and function, from the innermost frame out."""


class Sampled(msgspec.Struct):
    """A stack and how often it was seen."""

    stack: Stack
    times: int


class _Sampler:
    def __init__(self, output: Path) -> None:
        self._output = output
        self._seen: Counter[Stack] = Counter()
        self._running = False

    def toggle(self, *_: object) -> None:
        self._running = not self._running
        signal.setitimer(signal.ITIMER_PROF, INTERVAL if self._running else 0, INTERVAL if self._running else 0)
        if not self._running:
            unborn = self._output.with_suffix(".new")
            unborn.write_bytes(msgspec.json.encode([Sampled(stack, times) for stack, times in self._seen.items()]))
            unborn.rename(self._output)

    def sample(self, _: int, frame: FrameType | None) -> None:
        stack: list[tuple[str, str]] = []
        while frame is not None and len(stack) < _FRAMES:
            stack.append((frame.f_code.co_filename, frame.f_code.co_qualname))
            frame = frame.f_back
        self._seen[tuple(stack)] += 1


def main() -> None:
    """Runs the module that the command line names."""
    output, module = Path(sys.argv[1]), sys.argv[2]
    sampler = _Sampler(output)
    signal.signal(signal.SIGPROF, sampler.sample)
    signal.signal(signal.SIGUSR2, sampler.toggle)
    sys.argv[:] = sys.argv[2:]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()

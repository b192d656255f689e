"""Results of the demonstration, and those of Dapr Sentry."""

from pathlib import Path
from typing import Final

import msgspec

RECORDED: Final = Path(__file__).with_name("dapr_sentry.json")


class StepResult(msgspec.Struct, frozen=True):
    """Calls within one step."""

    title: str
    answered: int
    failed: int


class Result(msgspec.Struct, frozen=True):
    """One program under the whole treatment.

    Attributes:
        program: its name and version.
        steps: in order.
        exits: number of times that the process ended and had to be started again.
        p99_ms: 99th percentile of the duration of the last answered calls, in milliseconds.
        control: what callers find if the renewal has no bridge, for people; empty if nothing was renewed.
    """

    program: str
    steps: list[StepResult]
    exits: int
    p99_ms: float
    control: str = ""

    @property
    def answered(self) -> int:
        """Answered calls in all steps."""
        return sum(step.answered for step in self.steps)

    @property
    def failed(self) -> int:
        """Failed calls in all steps."""
        return sum(step.failed for step in self.steps)


def recorded() -> Result:
    """The figures of Dapr Sentry, measured by `python -m benchmarks.demo --program PATH --record`."""
    return msgspec.json.decode(RECORDED.read_bytes(), type=Result)


def record(result: Result) -> None:
    """Replaces the figures of Dapr Sentry."""
    RECORDED.write_bytes(msgspec.json.format(msgspec.json.encode(result)) + b"\n")


def p99(seconds: list[float]) -> float:
    """The 99th percentile in milliseconds; 0 if there are no values."""
    ordered = sorted(seconds)
    return round(1000 * ordered[int(0.99 * (len(ordered) - 1))], 1) if ordered else 0.0

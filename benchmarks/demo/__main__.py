"""Command line of the demonstration: `make demo`."""

import argparse
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn

from rich.console import Console
from rich.live import Live

from benchmarks.demo.callers import Callers
from benchmarks.demo.figures import RECORDED, Result, StepResult, p99, record, recorded
from benchmarks.demo.renewal import FLAGS, Renewal, make_authority
from benchmarks.demo.screen import Screen, summary
from benchmarks.demo.server import OURS, Server
from benchmarks.demo.steps import Step, treatment
from benchmarks.demo.trust import make_authorities
from sentry_trio import __version__
from sentry_trio.client import RequestFailedError

_START_TIMEOUT: Final = 30.0
_SAMPLE: Final = 0.5  # seconds of calls in one bar
_ENDING: Final = (signal.SIGHUP, signal.SIGTERM)
_console: Final = Console()


def main() -> int:
    """Runs the demonstration; returns 1 if a call failed, and 0 if none did."""
    parser = argparse.ArgumentParser(prog="demo", description="Edit, replace and break a CA's files under load.")
    parser.add_argument("--callers", type=int, default=6, help="callers at once (default 6)")
    parser.add_argument("--program", help="path of Dapr Sentry, to treat it instead of sentry-trio")
    parser.add_argument("--name", default="Dapr Sentry", help="name of that program")
    parser.add_argument("--record", action="store_true", help=f"write the result to {RECORDED.name}")
    given = parser.parse_args()
    for number in _ENDING:
        signal.signal(number, _end)
    command = (given.program,) if given.program else (*OURS, *FLAGS)
    name = given.name if given.program else f"sentry-trio {__version__}"
    other = recorded() if RECORDED.exists() and not given.program else None
    result = _run(name, command, given.callers, other, renews=not given.program)
    if result is None:
        return 1
    _console.print(summary(result, other))
    if given.record:
        record(result)
    return 1 if result.failed else 0


def _end(number: int, _frame: FrameType | None) -> NoReturn:
    """Ends the demonstration and its server when the terminal is closed."""
    for each in _ENDING:  # the server is stopped now, also if the terminal's end is signalled twice
        signal.signal(each, signal.SIG_IGN)
    sys.exit(128 + number)


def _run(name: str, command: Sequence[str], number: int, other: Result | None, *, renews: bool) -> Result | None:
    own = make_authority() if renews else {}
    authorities = make_authorities(own.get("ca.crt", b""))
    with tempfile.TemporaryDirectory() as directory:
        server = Server(command, Path(directory), authorities.files(authorities.first))
        callers = Callers(server.port, authorities.anchors, number)
        with server.running():
            try:
                callers.wait_for_answer(_START_TIMEOUT)
            except RequestFailedError as error:
                _console.print(f"{name} does not answer: {error}\n{server.last_lines()}", markup=False)
                return None
            steps = treatment(server, authorities)
            renewal = Renewal(server, callers, own) if renews else None
            if renewal is not None:
                steps += renewal.steps(authorities.anchors)
            with callers.running():
                done = _show(steps, callers, other)
            control = renewal.control(command) if renewal is not None else ""
        return Result(name, done, server.exits, p99(list(callers.seconds)), control)


def _show(steps: Sequence[Step], callers: Callers, other: Result | None) -> list[StepResult]:
    """Makes all steps and draws them; returns their results."""
    screen = Screen([step.title for step in steps], callers, other)
    with Live(screen, console=_console, refresh_per_second=4, transient=True) as live:
        for step in steps:
            screen.since = (callers.answered, callers.failed)
            _make(step, screen)
            answered, failed = callers.answered - screen.since[0], callers.failed - screen.since[1]
            screen.done.append(StepResult(step.title, answered, failed))
            live.refresh()
    return screen.done


def _make(step: Step, screen: Screen) -> None:
    """Makes one change and samples the calls for as long as the step takes."""
    end = time.monotonic() + step.seconds
    acting = threading.Thread(target=step.act)
    acting.start()
    while time.monotonic() < end or acting.is_alive():
        time.sleep(_SAMPLE)
        screen.sample()
    acting.join()


if __name__ == "__main__":
    sys.exit(main())

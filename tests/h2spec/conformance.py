"""h2spec, the HTTP/2 conformance tests: built from the module beside this file, run, its report read."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

import trio

from testkit.go_modules import GoModule

_CASES: Final = 146  # of the version that go.mod pins: fewer were not run, whatever the report contains
_SECONDS: Final = 2  # that a server may take to react

# Cases that may fail, each with the reason why what the server does is right nevertheless.
EXCEPTIONS: Final[Mapping[str, str]] = {}


@dataclass(frozen=True, slots=True)
class Report:
    """The cases by what became of them, each named by its section and what it does; of failed ones, what was seen."""

    passed: tuple[str, ...]
    failed: Mapping[str, str]
    skipped: tuple[str, ...]

    def complaints(self, exceptions: Mapping[str, str] = EXCEPTIONS) -> list[str]:
        """Reasons why the server does not conform; empty if it does."""
        unnamed = [f"{name}: {seen}" for name, seen in self.failed.items() if name not in exceptions]
        stale = [f"{name}: named as an exception, but did not fail" for name in exceptions if name not in self.failed]
        run = len(self.passed) + len(self.failed) + len(self.skipped)
        missing = [] if run == _CASES else [f"{run} cases were run instead of {_CASES}"]
        return unnamed + stale + missing

    def __str__(self) -> str:
        return f"{len(self.passed)} passed, {len(self.failed)} failed, {len(self.skipped)} skipped"


def read_report(junit: str) -> Report:
    """Reads the report that h2spec has written."""
    passed, failed, skipped = [], {}, []
    for suite in ET.fromstring(junit):
        for case in suite:
            name = f"{suite.get('package')}: {case.get('classname')}"
            if (failure := case.find("failure")) is not None:
                failed[name] = " ".join("".join(failure.itertext()).split())
            elif case.find("skipped") is not None:
                skipped.append(name)
            else:
                passed.append(name)
    return Report(tuple(passed), failed, tuple(skipped))


def build() -> Path:
    """Builds h2spec into Go's own cache; a second or so where that was done before.

    Raises:
        UnavailableError: there is no Go here, or its modules cannot be had.
    """
    return GoModule(Path(__file__).parent, "h2spec").fetched().build("github.com/summerwind/h2spec/cmd/h2spec")


async def examine(h2spec: Path, port: int, report: Path) -> Report:
    """Runs every case against a TLS server on loopback; the report is written to a file and returned."""
    flags = ["--tls", "--insecure", f"--timeout={_SECONDS}", f"--port={port}", f"--junit-report={report}"]
    await trio.run_process([h2spec, *flags], capture_stdout=True, check=False)
    return read_report(report.read_text())

"""HTTP/2 conformance, and that a lack of it would be noticed."""

from pathlib import Path

import pytest

from testkit.go_modules import UnavailableError
from testkit.grpc.toys import serving

from .conformance import Report, build, examine, read_report


async def test_the_server_conforms(tmp_path: Path) -> None:
    try:
        h2spec = build()
    except UnavailableError as error:
        pytest.skip(str(error))
    async with serving() as server:
        report = await examine(h2spec, server.port, tmp_path / "report.xml")
    assert report.complaints() == []
    assert report.skipped == ()


REPORT = """<?xml version="1.0" encoding="UTF-8"?>
<testsuites>
  <testsuite name="5.1. States" package="http2/5.1" id="1" tests="3" skipped="1" failures="1" errors="0">
    <testcase package="http2/5.1" classname="Sends one" time="0.1"></testcase>
    <testcase package="http2/5.1" classname="Sends two" time="0.1"><failure>
Expected: this
Actual: that</failure></testcase>
    <testcase package="http2/5.1" classname="Sends three" time="0.1"><skipped></skipped></testcase>
  </testsuite>
</testsuites>"""


def test_a_report_is_read() -> None:
    report = read_report(REPORT)
    assert report == Report(
        ("http2/5.1: Sends one",),
        {"http2/5.1: Sends two": "Expected: this Actual: that"},
        ("http2/5.1: Sends three",),
    )
    assert str(report) == "1 passed, 1 failed, 1 skipped"


@pytest.mark.parametrize(
    ("failed", "exceptions", "complaints"),
    [
        ({}, {}, []),
        ({"a": "seen"}, {}, ["a: seen"]),
        ({"a": "seen"}, {"a": "a reason"}, []),
        ({}, {"a": "a reason"}, ["a: named as an exception, but did not fail"]),
    ],
)
def test_complaints_are_unexpected_failures_and_stale_exceptions(
    failed: dict[str, str], exceptions: dict[str, str], complaints: list[str]
) -> None:
    passed = tuple(map(str, range(146 - len(failed))))
    assert Report(passed, failed, ()).complaints(exceptions) == complaints


def test_cases_that_were_not_run_are_missed() -> None:
    assert Report((), {}, ()).complaints() == ["0 cases were run instead of 146"]

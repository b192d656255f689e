"""`sentry-trio audit verify`: whether an audit log is as it was written."""

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Final

from sentry_trio.audit.chain import LaterVersionError
from sentry_trio.audit.verify import Findings, Report, Verifier

_STDIN: Final = "-"
_CHUNK: Final = 1024 * 1024
_INTACT, _BROKEN, _NOT_UNDERSTOOD = 0, 1, 2
_EXAMPLES: Final = """\
examples:
  sentry-trio audit verify /var/log/sentry/audit.log
  several files of one chain, the oldest first:
    cat audit.log.2 audit.log.1 audit.log | sentry-trio audit verify -
  that nothing is missing at the end, by a hash that was kept elsewhere:
    sentry-trio audit verify audit.log --expect-last 6c0f...
  of a process that writes it to standard output:
    kubectl logs -n dapr-system dapr-sentry-0 | sentry-trio audit verify - --among-logs

Exit codes: 0 intact; 1 broken, and each fault is told in a line; 2 not understood: no audit log, or not to be read.
"""


def parser() -> argparse.ArgumentParser:
    """The parser of the command's arguments."""
    made = argparse.ArgumentParser(prog="sentry-trio audit", description="Work with audit logs.")
    commands = made.add_subparsers(required=True, metavar="verify")
    verify = commands.add_parser(
        "verify",
        help="find what was altered, taken out, put in or moved",
        description="Find what was altered, taken out, put in or moved in an audit log.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = verify.add_argument
    add("file", metavar="FILE", help="the audit log; - for standard input")
    add("--expect-last", metavar="HASH", type=_hash, help="hash that the last line must have")
    add("--expect", metavar="HASH", type=_hash, action="append", default=[], help="hash that a line must have")
    add("--among-logs", action="store_true", help="pass over other lines, as in the output of a container")
    return made


def run(arguments: Sequence[str], _environ: Mapping[str, str]) -> int:
    """Verifies an audit log, prints what it found; returns the exit code."""
    asked = parser().parse_args(arguments)
    verifier = Verifier(among_logs=asked.among_logs, expected=frozenset(asked.expect), expected_last=asked.expect_last)
    name = "standard input" if asked.file == _STDIN else asked.file
    try:
        with nullcontext(sys.stdin.buffer) if asked.file == _STDIN else Path(asked.file).open("rb") as file:
            while chunk := file.read(_CHUNK):
                verifier.feed(chunk)
    except OSError as error:
        return _not_understood(f"cannot read {name}: {error.strerror}")
    except LaterVersionError:
        return _not_understood(f"{name} was written by a later release: verify it with that")
    report = verifier.finish()
    if report.is_foreign:
        return _not_understood(f"{name} has no line of an audit log")
    _print_report(report)
    return _INTACT if report.is_intact else _BROKEN


def _hash(text: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{64}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no SHA-256 in 64 hexadecimal digits")
    return text


def _not_understood(text: str) -> int:
    print(f"sentry-trio audit: {text}", file=sys.stderr)
    return _NOT_UNDERSTOOD


def _print_report(report: Report) -> None:
    _print_findings("broken", report.faults)
    _print_findings("note", report.notes)
    if report.others:
        print(f"note: {report.others} other lines were passed over")
    if report.first is None or report.last is None:
        return
    if not report.is_closed:
        print("note: the last line does not close the log: the process goes on, or was killed, or lines are missing")
    verdict = "intact" if report.is_intact else "broken"
    print(
        f"{verdict}: {report.lines} lines, seq {report.first.link.seq} to {report.last.link.seq}, "
        f"from {report.first.time} to {report.last.time}, last hash {report.last.link.hash}"
    )


def _print_findings(kind: str, findings: Findings) -> None:
    for text in findings.texts:
        print(f"{kind}: {text}")
    if more := findings.count - len(findings.texts):
        print(f"{kind}: and {more} more")

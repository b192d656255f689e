"""`sentry-trio audit verify`: finds tampering in an audit log."""

import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Final

import msgspec

from sentry_trio.audit.chain import LaterVersionError
from sentry_trio.audit.verify import Findings, VerificationReport, Verifier
from sentry_trio.errors import InvalidOptionsError
from sentry_trio.settings.flags import REQUIRED, Kind, declare, parse_flags

_STDIN: Final = "-"
_CHUNK: Final = 1024 * 1024
_HASH: Final = re.compile(r"[0-9a-f]{64}")
_INTACT, _BROKEN, _NOT_UNDERSTOOD = 0, 1, 2


def _hashes(flag: str, texts: Sequence[str]) -> frozenset[str]:
    for text in texts:
        if not _HASH.fullmatch(text):
            raise InvalidOptionsError(f"invalid --{flag} {text!r}: expected a SHA-256 in 64 hexadecimal digits")
    return frozenset(texts)


def _hash(flag: str, text: str) -> str:
    (found,) = _hashes(flag, [text])
    return found


class AuditOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Arguments of `audit`."""

    action: str = declare(
        Kind.STRING,
        REQUIRED,
        "find lines that were altered, removed, inserted or moved",
        choices=("verify",),
        metavar="verify",
        is_positional=True,
    )
    file: str = declare(
        Kind.STRING, REQUIRED, "the audit log; - for standard input", metavar="FILE", is_positional=True
    )
    expect_last: str | None = declare(
        Kind.STRING, None, "hash that the last line must have", metavar="HASH", check=_hash
    )
    expect: frozenset[str] = declare(
        Kind.REPEATED, (), "hash that a line must have; may be repeated", metavar="HASH", check=_hashes
    )
    among_logs: bool = declare(Kind.BOOL, default=False, help="ignore other lines, as in the output of a container")


OPTIONS: Final = AuditOptions
EXAMPLES: Final = """\
Examples:
  sentry-trio audit verify /var/log/sentry/audit.log
  verify several files of one chain, the oldest first:
    cat audit.log.2 audit.log.1 audit.log | sentry-trio audit verify -
  verify that no line is missing at the end, by a hash that was stored elsewhere:
    sentry-trio audit verify audit.log --expect-last 6c0f...
  verify the audit log of a process that writes it to standard output:
    kubectl logs -n dapr-system dapr-sentry-0 | sentry-trio audit verify - --among-logs

Exit codes: 0 intact; 1 broken, with a line for each fault; 2 not an audit log, not readable, or the command line is
wrong.
"""


def run(arguments: Sequence[str], _environ: Mapping[str, str]) -> int:
    """Verifies an audit log and prints the findings; returns the exit code."""
    options = parse_flags(AuditOptions, arguments)
    verifier = Verifier(among_logs=options.among_logs, expected=options.expect, expected_last=options.expect_last)
    name = "standard input" if options.file == _STDIN else options.file
    try:
        with nullcontext(sys.stdin.buffer) if options.file == _STDIN else Path(options.file).open("rb") as file:
            while chunk := file.read(_CHUNK):
                verifier.feed(chunk)
    except OSError as error:
        return _not_understood(f"cannot read {name}: {error.strerror}")
    except LaterVersionError:
        return _not_understood(f"{name} was written by a later release: verify it with that release")
    report = verifier.finish()
    if report.is_foreign:
        return _not_understood(f"{name} is not an audit log")
    _print_report(report)
    return _INTACT if report.is_intact else _BROKEN


def _not_understood(text: str) -> int:
    print(f"sentry-trio audit: {text}", file=sys.stderr)
    return _NOT_UNDERSTOOD


def _print_report(report: VerificationReport) -> None:
    _print_findings("broken", report.faults)
    _print_findings("note", report.notes)
    if report.others:
        print(f"note: {report.others} other lines were ignored")
    if report.first is None or report.last is None:
        return
    if not report.is_closed:
        print(
            "note: the log does not end with a 'closed' line: the process is running or was killed, or lines are "
            "missing"
        )
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

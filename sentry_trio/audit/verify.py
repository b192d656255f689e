"""Finds altered, removed, inserted and moved lines of an audit log, in constant memory. No IO.

A hash chain shows that its lines are unchanged and in order. It does not show that lines are missing at the end: that
needs the last hash from another source. Nor does it show who wrote it: a program that can replace the file can make a
new chain.
"""

import json
from typing import Final

import msgspec

from sentry_trio.audit.chain import MAX_LINE, START, InvalidLineError, Line, PartialLine, read_line

_MAX_TEXTS: Final = 20
"""Faults, and notes, that are reported one by one; further ones are counted."""

_MAX_VALUE: Final = 100
_MARK: Final = b'{"audit":'


class Findings(msgspec.Struct):
    """Faults or notes: the texts of the first, and their number."""

    texts: list[str] = msgspec.field(default_factory=list)
    count: int = 0

    def add(self, text: str) -> None:
        """Adds one."""
        self.count += 1
        if len(self.texts) < _MAX_TEXTS:
            self.texts.append(text)


class VerificationReport(msgspec.Struct):
    """Result of a verification.

    Attributes:
        lines: number of valid lines of the log.
        first: the first of these; None if there is none.
        last: the last of these.
        faults: violations, each with the number of its line.
        notes: gaps and joints that the log itself reports.
        others: number of lines of something else that were skipped.
        is_closed: the last line closes the log.
        is_foreign: nothing in it looks like a line of an audit log.
    """

    lines: int = 0
    first: Line | None = None
    last: Line | None = None
    faults: Findings = msgspec.field(default_factory=Findings)
    notes: Findings = msgspec.field(default_factory=Findings)
    others: int = 0
    is_closed: bool = False
    is_foreign: bool = True

    @property
    def is_intact(self) -> bool:
        """Returns True if nothing is wrong."""
        return self.faults.count == 0


class Verifier:
    """Verifies a log that is read in pieces of any size.

    Args:
        among_logs: ignore lines of other logs between those of the chain, and accept a new chain from each process,
            as in the output of a container.
        expected: hashes that were kept elsewhere; each must be that of a line.
        expected_last: a hash that was kept elsewhere; it must be that of the last line.
    """

    def __init__(
        self, *, among_logs: bool = False, expected: frozenset[str] = frozenset(), expected_last: str | None = None
    ) -> None:
        self._among_logs = among_logs
        self._missing = set(expected)
        self._expected_last = expected_last
        self._report = VerificationReport()
        self._rest = b""
        self._is_overlong = False
        self._number = 0  # of the current line
        self._link = START
        self._invalid: _InvalidLines | None = None

    def feed(self, data: bytes) -> None:
        """Reads the next piece.

        Raises:
            LaterVersionError: a line has a format that is not known here.
        """
        pieces = (self._rest + data).split(b"\n")
        self._rest = pieces.pop()
        for piece in pieces:
            self._end_line(piece)
        if len(self._rest) > MAX_LINE:
            # No line is so long. It is hashed, not kept.
            self._add_invalid(self._rest, "is not a line of an audit log", begins=not self._is_overlong)
            self._is_overlong, self._rest = True, b""

    def finish(self) -> VerificationReport:
        """Returns the report; nothing follows."""
        report, invalid = self._report, self._invalid
        if self._rest or self._is_overlong:
            number = self._number if self._is_overlong else self._number + 1
            report.notes.add(f"line {number} is incomplete: it is being written, or a crash cut it short")
            if invalid is not None and self._is_overlong and invalid.lines == 1:
                invalid = None
        if invalid is not None:
            report.faults.add(invalid.fault)
        for missing in sorted(self._missing):
            report.faults.add(f"no line has the expected hash {missing}: lines are missing, or the chain was replaced")
        if self._expected_last is not None and (report.last is None or self._link.hash != self._expected_last):
            report.faults.add(
                f"the last hash is {self._link.hash}, but {self._expected_last} was expected: "
                "lines at the end are missing, or lines were added"
            )
        return report

    def _end_line(self, piece: bytes) -> None:
        if self._is_overlong:
            self._is_overlong = False
            self._add_invalid(piece + b"\n", "", begins=False)
            return
        is_marked = piece.startswith(_MARK)
        if is_marked:
            self._report.is_foreign = False
        try:
            line = read_line(piece)
        except InvalidLineError as error:
            if self._among_logs and not is_marked:
                self._number += 1
                self._report.others += 1
            else:
                self._add_invalid(piece + b"\n", str(error), begins=True)
            return
        self._number += 1
        self._check_cut(line)
        self._count(line)

    def _add_invalid(self, data: bytes, why: str, *, begins: bool) -> None:
        """Remembers an invalid line until the next valid one says that it was cut short, or does not."""
        if begins:
            self._number += 1
        if self._invalid is None:
            self._invalid = _InvalidLines(self._number, why)
        self._invalid.bytes = PartialLine(data, self._invalid.bytes)
        self._invalid.lines += begins

    def _check_cut(self, line: Line) -> None:
        """Checks a line against the invalid lines before it, and then its place."""
        invalid, self._invalid = self._invalid, None
        cut = line.members.get("cut")
        gap = 0
        if cut is not None and (invalid is None or invalid.bytes.cut != cut):
            found = "there are no such bytes" if invalid is None else f"{invalid.where} {invalid.verb} different"
            self._fault(f"reports bytes before it that a crash cut short, but {found}")
        elif invalid is not None and cut is None:
            self._report.faults.add(invalid.fault)
            gap = invalid.lines
        elif invalid is not None:
            self._note(f"line {self._number} reports that a crash or a full disk cut short {invalid.where}")
        self._check_place(line, gap)

    def _check_place(self, line: Line, gap: int) -> None:
        """Checks a line against the one before it. The next is checked against this one in any case.

        Args:
            line: the line.
            gap: number of invalid lines between the two.
        """
        before, seq = self._link, line.link.seq
        begins = line.members.get("begins") if line.members.get("event") == "opened" else None
        if self._report.first is None:
            self._check_first(line, begins, gap)
        elif begins == "anew" and self._among_logs:
            self._note(f"line {self._number} begins another chain: another process was started")
        elif begins in ("anew", "after_damage"):
            self._fault("begins another chain")
        elif seq <= before.seq:
            self._fault(f"is out of order or duplicated: seq {seq} comes after seq {before.seq}")
        elif seq > before.seq + 1 + gap:
            missing = seq - before.seq - 1 - gap
            self._fault(
                f"does not continue the previous line: lines missing between seq {before.seq} and seq {seq}: {missing}"
            )
        elif seq == before.seq + 1 and line.prev != before.hash:
            self._fault(
                f"does not continue the previous line: it was written after a different line with seq {before.seq}"
            )

    def _check_first(self, line: Line, begins: object, gap: int) -> None:
        if begins == "moved":
            self._note(f"the chain continues from another file, whose last hash is {line.prev}")
        elif begins not in ("anew", "after_damage") or (line.prev, line.link.seq) != (START.hash, START.seq + 1):
            if gap == 0:
                self._fault(f"does not begin a chain: lines before seq {line.link.seq} are missing")
        elif begins == "after_damage" and gap == 0:
            self._fault("reports a damaged line before it, but there is none")

    def _count(self, line: Line) -> None:
        report = self._report
        report.lines += 1
        report.first = report.first or line
        report.last = line
        event = line.members.get("event")
        report.is_closed = event == "closed"
        self._link = line.link
        self._missing.discard(line.link.hash)
        if event == "resumed":
            self._note_losses(line)

    def _note_losses(self, line: Line) -> None:
        lost, unsynced = line.members.get("lost"), line.members.get("unsynced")
        if lost is not None:
            self._note(f"line {self._number} reports that decisions before it were lost: {_bounded_json(lost)}")
        if unsynced is not None:
            seqs = _bounded_json(unsynced)
            self._note(f"line {self._number}: certificates of lines with seq {seqs} were not sent")

    def _fault(self, text: str) -> None:
        self._report.faults.add(f"line {self._number} {text}")

    def _note(self, text: str) -> None:
        self._report.notes.add(text)


class _InvalidLines(msgspec.Struct):
    """Consecutive invalid lines.

    Attributes:
        number: number of the first line.
        why: it is invalid.
        lines: number of lines.
        bytes: all of them.
    """

    number: int
    why: str
    lines: int = 0
    bytes: PartialLine = msgspec.field(default_factory=lambda: PartialLine(b""))

    @property
    def where(self) -> str:
        last = self.number + self.lines - 1
        return f"line {self.number}" if self.lines == 1 else f"line {self.number} and those to line {last}"

    @property
    def verb(self) -> str:
        return "is" if self.lines == 1 else "are"

    @property
    def fault(self) -> str:
        return f"{self.where} {self.why}"


def _bounded_json(value: object) -> str:
    """A value of a line in a form that is safe on a terminal."""
    return json.dumps(value)[:_MAX_VALUE]

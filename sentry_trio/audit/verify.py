"""Finds what was altered, taken out, put in or moved in an audit log, in constant memory. No IO.

A hash chain shows that lines belong together as they are. It does not show that the chain ends where it did: for that
its last hash has to be known from elsewhere. Nor does it show who wrote it: whoever can replace the whole file can make
a new chain of all that is in it.
"""

import json
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from sentry_trio.audit.batch import Torn
from sentry_trio.audit.chain import LONGEST, START, InvalidLineError, Line, read_line

_TOLD: Final = 20
"""Faults, and notes, that are told one by one; more of them are counted."""

_LONGEST_SHOWN: Final = 100
_MARK: Final = b'{"audit":'


@dataclass(slots=True)
class Findings:
    """What is wrong or worth knowing: the first of them, and how many there are."""

    told: list[str] = field(default_factory=list)
    count: int = 0

    def add(self, text: str) -> None:
        """One more."""
        self.count += 1
        if len(self.told) < _TOLD:
            self.told.append(text)


@dataclass(slots=True)
class Report:
    """What was found.

    Attributes:
        lines: of the log that are as they were written.
        first: of these; None where there is none.
        last: of these.
        faults: what is wrong, each with the number of the line that shows it.
        notes: what the log says of its own gaps and joints.
        others: lines of something else that were passed over.
        is_closed: whether the last line says that no more was to come.
        is_foreign: nothing in it looks like a line of an audit log.
    """

    lines: int = 0
    first: Line | None = None
    last: Line | None = None
    faults: Findings = field(default_factory=Findings)
    notes: Findings = field(default_factory=Findings)
    others: int = 0
    is_closed: bool = False
    is_foreign: bool = True

    @property
    def is_intact(self) -> bool:
        """Whether nothing is wrong."""
        return self.faults.count == 0


class Verifier:
    """Takes a log in pieces of any size, and reports when it has ended.

    Args:
        among_logs: other lines stand between those of the chain, and each process begins one of its own: the output
            of a container.
        expected: hashes that were kept elsewhere; each must be that of a line.
        expected_last: a hash that was kept elsewhere; it must be that of the last line.
    """

    def __init__(
        self, *, among_logs: bool = False, expected: frozenset[str] = frozenset(), expected_last: str | None = None
    ) -> None:
        self._among_logs = among_logs
        self._missing = set(expected)
        self._expected_last = expected_last
        self._report = Report()
        self._rest = b""
        self._overlong = False
        self._number = 0  # of the present line
        self._link = START
        self._bad: _Bad | None = None

    def feed(self, data: bytes) -> None:
        """Takes what comes next.

        Raises:
            LaterVersionError: a line has a form that is not known here.
        """
        pieces = deque((self._rest + data).split(b"\n"))
        self._rest = pieces.pop()
        for piece in pieces:
            self._line_ended(piece)
        if len(self._rest) > LONGEST:
            # No line is so long. It is hashed, not kept.
            self._invalid(self._rest, "is no line of an audit log", begins=not self._overlong)
            self._overlong, self._rest = True, b""

    def finish(self) -> Report:
        """There is no more."""
        report = self._report
        bad = self._bad
        if self._rest or self._overlong:
            number = self._number if self._overlong else self._number + 1
            report.notes.add(f"line {number} is not whole: it is being written, or was cut short by a crash")
            if bad is not None and self._overlong and bad.lines == 1:
                bad = None
        if bad is not None:
            self._blame(bad)
        for missing in sorted(self._missing):
            report.faults.add(f"no line has the expected hash {missing}: lines are missing, or the chain was made anew")
        if self._expected_last is not None and (report.last is None or self._link.hash != self._expected_last):
            report.faults.add(
                f"the last hash is {self._link.hash}, and {self._expected_last} was expected: "
                "lines at the end are missing, or came after it"
            )
        return report

    def _line_ended(self, piece: bytes) -> None:
        if self._overlong:
            self._overlong = False
            self._invalid(piece + b"\n", "", begins=False)
            return
        if piece.startswith(_MARK):
            self._report.is_foreign = False
        try:
            line = read_line(piece)
        except InvalidLineError as error:
            if self._among_logs and not piece.startswith(_MARK):
                self._number += 1
                self._report.others += 1
                return
            self._invalid(piece + b"\n", str(error), begins=True)
            return
        self._number += 1
        self._check_place(line)
        self._count(line)

    def _invalid(self, data: bytes, why: str, *, begins: bool) -> None:
        """Keeps in mind what is no line, until one says that it was cut short or none does."""
        if begins:
            self._number += 1
        if self._bad is None:
            self._bad = _Bad(self._number, why)
        self._bad.add(data, begins=begins)

    def _check_place(self, line: Line) -> None:
        """Holds a line to the one before it. Whatever is found, the next is held to this one."""
        bad, self._bad = self._bad, None
        cut = line.members.get("cut")
        if cut is not None and (bad is None or bad.torn.told != cut):
            self._fault(f"tells of bytes before it that were cut short by a crash, and {_other(bad)}")
        elif bad is not None and cut is None:
            self._blame(bad)
        elif bad is not None:
            self._note(f"line {self._number} says that {bad.where} was cut short by a crash or a full disk")
        self._check_link(line, after_bad=0 if bad is None or cut is not None else bad.lines)

    def _check_link(self, line: Line, *, after_bad: int) -> None:
        before, seq = self._link, line.link.seq
        begins = _beginning(line)
        if self._report.first is None:
            self._check_first(line, begins, after_bad=after_bad)
        elif begins == "anew" and self._among_logs:
            self._note(f"line {self._number} begins another chain: another process was started")
        elif begins in {"anew", "after_damage"}:
            self._fault("begins another chain")
        elif seq <= before.seq:
            self._fault(f"is not in its place, or there twice: seq {seq} comes after seq {before.seq}")
        elif seq > before.seq + 1 + after_bad:
            missing = seq - before.seq - 1 - after_bad
            self._fault(f"does not follow the line before: {missing} missing between seq {before.seq} and seq {seq}")
        elif seq == before.seq + 1 and line.prev != before.hash:
            self._fault(f"does not follow the line before: it was written after another with seq {before.seq}")

    def _check_first(self, line: Line, begins: str | None, *, after_bad: int) -> None:
        if begins == "moved":
            self._note(f"the chain goes on from another file, whose last hash is {line.prev}")
        elif begins not in {"anew", "after_damage"} or (line.prev, line.link.seq) != (START.hash, START.seq + 1):
            if after_bad == 0:
                self._fault(f"does not begin a chain: lines before seq {line.link.seq} are missing")
        elif begins == "after_damage" and after_bad == 0:
            self._fault("says that it comes after damage, of which nothing is there")

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
            self._tell_resumed(line)

    def _tell_resumed(self, line: Line) -> None:
        lost, unsynced = line.members.get("lost"), line.members.get("unsynced")
        if lost is not None:
            self._note(f"line {self._number} says that decisions before it were lost: {_shown(lost)}")
        if unsynced is not None:
            self._note(
                f"line {self._number} says that what is issued in lines with seq {_shown(unsynced)} was refused instead"
            )

    def _blame(self, bad: "_Bad") -> None:
        self._report.faults.add(f"{bad.where} {bad.why}")

    def _fault(self, text: str) -> None:
        self._report.faults.add(f"line {self._number} {text}")

    def _note(self, text: str) -> None:
        self._report.notes.add(text)


class _Bad:
    """Lines in a row that are none of a chain."""

    def __init__(self, number: int, why: str) -> None:
        self.why = why
        self.torn = Torn(b"")
        self.lines = 0
        self._number = number

    @property
    def where(self) -> str:
        last = self._number + self.lines - 1
        return f"line {self._number}" if last == self._number else f"line {self._number} and those to line {last}"

    def add(self, data: bytes, *, begins: bool) -> None:
        self.torn = Torn(data, self.torn)
        self.lines += begins


def _other(bad: "_Bad | None") -> str:
    return "there are none" if bad is None else f"{bad.where} {'is' if bad.lines == 1 else 'are'} not these"


def _beginning(line: Line) -> str | None:
    """How a line that a process has begun with says that its chain begins."""
    begins = line.members.get("begins")
    return begins if line.members.get("event") == "opened" and isinstance(begins, str) else None


def _shown(value: object) -> str:
    """What a line says, as it may stand on a terminal."""
    return json.dumps(value)[:_LONGEST_SHOWN]

"""Whatever is done to a chain is found, at its line; what a chain cannot show is found by a hash kept elsewhere."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentry_trio.audit.chain import MAX_LINE, START, Batches, ChainEnd, ChainPosition, make_line, read_line
from sentry_trio.audit.verify import VerificationReport
from testkit.audit_chains import chain, members, opening, verified

LINES = chain(decisions=6)
WHOLE = b"".join(LINES)
LAST = read_line(LINES[-1].rstrip(b"\n")).link.hash

POSITION = st.integers(0, len(LINES) - 1)


def faults(lines: list[bytes], **options: Any) -> list[str]:
    return verified(b"".join(lines), **options).faults.texts


def test_an_unchanged_log_is_intact() -> None:
    report = verified(WHOLE)
    assert report.is_intact
    assert report.notes.texts == []
    assert (report.lines, report.is_closed) == (8, True)
    assert report.first is not None
    assert report.last is not None
    assert (report.first.link.seq, report.last.link.seq, report.last.link.hash) == (1, 8, LAST)
    assert report.last.time == "2026-03-01T12:00:00.000000Z"


@given(st.lists(st.integers(0, len(WHOLE)), max_size=9))
def test_the_size_of_pieces_does_not_matter(cuts: list[int]) -> None:
    ends = [0, *sorted(cuts), len(WHOLE)]
    report = verified([WHOLE[start:end] for start, end in pairwise(ends)])
    assert report.is_intact
    assert report.lines == len(LINES)


@given(st.data())
def test_any_edit_is_found(data: st.DataObject) -> None:
    """But for that of the last newline: a line that has not ended is what a live log ends with, and is noted."""
    at = data.draw(st.integers(0, len(WHOLE) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda other: other != WHOLE[at]))
    report = verified(WHOLE[:at] + bytes([byte]) + WHOLE[at + 1 :])
    if at == len(WHOLE) - 1:
        assert report.notes.count == 1
    else:
        number = WHOLE[:at].count(b"\n") + 1
        assert report.faults.texts[0].startswith(f"line {number} ")


@given(POSITION)
def test_any_line_that_is_taken_out_is_found(at: int) -> None:
    found = faults([*LINES[:at], *LINES[at + 1 :]], expected_last=LAST)
    assert len(found) == 1
    if at == 0:
        assert found[0] == "line 1 does not begin a chain: lines before seq 2 are missing"
    elif at < len(LINES) - 1:
        assert (
            found[0]
            == f"line {at + 1} does not continue the previous line: lines missing between seq {at} and seq {at + 2}: 1"
        )
    else:
        assert "lines at the end are missing" in found[0]


@given(POSITION, POSITION)
def test_any_two_lines_that_change_places_are_found(one: int, other: int) -> None:
    swapped = list(LINES)
    swapped[one], swapped[other] = swapped[other], swapped[one]
    assert bool(faults(swapped)) == (one != other)


@given(POSITION, st.integers(0, len(LINES)))
def test_any_line_that_is_there_twice_is_found(what: int, where: int) -> None:
    found = faults([*LINES[:where], LINES[what], *LINES[where:]])
    assert found


@given(st.binary(max_size=300).filter(lambda data: b"\n" not in data), st.integers(0, len(LINES)))
def test_anything_that_is_put_in_is_found(data: bytes, where: int) -> None:
    found = faults([*LINES[:where], data + b"\n", *LINES[where:]])
    assert found[0].startswith(f"line {where + 1} ")


@given(st.integers(1, len(LINES)))
def test_a_forged_line_is_found_by_the_one_after_it(after: int) -> None:
    """It continues the chain correctly, so only the lines before it reveal the change."""
    before = read_line(LINES[after - 1].rstrip(b"\n")).link
    forged, _ = make_line(members(number=99), before)
    instead = faults([*LINES[:after], forged, *LINES[after + 1 :]])
    assert len(instead) == (1 if after < len(LINES) - 1 else 0)
    assert bool(faults([*LINES[:after], forged, *LINES[after:]])) == (after < len(LINES))


@given(st.integers(0, len(LINES) - 1))
def test_lines_that_are_missing_at_the_end_take_a_hash_that_was_kept(left: int) -> None:
    cut = LINES[:left]
    assert faults(cut) == []
    assert len(faults(cut, expected_last=LAST)) == 1
    assert len(faults(cut, expected=frozenset({LAST}))) == 1
    assert faults(LINES, expected=frozenset({LAST}), expected_last=LAST) == []


def test_a_hash_kept_earlier_shows_that_the_chain_is_still_the_same() -> None:
    kept = read_line(LINES[3].rstrip(b"\n")).link.hash
    assert faults(LINES, expected=frozenset({kept})) == []
    anew = chain(decisions=7)  # by a program that can replace the whole file
    assert faults(anew) == []
    assert faults(anew, expected=frozenset({kept})) == []  # it begins as the other did
    assert faults(anew, expected=frozenset({LAST}))[0].startswith(f"no line has the expected hash {LAST}")


def test_lines_after_a_fault_are_verified() -> None:
    altered = [*LINES[:2], LINES[2].replace(b"decision", b"derision"), *LINES[3:5], *LINES[6:]]
    assert faults(altered) == [
        "line 3 was altered: its hash does not match its content",
        "line 6 does not continue the previous line: lines missing between seq 5 and seq 7: 1",
    ]


def test_faults_are_counted_and_the_first_are_listed() -> None:
    report = verified(b"".join(line + line for line in chain(decisions=40)))
    assert report.faults.count == 42
    assert len(report.faults.texts) == 20


def test_no_line_takes_more_memory_than_a_line_may() -> None:
    long = b"x" * (5 * MAX_LINE)
    found = verified([*LINES[:2], *([long] * 20), b"\n", *LINES[2:]])
    assert found.faults.texts == ["line 3 is not a line of an audit log"]
    unfinished = verified([*LINES, *([long] * 20)])
    assert unfinished.is_intact
    assert unfinished.notes.texts == ["line 9 is incomplete: it is being written, or a crash cut it short"]


# --- the joints of a chain


def goes_on(torn: bytes = b"", begins: str = "continued", after: ChainPosition | None = None) -> list[bytes]:
    """Lines that the next process writes after the last line or a partial line."""
    end = ChainEnd(after or read_line(LINES[-1].rstrip(b"\n")).link)
    batches = Batches(end.extended(torn, newline_due=True) if torn else end)
    return batches.compose([opening(begins), members(), members("closed")]).splitlines(keepends=True)


def test_the_next_process_continues_the_chain() -> None:
    assert faults([*LINES, *goes_on()]) == []


def test_a_line_cut_short_by_a_crash_is_noted_by_the_line_after_it() -> None:
    torn = LINES[3][:40]
    report = verified(b"".join([*LINES, torn, *goes_on(torn)]))
    assert report.is_intact
    assert report.notes.texts == ["line 10 reports that a crash or a full disk cut short line 9"]


@pytest.mark.parametrize("otherwise", [b"", LINES[3][:39], LINES[3][:41], b"\n" + LINES[3][:40]])
def test_the_bytes_that_a_line_reports_as_cut_short_must_precede_it(otherwise: bytes) -> None:
    torn = LINES[3][:40]
    after = goes_on(torn)
    found = faults([*LINES, otherwise, *(after if otherwise else [after[0].lstrip(b"\n"), *after[1:]])])
    assert len(found) == 1
    assert "reports bytes before it that a crash cut short" in found[0] or "continue" in found[0]


def test_a_file_that_continues_another() -> None:
    moved = goes_on(begins="moved")
    report = verified(b"".join(moved))
    assert report.is_intact
    assert report.notes.texts == [f"the chain continues from another file, whose last hash is {LAST}"]
    assert faults([*LINES, *moved]) == []
    assert faults([*LINES[:-1], *moved])[0].startswith("line 8 does not continue the previous line: lines missing")


@pytest.mark.parametrize("begins", ["continued", "anew", "elsewhere"])
def test_no_other_beginning_is_one(begins: str) -> None:
    found = faults(goes_on(begins=begins, after=ChainPosition(3, "ab" * 32)))
    assert found == ["line 1 does not begin a chain: lines before seq 4 are missing"]


def test_a_chain_that_begins_within_a_file_is_a_fault() -> None:
    assert faults([*LINES, *LINES]) == ["line 9 begins another chain"]
    damaged = faults([*LINES[:-1], b'{"audit":1,?\n', *goes_on(begins="after_damage", after=START)])
    assert damaged == ["line 8 is incomplete: it does not end with a hash", "line 9 begins another chain"]


def test_reported_damage_that_is_missing_is_a_fault() -> None:
    assert faults(goes_on(begins="after_damage", after=START)) == [
        "line 1 reports a damaged line before it, but there is none"
    ]


def test_faults_before_an_incomplete_line_are_reported() -> None:
    report = verified([*LINES, b"garbage\n", b"x" * (2 * MAX_LINE)])
    assert report.faults.texts == ["line 9 and those to line 10 is not a line of an audit log"]
    assert report.notes.texts == ["line 10 is incomplete: it is being written, or a crash cut it short"]


def report_among_logs(data: list[bytes]) -> VerificationReport:
    return verified(b"".join(data), among_logs=True)


def test_among_log_lines_every_process_has_its_chain() -> None:
    log = b'time="2026-03-01T12:00:00Z" level=info msg=hello\n'
    mixed = [log, *(piece for line in LINES for piece in (line, log)), *LINES]
    report = report_among_logs(mixed)
    assert report.is_intact
    assert (report.lines, report.others) == (16, 9)
    assert report.notes.texts == ["line 18 begins another chain: another process was started"]
    assert not verified(b"".join(mixed)).is_intact
    del mixed[3]
    assert "lines missing between seq 1 and seq 3: 1" in report_among_logs(mixed).faults.texts[0]


def test_losses_are_recorded() -> None:
    resumed = members("resumed", lost={"issued": 3, "not_issued": 4}, unsynced=[2, 5])
    data = Batches(ChainEnd()).compose([opening(), resumed])
    assert verified(data).notes.texts == [
        'line 2 reports that decisions before it were lost: {"issued": 3, "not_issued": 4}',
        "line 2: certificates of lines with seq [2, 5] were not sent",
    ]


@pytest.mark.parametrize("odd", [[], {}, 1, "\x1b[2J", [["x"] * 900]])
def test_odd_values_in_a_line_do_no_harm(odd: object) -> None:
    strange = members("resumed", lost=odd, unsynced=odd, cut=odd)
    data = Batches(ChainEnd()).compose([members("opened", begins=odd), strange])
    report = verified(data)
    assert not report.is_intact
    assert all(text.isprintable() and len(text) < 300 for text in (*report.notes.texts, *report.faults.texts))

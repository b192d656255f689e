"""Writes that are cut short anywhere: the chain in the file records it, and every line is counted once."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentry_trio.audit.chain import Batches, ChainEnd, PartialLine
from sentry_trio.audit.sinks import find_end
from testkit.audit_chains import members, opening, verified


def ends(data: bytes) -> ChainEnd:
    """Returns the end of the chain in a file with these bytes."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "audit.log")
        path.write_bytes(data)
        with path.open("rb") as file:
            return find_end(file.fileno())


def reported(end: ChainEnd) -> tuple[object, ...]:
    return end.link, None if end.partial is None else end.partial.cut, end.newline_due


WRITES = st.lists(st.tuples(st.integers(1, 4), st.floats(0, 1), st.sampled_from([-1, 0, 1, 2, None])), max_size=8)


@given(WRITES, st.booleans())
def test_writes_that_are_cut_short_anywhere(writes: list[tuple[int, float, int | None]], crash: bool) -> None:
    """Each write is cut at any byte, or within two bytes of the end of a line; or is whole."""
    batches = Batches(ChainEnd())
    data = batches.compose([opening()])
    assert batches.settle(len(data)) == 1
    lines = 1
    for count, part, near in writes:
        batch = batches.compose([members(number=number) for number in range(count)])
        taken = int(part * len(batch)) if near is None else batch.find(b"\n", 1) + near
        taken = max(0, min(len(batch), taken))
        data += batch[:taken]
        lines += batches.settle(taken)
        if crash and not data.endswith(b"\n"):
            # The process dies here, and the next one finds what this one knows.
            found = ends(data)
            assert not found.is_damaged
            assert reported(found)[:2] == reported(batches.end)[:2]
            batches = Batches(found)
    last = batches.compose([members("closed")])
    batches.settle(len(last))
    report = verified(data + last)
    assert report.faults.texts == []
    assert report.lines == lines + 1
    assert report.last is not None
    assert report.last.link == batches.end.link


def test_a_line_that_lacks_only_its_newline_is_there() -> None:
    batches = Batches(ChainEnd())
    data = batches.compose([opening(), members()])
    assert batches.settle(len(data) - 1) == 2
    after = batches.compose([members()])
    assert after.startswith(b"\n{")
    assert b'"cut"' not in after
    assert verified(data[:-1] + after).lines == 3


def test_nothing_taken_changes_nothing() -> None:
    batches = Batches(ChainEnd())
    first = batches.compose([opening()])
    assert batches.settle(0) == 0
    assert batches.compose([opening()]) == first


@pytest.mark.parametrize("parts", [[b"abc"], [b"a", b"", b"bc"]])
def test_partial_lines_are_recorded_by_number_and_hash(parts: list[bytes]) -> None:
    torn = None
    for part in parts:
        torn = PartialLine(part, torn)
    assert torn is not None
    assert torn.cut == {
        "bytes": 3,
        "sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",  # NIST's example
    }

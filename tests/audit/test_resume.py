"""End of a file: with a whole line, a torn one, something that no crash leaves, or it is something else."""

from pathlib import Path

import pytest

from sentry_trio.audit.chain import START, ChainEnd, PartialLine, read_line
from sentry_trio.audit.sinks import MAX_TAIL, find_end
from sentry_trio.errors import AuditLogError
from testkit.audit_chains import chain

LINES = chain()
WHOLE = b"".join(LINES)
LAST = read_line(LINES[-1].rstrip(b"\n")).link
BEFORE = read_line(LINES[-2].rstrip(b"\n")).link


def found(directory: Path, data: bytes) -> ChainEnd:
    path = directory / "audit.log"
    path.write_bytes(data)
    with path.open("rb") as file:
        return find_end(file.fileno())


def torn_of(end: ChainEnd) -> dict[str, object] | None:
    return None if end.partial is None else end.partial.cut


def test_an_empty_file_begins_a_chain(tmp_path: Path) -> None:
    assert found(tmp_path, b"") == ChainEnd()


def test_a_chain_continues_from_its_last_line(tmp_path: Path) -> None:
    assert found(tmp_path, WHOLE) == ChainEnd(LAST)
    assert found(tmp_path, WHOLE[:-1]) == ChainEnd(LAST, newline_due=True)


@pytest.mark.parametrize("left", [1, 30, len(LINES[-1]) - 2])
@pytest.mark.parametrize("pieces", [1, 2])
def test_an_end_that_a_crash_cut_short_is_a_partial_line(tmp_path: Path, left: int, pieces: int) -> None:
    torn = b"\n".join([LINES[-1][:left]] * pieces)
    end = found(tmp_path, b"".join(LINES[:-1]) + torn)
    assert (end.link, end.newline_due, end.is_damaged) == (BEFORE, True, False)
    assert torn_of(end) == PartialLine(torn).cut


@pytest.mark.parametrize("left", [1, 5, 100])
def test_the_first_line_of_all_may_be_torn(tmp_path: Path, left: int) -> None:
    end = found(tmp_path, LINES[0][:left])
    assert (end.link, end.is_damaged) == (START, False)
    assert torn_of(end) == PartialLine(LINES[0][:left]).cut


def test_zeros_that_a_loss_of_power_leaves_are_torn(tmp_path: Path) -> None:
    end = found(tmp_path, WHOLE + bytes(5000))
    assert (end.link, torn_of(end)) == (LAST, PartialLine(bytes(5000)).cut)


@pytest.mark.parametrize(
    "data",
    [
        WHOLE.replace(b'"closed"', b'"CLOSED"'),
        WHOLE + b"\n",
        WHOLE + b"hello\n",
        WHOLE.replace(b'"event"', b'"EVENT"'),
        LINES[0] * 2 + b"x" * MAX_TAIL,
        LINES[0] + b"x" * MAX_TAIL + b"\n",
    ],
    ids=["altered", "empty line", "added to", "all altered", "far behind", "far behind, ended"],
)
def test_an_end_that_no_crash_leaves_is_damage(tmp_path: Path, data: bytes) -> None:
    end = found(tmp_path, data)
    assert end == ChainEnd(START, newline_due=not data.endswith(b"\n"), is_damaged=True)


@pytest.mark.parametrize("data", [b"root:x:0:0\n", b"\n", b"{}\n", b'{"audit":2,', b"\0" * 20])
def test_something_else_is_left_alone(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(AuditLogError) as caught:
        found(tmp_path, data)
    assert str(caught.value) == "not an audit log"


def test_a_long_file_is_read_from_its_end(tmp_path: Path) -> None:
    lines = chain(decisions=8000)
    assert sum(map(len, lines)) > MAX_TAIL
    assert found(tmp_path, b"".join(lines)) == ChainEnd(read_line(lines[-1][:-1]).link)

"""Lines of a chain: their form, reading them, and invalid lines."""

import hashlib
import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentry_trio.audit.chain import (
    MAX_LINE,
    START,
    ChainPosition,
    InvalidLineError,
    LaterVersionError,
    encode_members,
    make_line,
    read_line,
)
from sentry_trio.audit.decision import timestamp
from testkit.audit_chains import members


def test_a_line_is_one_object_with_its_place_at_the_end() -> None:
    line, link = make_line(members(answer=42), ChainPosition(6, "ab" * 32))
    assert link.seq == 7
    body, _, end = line.rpartition(b',"hash":')
    assert end == b'"%b"}\n' % link.hash.encode()
    assert hashlib.sha256(body).hexdigest() == link.hash
    assert list(json.loads(line)) == ["audit", "time", "event", "answer", "seq", "prev", "hash"]
    assert json.loads(line)["prev"] == "ab" * 32
    found = read_line(line.rstrip(b"\n"))
    assert (found.link, found.prev, found.members["answer"]) == (link, "ab" * 32, 42)


@pytest.mark.uncovered
@given(st.dictionaries(st.text(), st.text() | st.integers() | st.none()))
def test_any_text_is_one_line_of_printable_ascii(said: dict[str, object]) -> None:
    line, link = make_line(encode_members({"time": timestamp(datetime.now(UTC)), "said": said}), START)
    assert line.count(b"\n") == 1
    assert all(0x20 <= byte < 0x7F for byte in line[:-1])
    if len(line) <= MAX_LINE:
        found = read_line(line[:-1])
        assert found.link == link
        assert found.members["said"] == said


@given(st.data())
def test_any_other_byte_is_found(data: st.DataObject) -> None:
    line = make_line(members(name="cart"), START)[0][:-1]
    at = data.draw(st.integers(0, len(line) - 1))
    other = data.draw(st.integers(0, 255).filter(lambda byte: byte != line[at]))
    with pytest.raises(InvalidLineError):
        read_line(line[:at] + bytes([other]) + line[at + 1 :])


def hashed(body: bytes) -> bytes:
    """A line whose hash is right, whatever else is wrong with it."""
    return b'%b,"hash":"%b"}' % (body, hashlib.sha256(body).hexdigest().encode())


PLACE = b'"seq":1,"prev":"%b"' % START.hash.encode()


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"", "not a line of an audit log"),
        (b'time="2026" level=info', "not a line of an audit log"),
        (b'{"audit":1,"time":"x"}', "is incomplete"),
        (hashed(b'{"audit":1,"x":"' + b"x" * MAX_LINE + b'"'), "is incomplete"),
        (hashed(b'{"audit":1,"time":"2026-03-01T12:00:00Z",'), "is not JSON"),
        (hashed(b'{"audit":1,"x":' + b"[" * 10_000), "is not JSON"),
        (hashed(b'{"audit":1,"time":"yesterday",' + PLACE), "has no valid seq, prev or time"),
        (hashed(b'{"audit":1,"time":"2026-03-01T12:00:00Z\\n",' + PLACE), "has no valid seq, prev or time"),
        (hashed(b'{"audit":1,"time":"2026-03-01T12:00:00Z","seq":true,"prev":"a"'), "has no valid seq, prev or time"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_invalid_lines(line: bytes, why: str) -> None:
    with pytest.raises(InvalidLineError) as caught:
        read_line(line)
    assert why in str(caught.value)


def test_a_form_that_is_not_known_is_no_fault() -> None:
    with pytest.raises(LaterVersionError):
        read_line(hashed(b'{"audit":2,"anything":true'))

"""What a commit record means, given what stands where."""

import contextlib
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentry_trio.stores.record import (
    Change,
    Completion,
    InvalidRecordError,
    MixedSetError,
    Record,
    decide,
    decode,
    digest,
    encode,
)

OLD, NEW, EDITED, TORN = b"old", b"new", b"edited", b"ne"
CHANGE = Change(old=digest(OLD), new=digest(NEW))
RECORD = Record(CHANGE, CHANGE, CHANGE)

# (what stands, what waits beside it), by the letter used in the table below
PLACES = {
    "d": (NEW, None),  # done
    "p": (OLD, NEW),  # pending
    "s": (OLD, None),  # stuck: the waiting file is gone
    "t": (OLD, TORN),  # stuck: the waiting file is not what it was
    "e": (EDITED, NEW),  # edited since
    "g": (None, NEW),  # removed since
}


def outcome(letters: str) -> object:
    (a, b, c), (x, y, z) = zip(*(PLACES[letter] for letter in letters), strict=True)
    try:
        return decide(RECORD, (a, b, c), (x, y, z))
    except MixedSetError:
        return "mixed"


@pytest.mark.parametrize(
    ("letters", "expected"),
    [
        ("ppp", Completion((True, True, True))),
        ("dpp", Completion((False, True, True))),
        ("dpd", Completion((False, True, False))),
        ("ddd", Completion((False, False, False))),
        ("sss", None),
        ("tps", None),
        ("eee", None),
        ("ggg", None),
        ("epp", None),
        ("ede", None),
        ("dge", None),
        ("dsp", "mixed"),
        ("dts", "mixed"),
        ("dep", "mixed"),
        ("dsg", "mixed"),
    ],
)
def test_decisions(letters: str, expected: object) -> None:
    for order in itertools.permutations(range(3)):
        expected_here: object = expected
        if isinstance(expected, Completion):
            expected_here = Completion(
                (expected.pending[order[0]], expected.pending[order[1]], expected.pending[order[2]])
            )
        assert outcome("".join(letters[place] for place in order)) == expected_here


def test_an_edit_is_never_completed_over() -> None:
    for letters in itertools.product(PLACES, repeat=3):
        if set(letters) & {"e", "g"}:
            assert not isinstance(outcome("".join(letters)), Completion)


def test_a_first_save_starts_from_nothing() -> None:
    change = Change(old=None, new=digest(NEW))
    record = Record(change, change, change)
    assert decide(record, (NEW, None, None), (None, NEW, NEW)) == Completion((False, True, True))
    assert decide(record, (EDITED, None, None), (NEW, NEW, NEW)) is None


def test_a_file_that_stays_the_same_is_no_sign_of_a_mixture() -> None:
    same = Change(old=digest(OLD), new=digest(OLD))
    assert decide(Record(CHANGE, CHANGE, same), (OLD, OLD, OLD), (None, None, None)) is None


def test_round_trip() -> None:
    record = Record(CHANGE, Change(old=None, new=digest(b"")), CHANGE)
    assert decode(encode(record)) == record


DIGEST = b'"' + b"0" * 64 + b'"'
CHANGE_JSON = b'{"old":null,"new":' + DIGEST + b"}"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00" * 300,
        b"\xff",
        b"[]",
        b'{"anchors":{},"chain":{},"key":{},"version":1}',
        b'{"anchors":' + CHANGE_JSON + b',"chain":' + CHANGE_JSON + b',"key":' + CHANGE_JSON + b',"version":2}',
        b'{"anchors":' + CHANGE_JSON + b',"chain":' + CHANGE_JSON + b',"key":' + CHANGE_JSON + b',"more":1}',
        b'{"anchors":' + CHANGE_JSON + b',"chain":' + CHANGE_JSON + b',"key":{"old":"","new":' + DIGEST + b"}}",
        encode(RECORD)[:-1],
    ],
)
def test_what_is_no_record(data: bytes) -> None:
    with pytest.raises(InvalidRecordError):
        decode(data)


@settings(max_examples=100, deadline=None)
@given(st.one_of(st.binary(), st.binary().map(lambda data: encode(RECORD)[: len(data)] + data)))
def test_any_bytes_are_a_record_or_an_error(data: bytes) -> None:
    with contextlib.suppress(InvalidRecordError):
        assert isinstance(decode(data), Record)

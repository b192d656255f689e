"""Meaning of a commit record, given the files on disk."""

import contextlib
import itertools
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentry_trio.ca.parts import BUNDLE
from sentry_trio.errors import Part
from sentry_trio.stores.journal import (
    FileChange,
    InvalidJournalError,
    MixedSetError,
    decide,
    decode,
    digest,
    encode,
)

OLD, NEW, EDITED, TORN = b"old", b"new", b"edited", b"ne"
CHANGE = FileChange(old=digest(OLD), new=digest(NEW))
JOURNAL = dict.fromkeys(BUNDLE, CHANGE)

# (the file, the temporary beside it), by the letter used in the table below
PLACES = {
    "d": (NEW, None),  # done
    "p": (OLD, NEW),  # pending
    "s": (OLD, None),  # stuck: the waiting file is gone
    "t": (OLD, TORN),  # stuck: the waiting file is not what it was
    "e": (EDITED, NEW),  # edited since
    "g": (None, NEW),  # removed since
}


def outcome(letters: str) -> object:
    files, temporaries = zip(*(PLACES[letter] for letter in letters), strict=True)
    return decided(JOURNAL, files, temporaries)


def decided(
    journal: Mapping[Part, FileChange], files: Sequence[bytes | None], temporaries: Sequence[bytes | None]
) -> object:
    """Pending parts, as a tuple in their order, which can be permuted like `letters`."""
    try:
        pending = decide(journal, dict(zip(journal, files, strict=True)), dict(zip(journal, temporaries, strict=True)))
    except MixedSetError:
        return "mixed"
    return None if pending is None else tuple(part in pending for part in journal)


@pytest.mark.parametrize(
    ("letters", "expected"),
    [
        ("ppp", (True, True, True)),
        ("dpp", (False, True, True)),
        ("dpd", (False, True, False)),
        ("ddd", (False, False, False)),
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
        if isinstance(expected, tuple):
            expected_here = tuple(expected[place] for place in order)
        assert outcome("".join(letters[place] for place in order)) == expected_here


def test_an_edit_is_never_completed_over() -> None:
    for letters in itertools.product(PLACES, repeat=3):
        if set(letters) & {"e", "g"}:
            assert not isinstance(outcome("".join(letters)), tuple)


def test_a_first_save_starts_from_nothing() -> None:
    change = FileChange(old=None, new=digest(NEW))
    journal = dict.fromkeys(BUNDLE, change)
    assert decided(journal, (NEW, None, None), (None, NEW, NEW)) == (False, True, True)
    assert decided(journal, (EDITED, None, None), (NEW, NEW, NEW)) is None


def test_a_file_that_stays_the_same_is_no_sign_of_a_mixture() -> None:
    same = FileChange(old=digest(OLD), new=digest(OLD))
    assert decided(dict(zip(BUNDLE, (CHANGE, CHANGE, same), strict=True)), (OLD, OLD, OLD), (None, None, None)) is None


def test_round_trip() -> None:
    journal = {
        Part.ANCHORS: CHANGE,
        Part.JWKS: FileChange(old=None, new=digest(b"")),
        Part.JWT_KEY: FileChange(digest(OLD), None),
    }
    assert decode(encode(journal), journal) == journal


def test_journals_of_earlier_versions_are_read() -> None:
    data = b'{"anchors":' + CHANGE_JSON + b',"chain":' + CHANGE_JSON + b',"key":' + CHANGE_JSON + b',"version":1}'
    assert decode(data, BUNDLE) == dict.fromkeys(BUNDLE, FileChange(None, "0" * 64))
    assert encode(decode(data, BUNDLE)) == data


@pytest.mark.parametrize(
    ("file", "expected"), [(OLD, (True, True)), (None, (False, True)), (EDITED, None)], ids=["old", "gone", "edited"]
)
def test_a_file_that_is_to_be_removed(file: bytes | None, expected: object) -> None:
    journal = {Part.JWT_KEY: FileChange(digest(OLD), None), Part.JWKS: CHANGE}
    assert decided(journal, (file, OLD), (None, NEW)) == expected


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
        encode(JOURNAL)[:-1],
    ],
)
def test_invalid_records(data: bytes) -> None:
    with pytest.raises(InvalidJournalError):
        decode(data, BUNDLE)


@settings(max_examples=100, deadline=None)
@given(st.one_of(st.binary(), st.binary().map(lambda data: encode(JOURNAL)[: len(data)] + data)))
def test_any_bytes_are_a_record_or_an_error(data: bytes) -> None:
    with contextlib.suppress(InvalidJournalError):
        assert isinstance(decode(data, BUNDLE), dict)

"""Lists as CSV; outcomes and errors were compared with those of Go's encoding/csv."""

import signal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentry_trio.settings.lists import parse_list
from sentry_trio.settings.scalars import InvalidValueError


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("", ()),
        ("a", ("a",)),
        ("a,b", ("a", "b")),
        (" a, b ", (" a", " b ")),
        (",", ("", "")),
        ('""', ("",)),
        ('"a,b",c', ("a,b", "c")),
        ('"a""b"', ('a"b',)),
        ('"a\nb"', ("a\nb",)),
        ('"a\r\nb"\r\n', ("a\nb",)),
        ("a\nb", ("a",)),
        ("\n\r\na", ("a",)),
        ("a\r", ("a",)),
        ("\udcff,b", ("\udcff", "b")),
    ],
)
def test_lists(text: str, items: tuple[str, ...]) -> None:
    assert parse_list(text) == items


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("\n", "EOF"),
        ("\r", "EOF"),
        ('a"b', 'parse error on line 1, column 2: bare " in non-quoted-field'),
        ('é,b"', 'parse error on line 1, column 5: bare " in non-quoted-field'),
        ('"a"b', 'parse error on line 1, column 3: extraneous or missing " in quoted-field'),
        ('"a', 'parse error on line 1, column 3: extraneous or missing " in quoted-field'),
        ('\n"a', 'parse error on line 2, column 3: extraneous or missing " in quoted-field'),
        ('"a\nb', 'record on line 1; parse error on line 2, column 2: extraneous or missing " in quoted-field'),
        ('"a\n', 'parse error on line 1, column 4: extraneous or missing " in quoted-field'),
    ],
)
def test_lists_refused(text: str, error: str) -> None:
    with pytest.raises(InvalidValueError) as caught:
        parse_list(text)
    assert str(caught.value) == error


@given(st.lists(st.text(st.sampled_from('ab",\n é'), max_size=5), min_size=1, max_size=5))
@settings(max_examples=100, deadline=None)
def test_quoted_items_come_back(items: list[str]) -> None:
    assert parse_list(",".join('"' + item.replace('"', '""') + '"' for item in items)) == tuple(items)


@given(st.text(st.characters() | st.sampled_from('",\r\n'), max_size=20))
@settings(max_examples=100, deadline=None)
def test_any_text_is_a_list_or_refused(text: str) -> None:
    try:
        parse_list(text)
    except InvalidValueError as error:
        message = str(error)
    else:
        return
    assert "\n" not in message


@pytest.mark.parametrize(
    "text", ["," * 1_000_000, '"",' * 300_000, '"' + '""' * 500_000 + '"'], ids=["plain", "quoted", "marks"]
)
def test_time_is_linear(text: str) -> None:
    """Quadratic time would take a minute or more; the limit is on CPU time, independent of other processes."""
    former = signal.signal(signal.SIGVTALRM, _too_slow)
    signal.setitimer(signal.ITIMER_VIRTUAL, 20)
    try:
        fields = parse_list(text)
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, former)
    assert len(fields) in {1_000_001, 300_001, 1}


def _too_slow(*_: object) -> None:
    raise AssertionError("it takes more than 20 s of CPU time")

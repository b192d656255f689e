"""Values in Go's syntax; what is accepted was compared with Go itself."""

import signal
from collections.abc import Callable
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentry_trio.go_text import format_duration, quote
from sentry_trio.settings.values import (
    InvalidValueError,
    encode,
    parse_bool,
    parse_decimal,
    parse_duration,
    parse_float,
    parse_int,
    parse_list,
)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", 0),
        ("50001", 50001),
        ("+7", 7),
        ("-7", -7),
        ("0x10", 16),
        ("0X1f", 31),
        ("0o17", 15),
        ("0b101", 5),
        ("-0b1", -1),
        ("017", 15),
        ("1_000", 1000),
        ("0x_1f", 31),
        ("0_7", 7),
        ("9223372036854775807", 2**63 - 1),
        ("-9223372036854775808", -(2**63)),
        ("0" * 5000 + "7", 7),
    ],
)
def test_integers(text: str, number: int) -> None:
    assert parse_int(text) == number


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", ""),
        ("-", ""),
        ("+-1", ""),
        ("abc", ""),
        ("1.5", ""),
        (" 1", ""),
        ("0x", ""),
        ("0xg", ""),
        ("09", ""),
        ("0b2", ""),
        ("_1", ""),
        ("1_", ""),
        ("1__0", ""),
        ("0_x1", ""),
        ("\N{ARABIC-INDIC DIGIT ONE}", ""),
        ("9223372036854775808", " of 64 bits"),
        ("-9223372036854775809", " of 64 bits"),
        ("99999999999999999999x", ""),
        ("1" * 5000, " of 64 bits"),
    ],
)
def test_integers_refused(text: str, reason: str) -> None:
    with pytest.raises(InvalidValueError) as caught:
        parse_int(text)
    assert str(caught.value) == f'expected an integer{reason}, got "{text}"'


def test_decimal_numbers_have_no_prefixes_and_no_underscores() -> None:
    assert parse_decimal("010") == 10
    for text in ("0x10", "1_000", ""):
        with pytest.raises(InvalidValueError, match=f'^expected a decimal number, got "{text}"$'):
            parse_decimal(text)


@pytest.mark.parametrize("text", ["1", "t", "T", "TRUE", "true", "True"])
def test_true(text: str) -> None:
    assert parse_bool(text) is True


@pytest.mark.parametrize("text", ["0", "f", "F", "FALSE", "false", "False"])
def test_false(text: str) -> None:
    assert parse_bool(text) is False


@pytest.mark.parametrize("text", ["", "yes", "tRUE", "2", "maybe"])
def test_neither_true_nor_false(text: str) -> None:
    with pytest.raises(InvalidValueError) as caught:
        parse_bool(text)
    assert str(caught.value) == f'expected true or false, got "{text}"'


@pytest.mark.parametrize(("text", "number"), [("0.5", 0.5), (".5", 0.5), ("1.", 1), ("-1e-3", -0.001), ("+2E2", 200)])
def test_numbers(text: str, number: float) -> None:
    assert parse_float(text) == number


@pytest.mark.parametrize("text", ["", ".", "half", "inf", "nan", "1_0", " 1", "0x1p-2", "1e"])
def test_no_numbers(text: str) -> None:
    with pytest.raises(InvalidValueError) as caught:
        parse_float(text)
    assert str(caught.value) == f'expected a number, got "{text}"'


@given(st.binary(max_size=20))
@settings(max_examples=50, deadline=None)
def test_arguments_keep_their_bytes(data: bytes) -> None:
    assert encode(data.decode("utf-8", "surrogateescape")) == data


@given(st.text(st.characters(), max_size=20))
@settings(max_examples=100, deadline=None)
@pytest.mark.parametrize("parse", [parse_int, parse_decimal, parse_bool])
def test_any_text_is_a_value_or_refused(parse: Callable[[str], int], text: str) -> None:
    try:
        parse(text)
    except InvalidValueError as error:
        message = str(error)
    else:
        return
    assert "\n" not in message


@given(st.integers(-(2**63), 2**63 - 1), st.sampled_from(["", "#x", "#o", "#b", "_"]))
@settings(max_examples=100, deadline=None)
def test_numbers_in_every_base_come_back(number: int, form: str) -> None:
    assert parse_int(format(number, form)) == number


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("0", timedelta()),
        ("-0", timedelta()),
        ("24h", timedelta(hours=24)),
        ("15m", timedelta(minutes=15)),
        ("1h15m30.918273s", timedelta(hours=1, minutes=15, seconds=30, microseconds=918273)),
        ("+5s", timedelta(seconds=5)),
        ("-1.5h", timedelta(hours=-1.5)),
        (".5s", timedelta(seconds=0.5)),
        ("1.s", timedelta(seconds=1)),
        ("100ms", timedelta(milliseconds=100)),
        ("1us", timedelta(microseconds=1)),
        ("1\u00b5s", timedelta(microseconds=1)),
        ("1\u03bcs", timedelta(microseconds=1)),
        ("1s1h1s", timedelta(hours=1, seconds=2)),
        ("1999ns", timedelta(microseconds=1)),
        ("-1999ns", timedelta(microseconds=-1)),
        ("0.100000000000000000000h", timedelta(minutes=6)),
        ("0.9223372036854775807h", timedelta(microseconds=3320413933)),
        ("0." + "0" * 400 + "1h", timedelta()),
        ("0" * 5000 + "1s", timedelta(seconds=1)),
        ("9223372036854775807ns", timedelta(microseconds=9223372036854775)),
        ("-9223372036854775808ns", timedelta(microseconds=-9223372036854775)),
        ("2562047h", timedelta(hours=2562047)),
    ],
)
def test_durations(text: str, duration: timedelta) -> None:
    assert parse_duration(text) == duration


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-",
        "h",
        ".s",
        ".",
        " 1h",
        "--1h",
        "24",
        "1h30",
        "1..s",
        "1d",
        "1H",
        "1h 2m",
        "2562048h",
        "9223372036854775808ns",
        "9223372036854775807ns1ns",
        "9223372036854775809",
        "1" * 5000 + "s",
        '1"\\',
        "1é\n",
        "1\udcff",
    ],
)
def test_durations_rejected(text: str) -> None:
    with pytest.raises(InvalidValueError) as caught:
        parse_duration(text)
    assert str(caught.value) in {
        f"expected a duration such as 1h30m, got {quote(text)}",
        f"expected a duration of less than 292 years, got {quote(text)}",
    }


@given(st.timedeltas(timedelta(microseconds=-(2**63) // 1000), timedelta(microseconds=2**63 // 1000)))
@settings(max_examples=100, deadline=None)
def test_a_formatted_duration_is_parsed_unchanged(duration: timedelta) -> None:
    # Go reads a fraction of a second in floating point, which may come out one nanosecond low: one microsecond here.
    assert abs(parse_duration(format_duration(duration)) - duration) <= timedelta(microseconds=1)


@given(
    st.timedeltas(timedelta(days=-36_500), timedelta(days=36_500)).map(
        lambda delta: timedelta(delta.days, delta.seconds)
    )
)
@settings(max_examples=100, deadline=None)
def test_whole_seconds_are_read_exactly(duration: timedelta) -> None:
    assert parse_duration(format_duration(duration)) == duration


@given(st.text(st.characters() | st.sampled_from("0123456789.hmsun-+"), max_size=20))
@settings(max_examples=100, deadline=None)
def test_any_text_is_a_duration_or_refused(text: str) -> None:
    try:
        parse_duration(text)
    except InvalidValueError as error:
        message = str(error)
    else:
        return
    assert "\n" not in message


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
    "text",
    [
        "\n",
        "\r",
        'a"b',
        'é,b"',
        '"a"b',
        '"a',
        '\n"a',
        '"a\nb',
        '"a\n',
    ],
)
def test_lists_rejected(text: str) -> None:
    with pytest.raises(InvalidValueError) as caught:
        parse_list(text)
    assert str(caught.value) == f'expected a list such as a,b or "a,b",c, got {quote(text)}'


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


@pytest.mark.uncovered
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

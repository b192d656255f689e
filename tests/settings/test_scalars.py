"""Go's scalars; the errors were compared with those of Go itself."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentry_trio.settings.scalars import InvalidValueError, encode, parse_bool, parse_decimal, parse_int, quote


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
        ("", "invalid syntax"),
        ("-", "invalid syntax"),
        ("+-1", "invalid syntax"),
        ("abc", "invalid syntax"),
        ("1.5", "invalid syntax"),
        (" 1", "invalid syntax"),
        ("0x", "invalid syntax"),
        ("0xg", "invalid syntax"),
        ("09", "invalid syntax"),
        ("0b2", "invalid syntax"),
        ("_1", "invalid syntax"),
        ("1_", "invalid syntax"),
        ("1__0", "invalid syntax"),
        ("0_x1", "invalid syntax"),
        ("\N{ARABIC-INDIC DIGIT ONE}", "invalid syntax"),
        ("9223372036854775808", "value out of range"),
        ("-9223372036854775809", "value out of range"),
        ("99999999999999999999x", "value out of range"),
        ("1" * 5000, "value out of range"),
    ],
)
def test_integers_refused(text: str, reason: str) -> None:
    with pytest.raises(InvalidValueError) as caught:
        parse_int(text)
    assert str(caught.value) == f'strconv.ParseInt: parsing "{text}": {reason}'


def test_decimal_numbers_have_no_prefixes_and_no_underscores() -> None:
    assert parse_decimal("010") == 10
    for text in ("0x10", "1_000", ""):
        with pytest.raises(InvalidValueError, match=f'^strconv.Atoi: parsing "{text}": invalid syntax$'):
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
    assert str(caught.value) == f'strconv.ParseBool: parsing "{text}": invalid syntax'


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ("abc", '"abc"'),
        ('a"b\\', r'"a\"b\\"'),
        ("\a\b\f\n\r\t\v", r'"\a\b\f\n\r\t\v"'),
        ("\x00\x7f", r'"\x00\x7f"'),
        ("é 世", '"é 世"'),
        ("\u00a0\ufeff", r'"\u00a0\ufeff"'),
        ("\U000e0001", r'"\U000e0001"'),
        ("\udcff", r'"\xff"'),
        ("\ud800", r'"\ufffd"'),
    ],
)
def test_quoting(text: str, quoted: str) -> None:
    assert quote(text) == quoted


def test_quoting_of_single_characters() -> None:
    assert [quote(char, mark="'") for char in "x'\""] == ["'x'", r"'\''", "'\"'"]


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

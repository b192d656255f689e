"""Go's syntax of numbers, booleans, durations and lists.

Flags and configuration are shared with Dapr: both programs must accept the same values.
"""

import re
from datetime import timedelta
from typing import Final

from sentry_trio.errors import SentryError
from sentry_trio.go_text import quote

_INT64: Final = range(-(1 << 63), 1 << 63)
_TRUE: Final = frozenset(("1", "t", "T", "TRUE", "true", "True"))
_FALSE: Final = frozenset(("0", "f", "F", "FALSE", "false", "False"))
_OCTAL: Final = re.compile(r"[+-]?0(?:_?[0-7])*")
_INTEGER: Final = re.compile(r"[+-]?(?:0[xX](?:_?[0-9a-fA-F])+|0[oO](?:_?[0-7])+|0[bB](?:_?[01])+|[1-9](?:_?[0-9])*)")
_DECIMAL: Final = re.compile(r"[+-]?[0-9]+")
_FLOAT: Final = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
# Nanoseconds; both spellings of micro: U+00B5 (micro sign) and U+03BC (Greek mu).
_UNITS: Final = {
    "ns": 1,
    "us": 1_000,
    "\u00b5s": 1_000,
    "\u03bcs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_TERM: Final = re.compile(rf"(?=\.?[0-9])([0-9]*)(?:\.([0-9]*))?({'|'.join(_UNITS)})")
_DURATION: Final = re.compile(rf"[+-]?(?:0|(?:{_TERM.pattern})+)")
# More digits than these change nothing: the number is too large, or the fraction below a nanosecond.
_DIGITS: Final = 20
_QUOTED_FIELD: Final = re.compile(r'"((?:[^"]|"")*+)"(?=[,\n]|\Z)')
_PLAIN_FIELD: Final = re.compile(r'([^",\n]*+)(?=[,\n]|\Z)')


class InvalidValueError(SentryError):
    """Text that is not a value of its kind; the message has the expected form."""

    def __init__(self, expected: str, text: str) -> None:
        super().__init__(f"expected {expected}, got {quote(text)}")


def parse_int(text: str) -> int:
    """Reads a signed 64-bit integer as Go's `strconv.ParseInt(text, 0, 64)`.

    The prefixes `0x`, `0o`, `0b` and a leading `0` (octal) choose the base; `_` may separate digits.

    Raises:
        InvalidValueError: not such a number.
    """
    if _OCTAL.fullmatch(text):
        return _int64(text, base=8)
    if _INTEGER.fullmatch(text):
        return _int64(text, base=0)
    raise InvalidValueError("an integer", text)


def parse_decimal(text: str) -> int:
    """Reads a signed 64-bit decimal number as Go's `strconv.Atoi`: no prefixes, no underscores.

    Raises:
        InvalidValueError: not such a number.
    """
    if _DECIMAL.fullmatch(text):
        return _int64(text, base=10)
    raise InvalidValueError("a decimal number", text)


def _int64(text: str, *, base: int) -> int:
    try:
        number = int(text, base)
    except ValueError:  # more digits than Python converts
        number = _INT64.stop
    if number not in _INT64:
        raise InvalidValueError("an integer of 64 bits", text)
    return number


def parse_float(text: str) -> float:
    """Reads a decimal number as Go's `strconv.ParseFloat(text, 64)`; hexadecimal and infinite ones are rejected.

    Raises:
        InvalidValueError: not such a number.
    """
    if _FLOAT.fullmatch(text):
        return float(text)
    raise InvalidValueError("a number", text)


def parse_bool(text: str) -> bool:
    """Reads a boolean as Go's `strconv.ParseBool`.

    Raises:
        InvalidValueError: not a boolean.
    """
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise InvalidValueError("true or false", text)


def parse_duration(text: str) -> timedelta:
    """Reads a duration as Go's `time.ParseDuration`: `1h30m`, `1.5s`, `100ms`.

    Go counts nanoseconds in 64 bits; longer durations (about 292 years) are rejected here too. A `timedelta` counts
    microseconds: nanoseconds are cut off, towards zero.

    Raises:
        InvalidValueError: not a duration, or too long.
    """
    if not _DURATION.fullmatch(text):
        raise InvalidValueError("a duration such as 1h30m", text)
    nanoseconds = 0
    for whole, fraction, unit in _TERM.findall(text):
        nanoseconds += int(whole.lstrip("0")[:_DIGITS] or "0") * _UNITS[unit]
        nanoseconds += int(fraction[:_DIGITS] or "0") * _UNITS[unit] // 10 ** len(fraction[:_DIGITS])
    sign = -1 if text.startswith("-") else 1
    if sign * nanoseconds not in _INT64:
        raise InvalidValueError("a duration of less than 292 years", text)
    return sign * timedelta(microseconds=nanoseconds // 1000)


def parse_list(text: str) -> tuple[str, ...]:
    r"""Reads the first CSV record of `text` as Go's encoding/csv; an empty text is an empty list.

    Raises:
        InvalidValueError: quotation marks that do not enclose a field, or only line breaks.
    """
    if not text:
        return ()
    lines = text.replace("\r\n", "\n").removesuffix("\r").lstrip("\n")
    fields: list[str] = []
    position = 0
    while lines and (match := _QUOTED_FIELD.match(lines, position) or _PLAIN_FIELD.match(lines, position)):
        fields.append(match[1].replace('""', '"'))
        position = match.end() + 1
        if lines[match.end() : position] != ",":
            return tuple(fields)
    raise InvalidValueError('a list such as a,b or "a,b",c', text)


def encode(text: str) -> bytes:
    """Returns the bytes of a command line argument or environment variable.

    Bytes that are not UTF-8 arrive as lone surrogates (PEP 383) and leave as they were; any other surrogate becomes
    U+FFFD.
    """
    return re.sub("[\ud800-\udc7f\udd00-\udfff]", "\ufffd", text).encode("utf-8", "surrogateescape")

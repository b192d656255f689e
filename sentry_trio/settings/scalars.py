"""Numbers, booleans and quoted text in Go's syntax and with the words of Go's errors.

Flags and configuration are shared with Dapr, so what one accepts the other has to accept, and what operators know to
look for in an error line has to be in it.
"""

import re

from sentry_trio.errors import SentryError

_INT64_LIMIT = 1 << 63
_UINT64_LIMIT = 1 << 64
_PREFIXES = {"0b": 2, "0o": 8, "0x": 16}
_TRUE = frozenset(("1", "t", "T", "TRUE", "true", "True"))
_FALSE = frozenset(("0", "f", "F", "FALSE", "false", "False"))
_FLOAT = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_ESCAPES = {
    "\a": "\\a",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\v": "\\v",
    "\\": "\\\\",
}


class InvalidValueError(SentryError):
    """A text that is not what it should be; the message is the one that Go's standard library gives."""


def encode(text: str) -> bytes:
    """The bytes of a command line argument or environment variable, which is what Go counts and quotes.

    Bytes that are no UTF-8 come in as lone surrogates (PEP 383) and leave as they were; a surrogate that stands for
    no byte becomes U+FFFD.
    """
    return re.sub("[\ud800-\udc7f\udd00-\udfff]", "\ufffd", text).encode("utf-8", "surrogateescape")


def quote(text: str, mark: str = '"') -> str:
    r"""`text` between quotation marks, escaped on one line as Go's `%q` does it.

    Args:
        text: any text; bytes that are no UTF-8 (lone surrogates, PEP 383) are shown as `\xff`.
        mark: `"` for texts, `'` for single characters.
    """
    return mark + "".join(_escaped(char, mark) for char in text) + mark


def _escaped(char: str, mark: str) -> str:
    code = ord(char)
    if char == mark:
        return f"\\{char}"
    if char in _ESCAPES:
        return _ESCAPES[char]
    if char.isprintable():
        return char
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x80:
        return f"\\x{code:02x}"
    if 0xD800 <= code <= 0xDFFF:
        return "\\ufffd"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def parse_int(text: str) -> int:
    """Read a signed 64-bit integer as Go's `strconv.ParseInt(text, 0, 64)`.

    The prefixes `0x`, `0o`, `0b` and a leading `0` (octal) choose the base; `_` may stand between digits and after a
    prefix.

    Raises:
        InvalidValueError: `strconv.ParseInt: parsing "abc": invalid syntax`, or `value out of range`.
    """
    return _parse_int(text, function="ParseInt", any_base=True)


def parse_decimal(text: str) -> int:
    """Read a signed 64-bit decimal number as Go's `strconv.Atoi`: no prefixes, no underscores.

    Raises:
        InvalidValueError: `strconv.Atoi: parsing "abc": invalid syntax`, or `value out of range`.
    """
    return _parse_int(text, function="Atoi", any_base=False)


def parse_float(text: str) -> float:
    """Read a decimal number as Go's `strconv.ParseFloat(text, 64)`; hexadecimal and infinite ones are refused.

    Raises:
        InvalidValueError: `strconv.ParseFloat: parsing "abc": invalid syntax`.
    """
    if not _FLOAT.fullmatch(text):
        raise _fault("ParseFloat", text, "invalid syntax")
    return float(text)


def parse_bool(text: str) -> bool:
    """Read a boolean as Go's `strconv.ParseBool`.

    Raises:
        InvalidValueError: `strconv.ParseBool: parsing "maybe": invalid syntax`.
    """
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise _fault("ParseBool", text, "invalid syntax")


def _fault(function: str, text: str, reason: str) -> InvalidValueError:
    return InvalidValueError(f"strconv.{function}: parsing {quote(text)}: {reason}")


def _parse_int(text: str, *, function: str, any_base: bool) -> int:
    negative = text.startswith("-")
    digits = text[1:] if text[:1] in {"+", "-"} else text
    magnitude = _magnitude(digits, any_base=any_base)
    if magnitude is None:
        raise _fault(function, text, "invalid syntax")
    if magnitude > _INT64_LIMIT or (magnitude == _INT64_LIMIT and not negative):
        raise _fault(function, text, "value out of range")
    return -magnitude if negative else magnitude


def _magnitude(digits: str, *, any_base: bool) -> int | None:
    """The number that unsigned `digits` denote, `None` if none; 64 bits or more may be cut short."""
    base, rest = _split_base(digits) if any_base else (10, digits)
    if not digits:
        return None
    number = 0
    for char in rest:
        if char == "_" and any_base:
            continue
        value = int(char, 36) if char.isascii() and char.isalnum() else base
        if value >= base:
            return None
        number = number * base + value
        if number >= _UINT64_LIMIT:
            return number  # Go, too, says "out of range" without a look at what follows.
    if "_" in digits and not _underscores_in_place(digits):
        return None
    return number


def _split_base(digits: str) -> tuple[int, str]:
    base = _PREFIXES.get(digits[:2].lower())
    if base is not None and len(digits) > 2:
        return base, digits[2:]
    if digits.startswith("0"):
        return 8, digits[1:]
    return 10, digits


def _underscores_in_place(digits: str) -> bool:
    """Underscores stand only between digits or between prefix and digit; a prefix counts as a digit."""
    body = "0" + digits[2:] if digits[:2].lower() in _PREFIXES else digits
    return re.search("^_|__|_$", body) is None

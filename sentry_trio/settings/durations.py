"""Go's notation of durations (`1h30m`, `1.5s`, `100ms`), read and written."""

import re
from datetime import timedelta

from sentry_trio.settings.scalars import InvalidValueError, encode

# Nanoseconds; both spellings of micro: U+00B5 (micro sign) and U+03BC (Greek mu).
_UNITS = {
    "ns": 1,
    "us": 1_000,
    "\u00b5s": 1_000,
    "\u03bcs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_LIMIT = 1 << 63
_TERM = re.compile(r"([0-9]*)(?:\.([0-9]*))?([^.0-9]*)")
_SECOND = timedelta(seconds=1)


def parse_duration(text: str) -> timedelta:
    """Read a duration as Go's `time.ParseDuration`.

    Go counts nanoseconds in 64 bits; what it finds too large (about 292 years) is refused here too. A `timedelta`
    counts microseconds: nanoseconds beyond are cut off, towards zero.

    Raises:
        InvalidValueError: `time: invalid duration ""`, `time: missing unit in duration "24"`,
            `time: unknown unit "d" in duration "1d"`.
    """
    unsigned = text[1:] if text[:1] in {"+", "-"} else text
    if unsigned == "0":
        return timedelta()
    nanoseconds = _nanoseconds(unsigned, text)
    negative = text.startswith("-")
    if nanoseconds == _LIMIT and not negative:
        raise _invalid(text)
    microseconds = timedelta(microseconds=nanoseconds // 1000)
    return -microseconds if negative else microseconds


def format_duration(duration: timedelta) -> str:
    """Write a duration as Go's `Duration.String`: `24h0m0s`, `1.5s`, `100ms`, `0s`."""
    if duration < timedelta():
        return "-" + format_duration(-duration)
    seconds, below = divmod(duration, _SECOND)
    if not seconds:
        return _format_below_second(below.microseconds)
    text = f"{seconds % 60}{_fraction(below.microseconds, 6)}s"
    minutes = seconds // 60
    if minutes >= 60:
        return f"{minutes // 60}h{minutes % 60}m{text}"
    return f"{minutes}m{text}" if minutes else text


def _format_below_second(microseconds: int) -> str:
    if not microseconds:
        return "0s"
    if microseconds < 1000:
        return f"{microseconds}\u00b5s"
    return f"{microseconds // 1000}{_fraction(microseconds % 1000, 3)}ms"


def _fraction(value: int, digits: int) -> str:
    return f".{value:0{digits}}".rstrip("0").rstrip(".")


def _nanoseconds(unsigned: str, text: str) -> int:
    """The sum of all terms of `unsigned`, at most 2**63; `text` is for the errors."""
    if not unsigned:
        raise _invalid(text)
    total = 0
    for match in _TERM.finditer(unsigned):
        whole, fraction, unit = match.groups()
        if match.end() == match.start():  # the empty match behind the last term
            continue
        digits = whole.lstrip("0")
        # Length first: Python refuses to convert thousands of digits.
        if not (whole or fraction) or len(digits) > 19 or int(digits or "0") > _LIMIT:
            raise _invalid(text)
        if not unit:
            raise InvalidValueError(f"time: missing unit in duration {_quote(text)}")
        if unit not in _UNITS:
            raise InvalidValueError(f"time: unknown unit {_quote(unit)} in duration {_quote(text)}")
        total += int(digits or "0") * _UNITS[unit] + _part(fraction or "", _UNITS[unit])
        if total > _LIMIT:
            raise _invalid(text)
    return total


def _part(fraction: str, unit: int) -> int:
    """Nanoseconds of the digits behind a decimal point, by Go's floating point steps and not better."""
    value = 0
    scale = 1.0
    for digit in fraction:
        if value > (_LIMIT - 1) // 10 or value * 10 + int(digit) > _LIMIT:
            break
        value = value * 10 + int(digit)
        scale *= 10
    return int(float(value) * (unit / scale))


def _invalid(text: str) -> InvalidValueError:
    return InvalidValueError(f"time: invalid duration {_quote(text)}")


def _quote(text: str) -> str:
    r"""As Go's time package quotes: every byte that is not printable ASCII as `\xff`, but DEL as it is."""
    return '"' + "".join(_quoted_byte(byte) for byte in encode(text)) + '"'


def _quoted_byte(byte: int) -> str:
    if byte >= 0x80 or byte < 0x20:
        return f"\\x{byte:02x}"
    return f"\\{byte:c}" if byte in b'"\\' else f"{byte:c}"

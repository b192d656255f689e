"""Values and text in the forms that Go's fmt, strconv and time packages give them: log readers parse those."""

import re
from collections.abc import Mapping, Sequence, Set
from datetime import datetime
from typing import Final

# A container inside a container, and so on: deeper than this is shown by Python's own repr, which cannot recurse.
_DEEPEST: Final = 4

_BARE: Final = re.compile(r"[A-Za-z0-9\-._/@^+]*")

_SHORT_ESCAPES: Final = {
    "\a": r"\a",
    "\b": r"\b",
    "\f": r"\f",
    "\n": r"\n",
    "\r": r"\r",
    "\t": r"\t",
    "\v": r"\v",
}


def timestamp(moment: datetime) -> str:
    """RFC 3339 with the fraction's trailing zeros dropped, in the zone of `moment` (Go's time.RFC3339Nano).

    Args:
        moment: aware; naive ones are taken as local time. Python knows microseconds, so at most six digits appear.
    """
    moment = moment.astimezone() if moment.tzinfo is None else moment
    text = moment.replace(microsecond=0).isoformat()
    seconds, zone = text[:19], text[19:]
    fraction = f".{moment.microsecond:06}".rstrip("0") if moment.microsecond else ""
    return f"{seconds}{fraction}{'Z' if zone == '+00:00' else zone}"


def escaped(text: str) -> str:
    """`text` with every character that is not printable written as a Go escape; the result is one line.

    Printable is what Go's unicode.IsPrint says: letters, marks, numbers, punctuation, symbols and the ASCII space. That
    leaves out line and paragraph separators, terminal controls and the marks that reorder text.
    """
    return text if text.isprintable() else "".join(c if c.isprintable() else _escape(c) for c in text)


def quoted(text: str) -> str:
    """`text` as Go's strconv.Quote writes it; bytes that came in by surrogateescape go out as hex escapes."""
    return f'"{escaped(_with_escaped_quotes(text))}"'


def value_text(text: str) -> str:
    """`text` as a value of a log line: bare if it has only letters, digits and `-._/@^+` (or nothing), else quoted."""
    return text if _BARE.fullmatch(text) else quoted(text)


def plain(value: object, depth: int = 0) -> str:
    """Any value as Go's fmt.Sprint shows it, as far as there is a counterpart; never raises."""
    match value:
        case str():
            return str.__str__(value)  # an enum that is a string too has a __str__ of its own
        case None:
            return "<nil>"
        case bool():
            return "true" if value else "false"
        case datetime():
            return timestamp(value)
        case bytes() | bytearray():
            return bytes(value).decode("utf-8", "surrogateescape")
        case Mapping() if depth < _DEEPEST:
            pairs = sorted((plain(key, depth + 1), plain(item, depth + 1)) for key, item in value.items())
            return f"map[{' '.join(f'{key}:{item}' for key, item in pairs)}]"
        case Sequence() if depth < _DEEPEST:
            return f"[{' '.join(plain(item, depth + 1) for item in value)}]"
        case Set() if depth < _DEEPEST:
            return f"[{' '.join(sorted(plain(item, depth + 1) for item in value))}]"
        case _:
            return _as_python_says(value)


def _as_python_says(value: object) -> str:
    try:
        return str(value)
    except Exception:  # noqa: BLE001 - whatever a __str__ raises, a log call never raises; the line says what happened
        return f"<unprintable {type(value).__name__}>"


def _with_escaped_quotes(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _escape(character: str) -> str:
    short = _SHORT_ESCAPES.get(character)
    if short is not None:
        return short
    code = ord(character)
    if code < 0x20 or code == 0x7F:
        return f"\\x{code:02x}"
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"  # a byte that was not UTF-8, as PEP 383 carries it
    if 0xD800 <= code <= 0xDFFF:
        return r"\ufffd"  # half of a surrogate pair is no character to Go
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"

"""Quoted text, durations and times as Go's fmt, strconv and time packages write them, since log readers parse those."""

from datetime import datetime, timedelta
from typing import Final

_SHORT_ESCAPES: Final = {
    "\a": r"\a",
    "\b": r"\b",
    "\f": r"\f",
    "\n": r"\n",
    "\r": r"\r",
    "\t": r"\t",
    "\v": r"\v",
}


def quote(text: str) -> str:
    r"""Returns `text` between quotation marks, on one line, as `%q`; bytes that are not UTF-8 (PEP 383) as `\xff`."""
    with_marks = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped(with_marks)}"'


def escaped(text: str) -> str:
    """Returns `text` with every character that is not printable written as an escape; the result is one line.

    Printable is what Go's unicode.IsPrint says: letters, marks, numbers, punctuation, symbols and the ASCII space. That
    leaves out line and paragraph separators, terminal controls and the marks that reorder text.
    """
    return text if text.isprintable() else "".join(c if c.isprintable() else _escape(c) for c in text)


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
        return r"\ufffd"  # half of a surrogate pair is not a character in Go
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def format_duration(duration: timedelta) -> str:
    """Returns a duration as Go's `Duration.String`: `24h0m0s`, `1.5s`, `100ms`, `0s`."""
    if duration < timedelta():
        return f"-{format_duration(-duration)}"
    microseconds = duration // timedelta(microseconds=1)
    if not microseconds:
        return "0s"
    if microseconds < 1_000:
        return f"{microseconds}\u00b5s"
    if microseconds < 1_000_000:
        return f"{_fixed(microseconds, 3)}ms"
    minutes, rest = divmod(microseconds, 60_000_000)
    hours = f"{minutes // 60}h" if minutes >= 60 else ""
    return f"{hours}{f'{minutes % 60}m' if minutes else ''}{_fixed(rest, 6)}s"


def _fixed(value: int, digits: int) -> str:
    whole, fraction = divmod(value, 10**digits)
    return f"{whole}.{fraction:0{digits}}".rstrip("0").rstrip(".")


def timestamp(moment: datetime) -> str:
    """Returns a time by RFC 3339 without zeros at the end of the fraction (`time.RFC3339Nano`), in its own zone.

    Args:
        moment: aware; naive ones are taken as local time. Python knows microseconds, so at most six digits appear.
    """
    moment = moment.astimezone() if moment.tzinfo is None else moment
    text = moment.replace(microsecond=0).isoformat()
    seconds, zone = text[:19], text[19:]
    fraction = f".{moment.microsecond:06}".rstrip("0") if moment.microsecond else ""
    return f"{seconds}{fraction}{'Z' if zone == '+00:00' else zone}"


def join_host_port(host: str, port: int) -> str:
    """Returns `host:port`, an IPv6 address in brackets, as Go's `net.JoinHostPort`."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

"""One log record as one line, in Dapr's three forms: text, JSON, and the coloured short form of a terminal.

Values are written as Go's fmt, strconv and time packages write them, since log readers parse those. Every form escapes
line breaks and terminal controls, so that no text of a peer can forge a record.
"""

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence, Set
from datetime import datetime
from typing import Final

import msgspec

from sentry_trio.go_text import escaped, quote, timestamp

# Containers nested deeper than this are written by Python's own repr, which cannot recurse.
_MAX_DEPTH: Final = 4

_BARE: Final = re.compile(r"[A-Za-z0-9\-._/@^+]*")

# Characters that Go's encoding/json escapes in addition to JSON's; and DEL and C1 controls, which terminals obey.
_JSON_ESCAPES: Final = (
    {ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}
    | {code: f"\\u{code:04x}" for code in range(0x7F, 0xA0)}
    | dict.fromkeys(range(0xD800, 0xE000), r"\ufffd")
)

_COLOURS: Final = {"debug": 37, "info": 36, "warning": 33, "error": 31, "fatal": 31}


class Record(msgspec.Struct, frozen=True):
    """Content of one log call.

    Attributes:
        time: aware.
        level: `debug`, `info`, `warning`, `error` or `fatal`.
        message: any text.
        fields: everything else, by name; a name never equals `time`, `level` or `msg`.
    """

    time: datetime
    level: str
    message: str
    fields: Mapping[str, object]


Renderer = Callable[[Record], str]


def text(record: Record) -> str:
    """`time="..." level=... msg="..."` and then the fields in alphabetical order (Dapr Sentry 1.18 on a pipe or file).

    An empty message leaves `msg` out, as Dapr's logger does.
    """
    head = [f"time={value_text(timestamp(record.time))}", f"level={value_text(record.level)}"]
    if record.message:
        head.append(f"msg={value_text(record.message)}")
    tail = (f"{value_text(name)}={value_text(plain(value))}" for name, value in sorted(record.fields.items()))
    return " ".join((*head, *tail))


def json_text(record: Record) -> str:
    """One JSON object, keys in alphabetical order, `<`, `>` and `&` escaped (Dapr Sentry 1.18 with --log-as-json)."""
    members = {name: _json_value(value) for name, value in record.fields.items()}
    members |= {"time": timestamp(record.time), "level": record.level, "msg": record.message}
    line = json.dumps(members, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    # All of these occur only inside strings, so the whole line can be translated at once.
    return line.translate(_JSON_ESCAPES)


def coloured(since: datetime) -> Renderer:
    """The short form for a terminal: `INFO[0012] message  name=value`, the level in colour.

    Args:
        since: time at which the process began to log; the number in brackets counts whole seconds from then.
    """

    def render(record: Record) -> str:
        colour = _COLOURS[record.level]
        seconds = max(0, int((record.time - since).total_seconds()))
        tail = "".join(
            f" \x1b[{colour}m{value_text(name)}\x1b[0m={value_text(plain(value))}"
            for name, value in sorted(record.fields.items())
        )
        return f"\x1b[{colour}m{record.level[:4].upper()}\x1b[0m[{seconds:04}] {escaped(record.message):<44} {tail}"

    return render


def _json_value(value: object, depth: int = 0) -> object:
    """`value` as JSON; values that JSON lacks become text."""
    match value:
        case bool() | None:
            return value
        case int():
            return value if -(2**63) <= value < 2**64 else plain(value)
        case float():
            return value if math.isfinite(value) else str(value)
        case Mapping() if depth < _MAX_DEPTH:
            return {plain(key): _json_value(item, depth + 1) for key, item in value.items()}
        case str() | bytes() | bytearray():
            return plain(value)
        case Sequence() if depth < _MAX_DEPTH:
            return [_json_value(item, depth + 1) for item in value]
        case Set() if depth < _MAX_DEPTH:
            return sorted(plain(item) for item in value)
        case _:
            return plain(value)


# --- values as Go writes them


def value_text(text: str) -> str:
    """`text` as a value of a log line: bare if it has only letters, digits and `-._/@^+` (or nothing), else quoted."""
    return text if _BARE.fullmatch(text) else quote(text)


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
        case Mapping() if depth < _MAX_DEPTH:
            pairs = sorted((plain(key, depth + 1), plain(item, depth + 1)) for key, item in value.items())
            return f"map[{' '.join(f'{key}:{item}' for key, item in pairs)}]"
        case Sequence() if depth < _MAX_DEPTH:
            return f"[{' '.join(plain(item, depth + 1) for item in value)}]"
        case Set() if depth < _MAX_DEPTH:
            return f"[{' '.join(sorted(plain(item, depth + 1) for item in value))}]"
        case _:
            return _python_text(value)


def _python_text(value: object) -> str:
    try:
        return str(value)
    except Exception:  # noqa: BLE001 - whatever a __str__ raises, a log call never raises; the line says what happened
        return f"<unprintable {type(value).__name__}>"

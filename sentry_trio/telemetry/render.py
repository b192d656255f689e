"""One log record as one line, in Dapr's three forms: text, JSON, and the coloured short form of a terminal.

Every form escapes what would end the line or steer a terminal, so nothing that a peer sends can forge a record.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sentry_trio.telemetry import go

_DEEPEST: Final = 4

# What Go's encoding/json escapes beyond what JSON demands; DEL and C1 controls too, since terminals obey them.
_JSON_ESCAPES: Final = (
    {ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}
    | {code: f"\\u{code:04x}" for code in range(0x7F, 0xA0)}
    | dict.fromkeys(range(0xD800, 0xE000), r"\ufffd")
)

_COLOURS: Final = {"debug": 37, "info": 36, "warning": 33, "error": 31, "fatal": 31}


@dataclass(frozen=True, slots=True)
class Record:
    """What one log call says.

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
    head = [f"time={go.value_text(go.timestamp(record.time))}", f"level={go.value_text(record.level)}"]
    if record.message:
        head.append(f"msg={go.value_text(record.message)}")
    tail = (f"{go.value_text(name)}={go.value_text(go.plain(value))}" for name, value in sorted(record.fields.items()))
    return " ".join((*head, *tail))


def json_text(record: Record) -> str:
    """One JSON object, keys in alphabetical order, `<`, `>` and `&` escaped (Dapr Sentry 1.18 with --log-as-json)."""
    members = {name: _json_value(value) for name, value in record.fields.items()}
    members |= {"time": go.timestamp(record.time), "level": record.level, "msg": record.message}
    line = json.dumps(members, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    # All of these can only stand inside strings, so that the whole line may be translated at once.
    return line.translate(_JSON_ESCAPES)


def coloured(since: datetime) -> Renderer:
    """The short form for a terminal: `INFO[0012] message  name=value`, the level in colour.

    Args:
        since: when the process began to log; the number in brackets counts whole seconds from there.
    """

    def render(record: Record) -> str:
        colour = _COLOURS[record.level]
        seconds = max(0, int((record.time - since).total_seconds()))
        tail = "".join(
            f" \x1b[{colour}m{go.value_text(name)}\x1b[0m={go.value_text(go.plain(value))}"
            for name, value in sorted(record.fields.items())
        )
        return f"\x1b[{colour}m{record.level[:4].upper()}\x1b[0m[{seconds:04}] {go.escaped(record.message):<44} {tail}"

    return render


def _json_value(value: object, depth: int = 0) -> object:
    """`value` in what JSON has; what JSON has not becomes text."""
    match value:
        case bool() | None:
            return value
        case int():
            return value if -(2**63) <= value < 2**64 else go.plain(value)
        case float():
            return value if math.isfinite(value) else str(value)
        case Mapping() if depth < _DEEPEST:
            return {go.plain(key): _json_value(item, depth + 1) for key, item in value.items()}
        case str() | bytes() | bytearray():
            return go.plain(value)
        case Sequence() if depth < _DEEPEST:
            return [_json_value(item, depth + 1) for item in value]
        case Set() if depth < _DEEPEST:
            return sorted(go.plain(item) for item in value)
        case _:
            return go.plain(value)

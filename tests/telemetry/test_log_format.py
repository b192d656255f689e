"""The three forms of a line, against lines worked out by hand."""

import json
import math
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentry_trio.telemetry.log_format import Record, coloured, json_text, text
from tests.telemetry.unquote import unquote

NOON = datetime(2026, 3, 1, 12, 0, 5, 250000, tzinfo=UTC)
CONSTANT: dict[str, object] = {"instance": "host-1", "scope": "dapr.sentry", "type": "log", "ver": "unknown"}

ANY_TEXT = st.text(st.characters(exclude_categories=())) | st.sampled_from(
    ['\nlevel=fatal msg="forged"', "\r\n", "\x1b]0;title\x07", "\u2028", "\x85", '"', "\\", "</script>", "\udcff"]
)
ANY_VALUE = st.recursive(
    ANY_TEXT | st.none() | st.booleans() | st.integers() | st.floats() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3) | st.tuples(inner),
    max_leaves=5,
)


def record(message: str, level: str = "info", **fields: object) -> Record:
    return Record(NOON, level, message, {**fields, **CONSTANT})


@pytest.mark.parametrize(
    ("said", "line"),
    [
        (
            record("CA certificate key pair ready"),
            (
                'time="2026-03-01T12:00:05.25Z" level=info msg="CA certificate key pair ready"'
                " instance=host-1 scope=dapr.sentry type=log ver=unknown"
            ),
        ),
        (
            record("done", "warning", targets=["a", "b"], zone="", app="x y"),
            (
                'time="2026-03-01T12:00:05.25Z" level=warning msg=done app="x y"'
                ' instance=host-1 scope=dapr.sentry targets="[a b]" type=log ver=unknown zone='
            ),
        ),
        (
            record("a\nb", "fatal"),
            (
                r'time="2026-03-01T12:00:05.25Z" level=fatal msg="a\nb"'
                " instance=host-1 scope=dapr.sentry type=log ver=unknown"
            ),
        ),
        (
            record(""),
            'time="2026-03-01T12:00:05.25Z" level=info instance=host-1 scope=dapr.sentry type=log ver=unknown',
        ),
    ],
)
def test_text(said: Record, line: str) -> None:
    assert text(said) == line


def test_json() -> None:
    said = record(
        "a <b> & c\n", "error", targets=("x", b"y"), count=3, ratio=0.5, odd=math.nan, none=None, many={"b": 1}
    )
    assert json_text(said) == (
        r'{"count":3,"instance":"host-1","level":"error","many":{"b":1},"msg":"a \u003cb\u003e \u0026 c\n","none":null,'
        r'"odd":"nan","ratio":0.5,"scope":"dapr.sentry","targets":["x","y"],"time":"2026-03-01T12:00:05.25Z",'
        r'"type":"log","ver":"unknown"}'
    )


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param(10**5000, "<unprintable int>", id="digits"),
        (2**64, str(2**64)),
        (2**64 - 1, 2**64 - 1),
        ({"b", "a"}, ["a", "b"]),
        ({1: {2: 3}}, {"1": {"2": 3}}),
        (NOON, "2026-03-01T12:00:05.25Z"),
        (-math.inf, "-inf"),
    ],
)
def test_json_values_that_json_has_not(value: object, expected: object) -> None:
    assert json.loads(json_text(record("m", field=value)))["field"] == expected


def test_json_of_a_list_that_holds_itself_ends() -> None:
    loop: list[object] = []
    loop.append(loop)
    assert json.loads(json_text(record("m", field=loop)))["field"] == [[[["[[[[[[...]]]]]]"]]]]


@pytest.mark.parametrize(
    ("level", "head"),
    [
        ("debug", "\x1b[37mDEBU\x1b[0m"),
        ("info", "\x1b[36mINFO\x1b[0m"),
        ("warning", "\x1b[33mWARN\x1b[0m"),
        ("error", "\x1b[31mERRO\x1b[0m"),
        ("fatal", "\x1b[31mFATA\x1b[0m"),
    ],
)
def test_coloured(level: str, head: str) -> None:
    colour = head[2:4]
    render = coloured(since=NOON - timedelta(seconds=75.9))
    assert render(Record(NOON, level, "ready\x1b[2J", {"b": "x y", "a": 1})) == (
        f'{head}[0075] {"ready" + chr(92) + "x1b[2J":<44}  \x1b[{colour}ma\x1b[0m=1 \x1b[{colour}mb\x1b[0m="x y"'
    )


def test_a_clock_that_was_set_back_does_not_show() -> None:
    assert "[0000]" in coloured(since=NOON)(Record(NOON - timedelta(hours=1), "info", "m", {}))


@settings(max_examples=100, deadline=None)
@given(ANY_TEXT, ANY_VALUE, st.sampled_from([text, json_text, coloured(since=NOON)]))
def test_any_message_stays_one_line(message: str, value: object, render: Callable[[Record], str]) -> None:
    line = render(record(message, value=value))
    assert len(line.splitlines()) == 1
    # Nothing but the colours of the coloured form itself can steer a terminal, and all of it can be written.
    assert re.sub(
        "\x1b\\[\\d\\dm|\x1b\\[0m" if render not in (text, json_text) else "(?!)", "", line
    ).isprintable() or (render is json_text and not re.search("[\x00-\x1f\x7f-\x9f\u2028\u2029]", line))
    line.encode()


@settings(max_examples=100, deadline=None)
@given(ANY_TEXT, ANY_VALUE)
def test_json_parses_back(message: str, value: object) -> None:
    parsed = json.loads(json_text(record(message, value=value)))
    assert parsed["msg"] == re.sub("[\ud800-\udfff]", "\ufffd", message)
    assert list(parsed) == sorted(parsed)
    assert {name: parsed[name] for name in CONSTANT} == CONSTANT


@settings(max_examples=100, deadline=None)
@given(st.text(), st.text())
def test_text_parses_back(message: str, value: str) -> None:
    line = text(record(message, value=value))
    tokens = re.findall(r'([a-z]+)=("(?:[^"\\]|\\.)*"|\S*)', line)
    parsed = {name: unquote(token) if token.startswith('"') else token.encode() for name, token in tokens}
    assert parsed.get("msg", b"") == message.encode()
    assert parsed["value"] == value.encode()
    assert parsed["level"] == b"info"
    assert len(tokens) == 8 - (message == "")

"""Flags that a dataclass declares; what is accepted was compared with pflag 1.0.10."""

import contextlib
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentry_trio.errors import InvalidOptionsError
from sentry_trio.settings.checks import positive
from sentry_trio.settings.flags import (
    REQUIRED,
    CommandLine,
    HelpRequested,
    Kind,
    UsageError,
    declare,
    flags_of,
    parse_command_line,
    parse_flags,
)


class Declared(msgspec.Struct, frozen=True, kw_only=True):
    port: int = declare(Kind.INT, 50001, "Port", check=positive)
    zero: int = declare(Kind.INT, 0, "Zero")
    config: str = declare(Kind.STRING, "daprsystem", "Text")
    unset: str | None = declare(Kind.STRING, None, "Unset")
    jwt_enabled: bool = declare(Kind.BOOL, default=False, help="JWT")
    on: bool = declare(Kind.BOOL, default=True, help="On")
    jwt_ttl: timedelta = declare(Kind.DURATION, timedelta(hours=24), "TTL")
    hosts: tuple[str, ...] = declare(Kind.STRINGS, ("a", "b"), "Hosts")
    share: float = declare(Kind.FLOAT, 0.5, "Share")
    replica: tuple[str, ...] = declare(Kind.REPEATED, (), "Replicas", metavar="HOST:PORT")
    watch: str = declare(Kind.STRING, "", "Interval", metavar="SECONDS", implied="2")
    shell: str = declare(Kind.STRING, "bash", "Shell", choices=("bash", "zsh"))


class Copy(msgspec.Struct, frozen=True, kw_only=True):
    source: str = declare(Kind.STRING, REQUIRED, "Source", metavar="FILE", is_positional=True)
    target: str = declare(Kind.STRING, ".", "Target", metavar="DIR", is_positional=True)
    id: str = declare(Kind.STRING, REQUIRED, "App ID")


def parse(*arguments: str) -> CommandLine:
    return parse_command_line(flags_of(Declared), arguments)


def test_heads_and_summaries() -> None:
    assert [(flag.head, flag.summary) for flag in flags_of(Declared)] == [
        ("--port int", "Port (default 50001)"),
        ("--zero int", "Zero"),
        ("--config string", 'Text (default "daprsystem")'),
        ("--unset string", "Unset"),
        ("--jwt-enabled", "JWT"),
        ("--on", "On (default true)"),
        ("--jwt-ttl duration", "TTL (default 24h0m0s)"),
        ("--hosts strings", "Hosts (default a,b)"),
        ("--share float", "Share (default 0.5)"),
        ("--replica HOST:PORT", "Replicas"),
        ("--watch [SECONDS]", "Interval"),
        ("--shell string", 'Shell: bash, zsh (default "bash")'),
    ]
    assert [flag.head for flag in flags_of(Copy)] == ["FILE", "DIR", "--id string"]


@pytest.mark.parametrize(
    ("arguments", "name", "value"),
    [
        ([], "port", 50001),
        (["--port=1"], "port", 1),
        (["--port", "1"], "port", 1),
        (["-port", "1"], "port", 1),
        (["-port=0x10"], "port", 16),
        (["--port=1_000"], "port", 1000),
        (["--port=1", "--port=2"], "port", 2),
        (["--port", "-1"], "port", -1),
        (["--config="], "config", ""),
        (["--config=a=b"], "config", "a=b"),
        (["--config", "--port"], "config", "--port"),
        (["--config", "-abc"], "config", "--abc"),  # the blind rewriting
        (["--config", "-a"], "config", "-a"),
        (["--config", ""], "config", ""),
        (["--unset="], "unset", ""),
        ([], "unset", None),
        (["--jwt-enabled"], "jwt-enabled", True),
        (["--jwt-enabled", "false"], "jwt-enabled", True),
        (["--jwt-enabled=false"], "jwt-enabled", False),
        (["--on=0"], "on", False),
        (["--jwt-ttl=90m"], "jwt-ttl", timedelta(minutes=90)),
        (["--hosts=a,b", "-hosts", "c"], "hosts", ("a", "b", "c")),
        (["--hosts="], "hosts", ()),
        (["--replica=a,b", "--replica", "c"], "replica", ("a,b", "c")),
        (["--watch"], "watch", "2"),
        (["--watch", "--port=1"], "watch", "2"),
        (["--watch", "0.5"], "watch", "0.5"),
        (["--watch=0.5"], "watch", "0.5"),
        (["--", "--port=1"], "port", 50001),
        (["x", "--port=1", "y"], "port", 1),
    ],
)
def test_values(arguments: list[str], name: str, value: Any) -> None:
    assert parse(*arguments).values[name] == value


def test_other_arguments_are_positional() -> None:
    parsed = parse("a", "--jwt-enabled", "false", "", "-", "--", "-port", "--nope")
    assert parsed.positional == ("a", "false", "", "-", "--port", "--nope")
    assert parsed.given == {"jwt-enabled"}


@pytest.mark.parametrize(
    ("argument", "error"),
    [
        ("--nope", "unknown flag: --nope"),
        ("-nope=1", "unknown flag: --nope"),
        ("--zzz", "unknown flag: --zzz"),
        ("--prot=1", "unknown flag: --prot; did you mean --port?"),
        ("-é", "unknown flag: --é"),  # two letters, three bytes
        ("-x", "unknown flag: -x"),
        ("--port", "flag needs an argument: --port"),
        ("---port=1", "bad flag syntax: ---port=1"),
        ("--=1", "bad flag syntax: --=1"),
        ("--port=abc", 'invalid --port: expected an integer, got "abc"'),
        ("--port=9223372036854775808", 'invalid --port: expected an integer of 64 bits, got "9223372036854775808"'),
        ("--jwt-ttl=1d", 'invalid --jwt-ttl: expected a duration such as 1h30m, got "1d"'),
        ("--jwt-enabled=maybe", 'invalid --jwt-enabled: expected true or false, got "maybe"'),
        ('--hosts=a"b', r'invalid --hosts: expected a list such as a,b or "a,b",c, got "a\"b"'),
        ("--share=half", 'invalid --share: expected a number, got "half"'),
        ("--port=\n", r'invalid --port: expected an integer, got "\n"'),
    ],
)
def test_mistakes(argument: str, error: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(argument)
    assert str(caught.value) == error


@pytest.mark.parametrize("argument", ["-h", "-help", "--help", "--help=x"])
def test_help(argument: str) -> None:
    with pytest.raises(HelpRequested):
        parse("--port=1", argument, "--nope")


def test_the_first_mistake_counts_even_before_help() -> None:
    with pytest.raises(UsageError, match="--nope"):
        parse("--nope", "--help")


def test_a_command_line_becomes_a_dataclass() -> None:
    parsed = parse_flags(Declared, ["--port=7", "--hosts=c", "--shell=zsh"])
    assert (parsed.port, parsed.hosts, parsed.shell, parsed.unset) == (7, ("c",), "zsh", None)
    assert parse_flags(Copy, ["--id=x", "a"]) == Copy(source="a", target=".", id="x")
    assert parse_flags(Copy, ["a", "b", "--id=x"]) == Copy(source="a", target="b", id="x")


@pytest.mark.parametrize(
    ("options", "arguments", "error"),
    [
        (Declared, ["--port=0"], "--port must be positive, got 0"),
        (Declared, ["--shell=fish"], 'invalid --shell "fish": expected one of bash, zsh'),
        (Declared, ["a", "b"], "unexpected arguments: a b"),
        (Copy, ["a"], "--id is required"),
        (Copy, ["--id=x"], "FILE is required"),
        (Copy, ["--id=x", "a", "b", "c"], "unexpected arguments: c"),
    ],
)
def test_values_that_are_not_accepted(options: type, arguments: list[str], error: str) -> None:
    with pytest.raises(InvalidOptionsError) as caught:
        parse_flags(options, arguments)
    assert str(caught.value) == error


@given(
    st.lists(
        st.text(st.characters(), max_size=8)
        | st.sampled_from(["-h", "--", "--port", "-port=5", "--hosts", "-jwt-ttl", "--jwt-enabled", "1h", "--config="])
    )
)
@settings(max_examples=100, deadline=None)
def test_any_arguments_are_parsed_or_rejected(arguments: list[str]) -> None:
    try:
        with contextlib.suppress(UsageError):
            parse(*arguments)
    except HelpRequested:
        assert any(argument.lstrip("-").startswith("h") for argument in arguments)

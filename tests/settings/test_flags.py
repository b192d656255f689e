"""The parser of flags; outcomes, usage text and error lines were compared with those of pflag 1.0.10."""

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentry_trio.settings.flags import Flag, FlagSet, HelpRequested, Kind, UsageError, Value

FLAGS = FlagSet(
    "sentry",
    [
        Flag("port", Kind.INT, 50001, "Port"),
        Flag("zero", Kind.INT, 0, "Zero"),
        Flag("config", Kind.STRING, "daprsystem", "Config text"),
        Flag("empty", Kind.STRING, "", "Empty"),
        Flag("unset", Kind.STRING, None, "Unset"),
        Flag("jwt-enabled", Kind.BOOL, default=False, usage="JWT"),
        Flag("on", Kind.BOOL, default=True, usage="On"),
        Flag("jwt-ttl", Kind.DURATION, timedelta(hours=24), "TTL"),
        Flag("none", Kind.DURATION, timedelta(), "None"),
        Flag("hosts", Kind.STRINGS, (), "Hosts"),
        Flag("share", Kind.FLOAT, 0.5, "Share"),
    ],
)

USAGE = """\
Usage of sentry:
      --config string      Config text (default "daprsystem")
      --empty string       Empty
      --hosts strings      Hosts
      --jwt-enabled        JWT
      --jwt-ttl duration   TTL (default 24h0m0s)
      --none duration      None
      --on                 On (default true)
      --port int           Port (default 50001)
      --share float        Share (default 0.5)
      --unset string       Unset
      --zero int           Zero
"""


def test_usage() -> None:
    assert FLAGS.usage() == USAGE
    assert FlagSet("bare", ()).usage() == "Usage of bare:\n"


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
        (["--", "--port=1"], "port", 50001),
        (["x", "--port=1", "y"], "port", 1),
    ],
)
def test_values(arguments: list[str], name: str, value: Value | None) -> None:
    assert FLAGS.parse(arguments).values[name] == value


def test_what_is_no_flag_is_left_over() -> None:
    parsed = FLAGS.parse(["a", "--jwt-enabled", "false", "", "-", "--", "-port", "--nope"])
    assert parsed.positional == ("a", "false", "", "-", "--port", "--nope")
    assert parsed.given == {"jwt-enabled"}


@pytest.mark.parametrize(
    ("argument", "line"),
    [
        ("--nope", "unknown flag: --nope; did you mean --none?"),
        ("-nope=1", "unknown flag: --nope; did you mean --none?"),
        ("--zzz", "unknown flag: --zzz"),
        ("--prot=1", "unknown flag: --prot; did you mean --port?"),
        ("-é", "unknown flag: --é"),  # two letters, three bytes
        ("-x", "unknown shorthand flag: 'x' in -x"),
        ("-'", r"unknown shorthand flag: '\'' in -'"),
        ("--port", "flag needs an argument: --port"),
        ("---port=1", "bad flag syntax: ---port=1"),
        ("--=1", "bad flag syntax: --=1"),
        (
            "--port=abc",
            'invalid argument "abc" for "--port" flag: strconv.ParseInt: parsing "abc": invalid syntax',
        ),
        (
            "--port=9223372036854775808",
            (
                'invalid argument "9223372036854775808" for "--port" flag: '
                'strconv.ParseInt: parsing "9223372036854775808": value out of range'
            ),
        ),
        ("--jwt-ttl=1d", 'invalid argument "1d" for "--jwt-ttl" flag: time: unknown unit "d" in duration "1d"'),
        (
            "--jwt-enabled=maybe",
            'invalid argument "maybe" for "--jwt-enabled" flag: strconv.ParseBool: parsing "maybe": invalid syntax',
        ),
        (
            '--hosts=a"b',
            'invalid argument "a\\"b" for "--hosts" flag: parse error on line 1, column 2: bare " in non-quoted-field',
        ),
        (
            "--share=half",
            'invalid argument "half" for "--share" flag: strconv.ParseFloat: parsing "half": invalid syntax',
        ),
        ("--port=\n", r'invalid argument "\n" for "--port" flag: strconv.ParseInt: parsing "\n": invalid syntax'),
    ],
)
def test_mistakes(argument: str, line: str) -> None:
    with pytest.raises(UsageError) as caught:
        FLAGS.parse([argument])
    assert (caught.value.line, str(caught.value), caught.value.usage) == (line, line, USAGE)


@pytest.mark.parametrize("argument", ["-h", "-help", "--help", "--help=x"])
def test_help(argument: str) -> None:
    with pytest.raises(HelpRequested):
        FLAGS.parse(["--port=1", argument, "--nope"])


def test_the_first_mistake_counts_even_before_help() -> None:
    with pytest.raises(UsageError, match="--nope"):
        FLAGS.parse(["--nope", "--help"])


def test_typed_reading() -> None:
    parsed = FLAGS.parse(["--hosts=a,b", "--unset=x"])
    assert parsed.get("port", int) == 50001
    assert parsed.texts("hosts") == ("a", "b")
    assert parsed.text_if_given("unset") == "x"
    assert FLAGS.parse([]).text_if_given("unset") is None
    with pytest.raises(TypeError, match="--port is int, not str"):
        parsed.get("port", str)


@given(
    st.lists(
        st.text(st.characters(), max_size=8)
        | st.sampled_from(["-h", "--", "--port", "-port=5", "--hosts", "-jwt-ttl", "--jwt-enabled", "1h", "--config="])
    )
)
@settings(max_examples=100, deadline=None)
def test_any_arguments_are_read_or_refused(arguments: list[str]) -> None:
    usage = USAGE
    try:
        FLAGS.parse(arguments)
    except HelpRequested:
        assert any(argument.lstrip("-").startswith("h") for argument in arguments)
    except UsageError as error:
        usage = error.usage
    assert usage == USAGE

"""Environment variables in a text; outcomes were compared with those of Go's `os.Expand`."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentry_trio.errors import InvalidConfigurationError
from sentry_trio.settings.substitution import substitute

ENVIRON = {"NAME": "value", "N1": "$NAME", "A B": "spaced", "é": "accent", "RAW": "\udcff", "1": "one", "*": "star"}


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        (b"plain", b"plain"),
        (b"$NAME", b"value"),
        (b"a${NAME}b", b"avalueb"),
        (b"$NAME-x", b"value-x"),
        (b"$NAMEx", b""),
        (b"$N1", b"$NAME"),  # put in once, not again
        (b"a$MISSING b", b"a b"),
        (b"a${MISSING}b", b"ab"),
        (b"${A B}", b"spaced"),
        ("${é}".encode(), b"accent"),
        ("$é".encode(), "$é".encode()),
        (b"$RAW\xfe", b"\xff\xfe"),
        (b"$$", b""),
        (b"$$NAME", b"NAME"),
        (b"$1", b"one"),
        (b"$12", b"one2"),
        (b"${1}", b"one"),
        (b"$*${*}", b"starstar"),
        (b"$#$@$!$?$-$0", b""),
        (b"$ x", b"$ x"),
        (b"x$", b"x$"),
        (b"$.", b"$."),
        (b"${}x", b"x"),
        (b"${NAME", b"NAME"),
        (b"${NAME} ${X", b"value X"),
        (b"${${NAME}", b""),
        (b"$}", b"$}"),
    ],
)
def test_references(text: bytes, outcome: bytes) -> None:
    assert substitute(text, ENVIRON, most=100) == outcome


def test_the_outcome_is_bounded() -> None:
    assert substitute(b"$A$A", {"A": "x" * 50}, most=100) == b"x" * 100
    for text in (b"$A$A.", b"$A" * 1000, b"." * 101):
        with pytest.raises(InvalidConfigurationError, match=r"^more than 100 bytes after the substitution of"):
            substitute(text, {"A": "x" * 50}, most=100)


def test_many_unterminated_braces_take_linear_time() -> None:
    assert substitute(b"}" + b"${" * 50_000, {}, most=1 << 20) == b"}"


@given(st.binary(max_size=40), st.dictionaries(st.text(max_size=3), st.text(st.characters(), max_size=5)))
@settings(max_examples=100, deadline=None)
def test_any_bytes_are_taken(text: bytes, environ: dict[str, str]) -> None:
    if b"$" not in text:
        assert substitute(text, environ, most=1000) == text
    substitute(text.replace(b"a", b"$").replace(b"b", b"{"), environ, most=1000)

"""A short, deterministic run of the fuzzing targets: all seeds and findings, and some thousand changes of them.

`make fuzz` is led by coverage and finds more; it needs atheris, and this does not.
"""

import random
from collections.abc import Iterator
from typing import cast

import pytest

from sentry_trio.errors import InvalidBundleError
from testkit.ca.foreign import corpus
from testkit.ca.mutants import elements, mutate
from testkit.go_modules import UnavailableError
from testkit.go_x509 import GoX509, go_x509

from .targets import TARGETS, inputs, only

CHANGES = 1000
_WORDS = (
    b"\0",
    b"\xff",
    b"-----BEGIN ",
    b"-----END ",
    b"\n",
    b"\r",
    b"{",
    b"[",
    b'"',
    b"\\u0000",
    b"null",
    b": ",
    b"&a",
)


@pytest.fixture(scope="module")
def go() -> Iterator[GoX509 | None]:
    """Go's verdicts, or None without Go: the other oracles need none."""
    try:
        with go_x509() as program:
            yield program
    except UnavailableError:
        yield None


def changed(data: bytes, chance: random.Random) -> bytes:
    """Returns the bytes with one part removed, repeated, replaced or inserted."""
    if elements(data) and chance.random() < 0.7:
        return mutate(data, chance)
    start, end = sorted(chance.randrange(len(data) + 1) for _ in range(2))
    part = data[start : min(end, start + 40)]
    rest = data[start + len(part) :]
    return data[:start] + chance.choice((b"", part * 3, chance.choice(_WORDS), chance.randbytes(3))) + rest


@pytest.mark.parametrize("name", TARGETS)
def test_target(go: GoX509 | None, name: str) -> None:
    chance, known, run = random.Random(name), inputs(name), TARGETS[name].run
    for data in known:
        run(data, go)
    for _ in range(CHANGES):
        run(changed(chance.choice(known), chance), go)


@pytest.mark.parametrize("text", ["", "two\nlines", "x" * 5000])
def test_a_bad_text_is_a_finding(text: str) -> None:
    with pytest.raises(AssertionError), only(InvalidBundleError):
        raise InvalidBundleError(text)


def test_an_undocumented_error_is_a_finding() -> None:
    with pytest.raises(KeyError), only(InvalidBundleError):
        raise KeyError("x")


def test_another_verdict_than_gos_is_a_finding() -> None:
    class Refusing:
        def certificate(self, _: bytes) -> dict[str, str]:
            return {"error": "x509: malformed certificate"}

    with pytest.raises(AssertionError, match="malformed certificate"):
        TARGETS["certificate"].run(corpus("CERTIFICATE")["go: plain"], cast("GoX509", Refusing()))

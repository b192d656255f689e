"""Targets and paths."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentry_trio.web.target import Target, cleaned, segments, target_of


@pytest.mark.parametrize(
    ("raw", "target"),
    [
        (b"/a%20b", Target("/a%20b")),
        (b"*", Target("*")),
        (b"http://h", Target("/", "http", "h")),
        (b"HTTPS://h:1/a/b", Target("/a/b", "https", "h:1")),
        (b"/http://h/a", Target("/http://h/a")),
        (b"host:443", Target("host:443")),
    ],
)
def test_the_target(raw: bytes, target: Target) -> None:
    assert target_of({"raw_path": raw}) == target


@pytest.mark.parametrize(
    ("path", "clean"),
    [
        ("/", "/"),
        ("/a", "/a"),
        ("/a/", "/a/"),
        ("//a", "/a"),
        ("/a//b/", "/a/b/"),
        ("/a/./b", "/a/b"),
        ("/a/../b", "/b"),
        ("/../..", "/"),
        ("//evil.example/..", "/"),
        ("/.//evil.example", "/evil.example"),
        (r"/./\evil.example", "/%5Cevil.example"),
        ("/a%20b", "/a%20b"),
    ],
)
def test_clean_paths(path: str, clean: str) -> None:
    assert cleaned(path) == clean


@given(st.text())
def test_a_clean_path_is_clean_and_leads_nowhere_else(path: str) -> None:
    clean = cleaned(path)
    assert clean.startswith("/")
    assert not clean.startswith(("//", "/\\"))
    assert cleaned(clean) == clean


def test_segments_are_decoded_one_by_one() -> None:
    assert segments("/%6awks.json") == ("", "jwks.json")
    assert segments("/a%2Fb") != segments("/a/b")

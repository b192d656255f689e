"""Tokens taken apart: in bounds, and whatever the bytes."""

import json
from base64 import urlsafe_b64encode
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentry_trio.tokens.compact import (
    LONGEST,
    Compact,
    InvalidTokenError,
    decode_segment,
    encode_token,
    read_object,
    split_token,
)


def segment(data: bytes) -> bytes:
    return urlsafe_b64encode(data).rstrip(b"=")


def test_a_token_taken_apart() -> None:
    token = segment(b'{"alg":"ES256"}') + b"." + segment(b"{}") + b"." + segment(b"\xfb\xff")
    assert split_token(token) == Compact(b'{"alg":"ES256"}', b"{}", b"\xfb\xff", token.rpartition(b".")[0])


@pytest.mark.parametrize(
    "token",
    [
        b"",
        b"opaque",
        b"a.b",
        b"e30.e30.e30.e30",
        b"e30.e30.e30=",
        b"e30.e30.e30\n",
        b" e30.e30.e30",
        b"e30.e30.+/+/",  # base64, and not base64url
        b"e30.e.e30",  # six bits are not a byte
        b"e31.e30.e30",  # `e30`, with a bit more that carries nothing
        b"e30.e31.e30",
        b"e30.e30.AB",
        b"e30.\xff.e30",
    ],
    ids=repr,
)
def test_invalid_tokens(token: bytes) -> None:
    with pytest.raises(InvalidTokenError, match=r"^invalid JWT$"):
        split_token(token)


@pytest.mark.parametrize("text", ["a" * LONGEST, "ü" * (LONGEST // 2)], ids=["narrow", "wide"])
def test_the_longest_token_is_looked_at(text: str) -> None:
    assert encode_token(text) == text.encode()


@pytest.mark.parametrize(
    ("text", "refusal"),
    [
        ("a" * (LONGEST + 1), "longer than 16384 bytes"),
        ("ü" * (LONGEST // 2 + 1), "longer than 16384 bytes"),
        ("\ud800", "not text"),
    ],
    ids=["narrow", "wide", "surrogate"],
)
def test_tokens_that_are_not_looked_at(text: str, refusal: str) -> None:
    with pytest.raises(InvalidTokenError) as caught:
        encode_token(text)
    assert str(caught.value) == refusal


def test_an_object_is_read() -> None:
    assert read_object(b'{"a":{"b":[1,"c"]}}') == {"a": {"b": [1, "c"]}}


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"{",
        b"[]",
        b'"a"',
        b"null",
        b"\xff",
        b'{"a":"\xff"}',
        b"\xef\xbb\xbf{}",  # a byte order mark
        '{"a":1}'.encode("utf-16"),
        '{"a":1}'.encode("utf-32-le"),
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":-Infinity}',
        b'{"exp":1,"exp":2}',
        b'{"alg":"none","\\u0061lg":"ES256"}',
        b'{"a":[{"b":1,"b":1}]}',
        b'{"a":' + b"[" * 100_000,
        b'{"a":' + b'{"a":' * 100_000,
        b'{"a":' + b"9" * 5000 + b"}",
    ],
    ids=lambda document: repr(document[:24]),
)
def test_ambiguous_objects(document: bytes) -> None:
    with pytest.raises(InvalidTokenError, match=r"^invalid JWT$"):
        read_object(document)


@given(st.binary(), st.binary(), st.binary())
def test_composed_tokens_are_split_into_their_parts(header: bytes, payload: bytes, signature: bytes) -> None:
    token = b".".join(map(segment, (header, payload, signature)))
    compact = split_token(token)
    assert (compact.header, compact.payload, compact.signature) == (header, payload, signature)
    assert token == compact.signed + b"." + segment(signature)


@given(st.binary() | st.from_regex(rb"[\w.=-]*", fullmatch=True))
def test_any_bytes_are_a_token_or_refused(data: bytes) -> None:
    with suppress(InvalidTokenError):
        assert data.startswith(split_token(data).signed)
    with suppress(InvalidTokenError):
        assert isinstance(read_object(data), dict)
    with suppress(ValueError):
        assert len(decode_segment(data)) <= len(data)


@given(st.dictionaries(st.text(), st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text()))
def test_any_object_is_read_as_it_was_written(value: dict[str, Any]) -> None:
    assert read_object(json.dumps(value).encode()) == value

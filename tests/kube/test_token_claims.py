"""Reading tokens: in bounds, and whatever the bytes."""

import json
from base64 import urlsafe_b64encode
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentry_trio.errors import NotPermittedError
from sentry_trio.kube.resources import is_name
from sentry_trio.kube.tokens import Header, encode_token, read_claims, read_header
from sentry_trio.tokens.compact import LONGEST
from testkit.kube.fake_review import AUDIENCES, BORN, ISSUER, UID, Signer, claims


def encoded(document: bytes) -> bytes:
    return urlsafe_b64encode(document).rstrip(b"=")


def test_a_kubelet_s_token() -> None:
    token = Signer().token().encode()
    assert read_header(token) == Header(alg="ES256", kid="first")
    found = read_claims(token)
    assert (found.issuer, found.subject, found.audiences) == (ISSUER, "system:serviceaccount:shop:cart", AUDIENCES[1:])
    assert (found.namespace, found.service_account) == ("shop", "cart")
    assert (found.pod_name, found.pod_uid) == ("cart-0", UID)
    assert found.not_before == BORN
    assert found.expires_at is not None
    assert (found.expires_at - BORN).total_seconds() == 600


def test_claims_may_come_as_bare_json() -> None:
    assert read_claims(json.dumps(claims()).encode()) == read_claims(Signer().token().encode())


@pytest.mark.parametrize(
    ("payload", "field", "expected"),
    [
        ({"aud": "one"}, "audiences", ("one",)),
        ({"aud": ["one", "two", 3]}, "audiences", ("one", "two")),
        ({"aud": {"one": 1}}, "audiences", ()),
        ({}, "audiences", ()),
        ({"iss": 5}, "issuer", ""),
        ({"exp": 12.5}, "expires_at", datetime.fromtimestamp(12.5, UTC)),
        ({"exp": True}, "expires_at", None),
        ({"exp": "12"}, "expires_at", None),
        ({"exp": -1}, "expires_at", None),
        ({"exp": 1e300}, "expires_at", None),
        ({"exp": 253402300799}, "expires_at", datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
        ({"exp": 253402300799.5}, "expires_at", None),
        ({"kubernetes.io": 5}, "pod_name", ""),
        ({"kubernetes.io": {"pod": None}}, "pod_name", ""),
        ({"kubernetes.io": {"pod": {"name": 5}}}, "pod_name", ""),
    ],
    ids=str,
)
def test_claims_of_another_kind_are_missing(payload: dict[str, Any], field: str, expected: object) -> None:
    assert getattr(read_claims(json.dumps(payload).encode()), field) == expected


@pytest.mark.parametrize(
    "token",
    [
        b"opaque",
        b"a.b",
        b"a.b.c.d",
        b"e30.e3.x",
        b"e30.!!!.x",
        b"e30." + encoded(b"[1]") + b".x",
        b"e30." + encoded(b"\xff") + b".x",
        b"e30." + encoded(b'{"a":"\xff"}') + b".x",
        b"e30." + encoded(b'{"a":NaN}') + b".x",
        b"{",
        b'{"a":' + b"[" * 10_000,
    ],
    ids=lambda token: repr(token[:20]),
)
def test_invalid_tokens(token: bytes) -> None:
    with pytest.raises(NotPermittedError, match=r"^failed to parse Kubernetes token: "):
        read_claims(token)


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "ES256"},
        {"kid": "first"},
        {"alg": 5, "kid": "first"},
        {"alg": "ES256", "kid": None},
        {"alg": "ES256", "kid": "first", "crit": ["b64"], "b64": False},
        {"alg": "ES256", "kid": "first", "crit": 5},
        {"alg": "ES256", "kid": "first", "jwk": {}},
        ["alg", "kid"],
    ],
    ids=str,
)
def test_headers_that_are_not_the_api_server_s_are_not_read(header: object) -> None:
    assert read_header(encoded(json.dumps(header).encode()) + b".e30.x") is None


@pytest.mark.parametrize(
    ("token", "text"),
    [
        ("", "invalid token: the request does not contain a token"),
        ("a" * (LONGEST + 1), "invalid token: longer than 16384 bytes"),
        ("ü" * (LONGEST // 2 + 1), "invalid token: longer than 16384 bytes"),
        ("\ud800", "invalid token: not text"),
    ],
    ids=lambda text: text[:20].encode("unicode_escape").decode(),
)
def test_tokens_that_are_not_looked_at(token: str, text: str) -> None:
    with pytest.raises(NotPermittedError) as caught:
        encode_token(token)
    assert str(caught.value) == text


def test_the_longest_token() -> None:
    assert len(encode_token("ü" * (LONGEST // 2))) == LONGEST


@pytest.mark.parametrize("name", ["a", "cart-0", "a.b", "0", "a" * 253])
def test_names(name: str) -> None:
    assert is_name(name)


@pytest.mark.parametrize("name", ["", "-", "a-", "A", "a/b", "..", "../a", "a\n", "a b", "a%2f", "a" * 254])
def test_no_names(name: str) -> None:
    assert not is_name(name)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
payloads = st.dictionaries(
    st.sampled_from(["iss", "sub", "aud", "exp", "nbf", "kubernetes.io"]), json_values | st.just({"pod": {"name": "a"}})
)


@given(st.binary() | st.binary().map(lambda data: b"." + encoded(data) + b"."))
def test_any_bytes(token: bytes) -> None:
    header = read_header(token)
    assert header is None or token.count(b".") == 2
    with suppress(NotPermittedError):
        assert read_claims(token).pod_name == ""


@given(payloads)
def test_any_claims(payload: dict[str, Any]) -> None:
    token = b"e30." + encoded(json.dumps(payload).encode()) + b".x"
    try:
        found = read_claims(token)
    except NotPermittedError:
        return
    # A foreign reader finds the same, where it finds a text at all.
    foreign = jwt.decode(b"eyJhbGciOiJub25lIn0" + token[3:-1], options={"verify_signature": False})
    if isinstance(foreign.get("iss"), str):
        assert found.issuer == foreign["iss"]


@given(st.text())
def test_any_text(token: str) -> None:
    with suppress(NotPermittedError):
        assert encode_token(token).decode() == token

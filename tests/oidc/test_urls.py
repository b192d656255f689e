"""Prefix, issuer and jwks_uri, as tables."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentry_trio.errors import InvalidOptionsError
from sentry_trio.oidc.urls import (
    checked_issuer,
    checked_jwks_uri,
    cleaned,
    jwks_uri_of,
    keeps_discovery_rules,
    path_prefix,
    segments,
)


@pytest.mark.parametrize(
    ("text", "prefix"),
    [
        (None, ""),
        ("", ""),
        ("/", ""),
        ("//", ""),
        ("/..", ""),
        ("/oidc", "/oidc"),
        ("/oidc/", "/oidc"),
        ("oidc", "/oidc"),
        ("oidc/", "/oidc"),
        ("//oidc", "/oidc"),
        ("/a/b", "/a/b"),
        ("/a//b", "/a/b"),
        ("/a/./b/../c", "/a/c"),
        ("/a b", "/a%20b"),
        ("/a%20b", "/a%20b"),
        ("/%2e%2e/a", "/a"),
        ("/\u00e4", "/%C3%A4"),
        ("/a?b#c", "/a%3Fb%23c"),
    ],
)
def test_the_prefix(text: str | None, prefix: str) -> None:
    assert path_prefix(text) == prefix


@pytest.mark.parametrize(
    ("issuer", "prefix", "uri"),
    [
        ("https://iss", "", "https://iss/jwks.json"),
        ("https://iss/", "", "https://iss/jwks.json"),
        ("https://iss:8443", "/oidc", "https://iss:8443/oidc/jwks.json"),
        ("https://[::1]:8443", "", "https://[::1]:8443/jwks.json"),
        ("https://iss/path", "", "https://iss/path/jwks.json"),
        ("https://iss/path/", "", "https://iss/path/jwks.json"),
        ("https://iss/path", "/path", "https://iss/path/jwks.json"),
        ("https://iss/tenant/oidc", "/oidc", "https://iss/tenant/oidc/jwks.json"),
        ("https://iss/path", "/oidc", "https://iss/path/oidc/jwks.json"),
        ("https://iss/myoidc", "/oidc", "https://iss/myoidc/oidc/jwks.json"),
        ("dapr.io", "", "/jwks.json"),
        ("dapr.io", "/oidc", "/oidc/jwks.json"),
    ],
)
def test_the_key_set_of_an_issuer(issuer: str, prefix: str, uri: str) -> None:
    assert jwks_uri_of(issuer, prefix) == uri


@pytest.mark.parametrize("text", ["https://iss", "http://iss/path", "dapr.io", "urn:dapr", "https://[::1]/%20"])
def test_valid_uris_are_accepted(text: str) -> None:
    assert checked_issuer(text) == text
    assert checked_jwks_uri(text) == text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("https://iss:port", "Port could not be cast to integer value as 'port'"),
        ("https://iss:99999", "Port out of range 0-65535"),
        ("https://[::1", "Invalid IPv6 URL"),
        ("https://iss/%zz", "a percent sign must begin an escape such as %20"),
        ("https://iss/a b", "' ' must be percent-encoded"),
        ("https://iss/\n", r"'\n' must be percent-encoded"),
        ("https://\u00e4", "'\u00e4' must be percent-encoded"),
        (":iss", "the scheme is missing or misspelt"),
        ("1a:iss", "the scheme is missing or misspelt"),
    ],
)
def test_values_that_are_none(text: str, reason: str) -> None:
    with pytest.raises(InvalidOptionsError) as caught:
        checked_issuer(text)
    assert str(caught.value).startswith('invalid JWT issuer URI: "')
    assert str(caught.value).endswith(f": {reason}")
    with pytest.raises(InvalidOptionsError, match=r"^invalid JWKS URI: "):
        checked_jwks_uri(text)


def test_not_given() -> None:
    assert checked_issuer(None) is None
    assert checked_issuer("") is None
    assert checked_jwks_uri(None) is None


@pytest.mark.parametrize(
    ("issuer", "keeps"),
    [
        ("https://iss", True),
        ("https://iss/path", True),
        ("http://iss", False),
        ("https://", False),
        ("https://iss?a", False),
        ("https://iss#a", False),
        ("dapr.io", False),
    ],
)
def test_issuers_that_relying_parties_accept(issuer: str, keeps: bool) -> None:
    assert keeps_discovery_rules(issuer) is keeps


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

"""SPIFFE IDs and trust domains."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentry_trio.ca.spiffe import SpiffeId, parse_trust_domain
from sentry_trio.errors import InvalidIdentityError

TRUST_DOMAIN_CHARACTERS = (
    "trust domain characters are limited to lowercase letters, numbers, dots, dashes, and underscores"
)
SEGMENT_CHARACTERS = "path segment characters are limited to letters, numbers, dots, dashes, and underscores"


@pytest.mark.parametrize(
    ("text", "trust_domain"),
    [
        ("localhost", "localhost"),
        ("cluster.local", "cluster.local"),
        ("a-b_c.9", "a-b_c.9"),
        ("x" * 300, "x" * 300),
        ("a..b", "a..b"),
        ("spiffe://example.org", "example.org"),
        ("spiffe://example.org/ns/default/App_1.x-y", "example.org"),
    ],
)
def test_a_trust_domain_is_read(text: str, trust_domain: str) -> None:
    assert parse_trust_domain(text) == trust_domain


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "trust domain is missing"),
        ("Example.org", TRUST_DOMAIN_CHARACTERS),
        ("a b", TRUST_DOMAIN_CHARACTERS),
        ("a/b", TRUST_DOMAIN_CHARACTERS),
        ("localhost\n", TRUST_DOMAIN_CHARACTERS),
        ("häuser", TRUST_DOMAIN_CHARACTERS),
        ("a:80", TRUST_DOMAIN_CHARACTERS),
        ("http://example.org", "scheme is missing or invalid"),
        ("spiffe:/example.org", "scheme is missing or invalid"),
        ("SPIFFE://example.org", "scheme is missing or invalid"),
        ("spiffe://", "trust domain is missing"),
        ("spiffe:///path", "trust domain is missing"),
        ("spiffe://Example.org/ns", TRUST_DOMAIN_CHARACTERS),
        ("spiffe://example.org/", "path cannot have a trailing slash"),
        ("spiffe://example.org/ns/", "path cannot have a trailing slash"),
        ("spiffe://example.org//ns", "path cannot contain empty segments"),
        ("spiffe://example.org/./ns", "path cannot contain dot segments"),
        ("spiffe://example.org/ns/..", "path cannot contain dot segments"),
        ("spiffe://example.org/n$/x", SEGMENT_CHARACTERS),
        ("spiffe://example.org/ns/x?y", SEGMENT_CHARACTERS),
        ("spiffe://example.org//n$", "path cannot contain empty segments"),
    ],
)
def test_the_first_broken_rule_is_named(text: str, message: str) -> None:
    with pytest.raises(InvalidIdentityError) as refused:
        parse_trust_domain(text)
    assert str(refused.value) == message


def test_an_id_is_written() -> None:
    made = SpiffeId.make("example.org", "Default_1", "my.app-1")
    assert made == SpiffeId("example.org", "Default_1", "my.app-1")
    assert str(made) == "spiffe://example.org/ns/Default_1/my.app-1"


@pytest.mark.parametrize(
    ("trust_domain", "namespace", "app_id", "message"),
    [
        ("", "ns", "app", "trust domain is missing"),
        ("A", "ns", "app", TRUST_DOMAIN_CHARACTERS),
        ("spiffe://a", "ns", "app", TRUST_DOMAIN_CHARACTERS),
        ("a..b", "ns", "app", 'trust domain "a..b" has an empty DNS label'),
        (".a", "ns", "app", 'trust domain ".a" has an empty DNS label'),
        ("a.", "ns", "app", 'trust domain "a." has an empty DNS label'),
        (".", "ns", "app", 'trust domain "." has an empty DNS label'),
        ("a", "", "app", "namespace: path cannot contain empty segments"),
        ("a", "ns", "", "app ID: path cannot contain empty segments"),
        ("a", "..", "app", "namespace: path cannot contain dot segments"),
        ("a", "ns", ".", "app ID: path cannot contain dot segments"),
        ("a", "ns/x", "app", f"namespace: {SEGMENT_CHARACTERS}"),
        ("a", "ns", "app\n", f"app ID: {SEGMENT_CHARACTERS}"),
        ("a", "ns", "äpp", f"app ID: {SEGMENT_CHARACTERS}"),
    ],
)
def test_a_part_that_breaks_a_rule_is_named(trust_domain: str, namespace: str, app_id: str, message: str) -> None:
    with pytest.raises(InvalidIdentityError) as refused:
        SpiffeId.make(trust_domain, namespace, app_id)
    assert str(refused.value) == message


near_ids = (
    st.text(alphabet="spifea:/.-_A0\n$é", max_size=30)
    | st.text()
    | st.just("spiffe://").flatmap(
        lambda scheme: st.text(alphabet="a/.B_$", max_size=12).map(lambda rest: scheme + rest)
    )
)


@given(near_ids)
@settings(max_examples=200, deadline=None)
def test_any_text_is_a_trust_domain_or_refused(text: str) -> None:
    try:
        trust_domain = parse_trust_domain(text)
    except InvalidIdentityError:
        return
    assert trust_domain
    assert set(trust_domain) <= set("abcdefghijklmnopqrstuvwxyz0123456789-._")
    assert text == trust_domain or text.startswith(f"spiffe://{trust_domain}")


@given(near_ids, near_ids, near_ids)
@settings(max_examples=200, deadline=None)
def test_any_parts_are_an_id_that_reads_back_or_refused(trust_domain: str, namespace: str, app_id: str) -> None:
    try:
        made = SpiffeId.make(trust_domain, namespace, app_id)
    except InvalidIdentityError:
        return
    assert parse_trust_domain(str(made)) == trust_domain
    assert str(made).split("/")[2:] == [trust_domain, "ns", namespace, app_id]

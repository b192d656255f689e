"""Host of a request, and allowed hosts."""

from ipaddress import ip_network

import pytest

from sentry_trio.oidc.hosts import Hosts, is_valid_header, is_valid_in_url
from sentry_trio.web.messages import Request


def request(host: str, *forwarded: str, client: str = "10.0.0.1", authority: str = "") -> Request:
    headers = ((b"host", host.encode()), *((b"x-forwarded-host", value.encode()) for value in forwarded))
    return Request("GET", "/", headers=headers, peer=client, authority=authority)


@pytest.mark.parametrize(
    ("allowed", "host", "allows"),
    [
        ((), "anything", True),
        ((), "", True),
        (("*",), "anything", True),
        (("a", "*"), "b", True),
        (("a",), "a", True),
        (("a",), "a:1", True),
        (("a",), "a:", True),
        (("a:1",), "a:1", True),
        (("a:1",), "a:2", False),
        (("a:1",), "a", False),
        (("a",), "b", False),
        (("a",), "", False),
        (("a",), "A", False),
        (("a",), "x.a", False),
        (("*.a",), "x.a", False),
        (("a",), "a:1:2", False),
        (("::1",), "[::1]:1", True),
        (("::1",), "[::1]", False),
        (("[::1]",), "[::1]", True),
        (("[::1]:1",), "[::1]:1", True),
        (("::1",), "::1", True),
    ],
)
def test_the_allow_list(allowed: tuple[str, ...], host: str, allows: bool) -> None:
    assert Hosts(allowed, ()).allows(host) is allows


@pytest.mark.parametrize(("allowed", "is_open"), [((), True), (("a",), False), (("a", "*"), True)])
def test_open_to_all(allowed: tuple[str, ...], is_open: bool) -> None:
    assert Hosts(allowed, ()).is_open is is_open


@pytest.mark.parametrize(
    ("client", "believed"),
    [
        ("10.0.0.1", True),
        ("::ffff:10.0.0.1", True),
        ("11.0.0.1", False),
        ("fd00::1", True),
        ("fd00::1%eth0", True),
        ("fe80::1", False),
    ],
)
def test_only_trusted_proxies_set_the_host(client: str, believed: bool) -> None:
    hosts = Hosts((), [ip_network("10.0.0.0/8"), ip_network("fd00::/8")])
    assert hosts.may_be_forwarded
    host = hosts.host_of(request("direct", "forwarded", client=client))
    assert host == ("forwarded" if believed else "direct")


@pytest.mark.parametrize("allowed", [(), ("*",), ("a", "*")])
def test_without_proxies_and_a_list_of_hosts_no_header_is_used(allowed: tuple[str, ...]) -> None:
    hosts = Hosts(allowed, ())
    assert not hosts.may_be_forwarded
    assert hosts.host_of(request("direct", "a")) == "direct"


@pytest.mark.parametrize(
    ("forwarded", "host"),
    [
        ((), "direct"),
        (("b",), "b"),
        (("",), "direct"),
        (("", "b"), "direct"),
        (("b", "c"), "b"),
        (("b, c",), "b, c"),
    ],
)
def test_with_a_list_of_hosts_any_caller_chooses_among_them(forwarded: tuple[str, ...], host: str) -> None:
    """As Dapr Sentry does; see tests/dapr/test_oidc_hosts.py."""
    hosts = Hosts(("a",), ())
    assert hosts.may_be_forwarded
    assert hosts.host_of(request("direct", *forwarded)) == host


def test_with_a_list_of_hosts_and_proxies_only_headers_of_proxies_are_used() -> None:
    hosts = Hosts(("direct", "a"), [ip_network("10.0.0.1")])
    assert hosts.host_of(request("direct", "a", client="10.0.0.2")) == "direct"
    assert hosts.host_of(request("direct", "a", client="10.0.0.1")) == "a"


@pytest.mark.parametrize(
    ("forwarded", "host"),
    [((), "direct"), (("",), "direct"), (("a",), "a"), (("a, b",), "b"), (("a", "b"), "b"), (("a,",), "direct")],
)
def test_the_proxys_own_word_is_the_last(forwarded: tuple[str, ...], host: str) -> None:
    hosts = Hosts((), [ip_network("10.0.0.1")])
    assert hosts.host_of(request("direct", *forwarded)) == host


def test_an_absolute_target_replaces_the_host_header() -> None:
    assert Hosts((), ()).host_of(request("direct", authority="absolute")) == "absolute"


@pytest.mark.parametrize(
    ("host", "makes"),
    [
        ("h", True),
        ("h:1", True),
        ("h:", True),
        ("[::1]", True),
        ("[::1]:1", True),
        ("", False),
        (":1", False),
        ("h:notaport", False),
        ("a:b:1", False),
        ("::1", False),
        ("[::1", False),
        ("[x]", False),
        ("[::1]x", False),
        ("a%20b", False),
    ],
)
def test_hosts_that_are_valid_in_urls(host: str, makes: bool) -> None:
    assert is_valid_in_url(host) is makes


@pytest.mark.parametrize(("host", "may"), [("h:1", True), ("", True), ("a b", False), ("a/b", False), ("u@h", False)])
def test_values_of_a_header(host: str, may: bool) -> None:
    assert is_valid_header(host) is may

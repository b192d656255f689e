"""Heads of requests."""

import h11
import pytest

from sentry_trio.web.messages import Request


@pytest.mark.parametrize(
    ("raw", "path", "query", "scheme", "authority"),
    [
        (b"/a%20b", "/a%20b", "", "http", ""),
        (b"/a?b=c?d", "/a", "b=c?d", "http", ""),
        (b"*", "*", "", "http", ""),
        (b"http://h", "/", "", "http", "h"),
        (b"HTTPS://h:1/a/b?c", "/a/b", "c", "https", "h:1"),
        (b"gopher://h/a", "/a", "", "http", "h"),
        (b"/http://h/a", "/http://h/a", "", "http", ""),
        (b"/?a=http://h/a", "/", "a=http://h/a", "http", ""),
        (b"host:443", "host:443", "", "http", ""),
    ],
)
def test_the_target(raw: bytes, path: str, query: str, scheme: str, authority: str) -> None:
    event = h11.Request(method=b"GET", target=raw, headers=[(b"Host", b"x")])
    request = Request.read(event, scheme="http", peer="127.0.0.1")
    assert (request.path, request.query) == (path, query)
    assert (request.scheme, request.authority) == (scheme, authority)
    assert (request.method, request.header("host"), request.peer) == ("GET", "x", "127.0.0.1")


@pytest.mark.parametrize(
    ("headers", "value", "first"),
    [
        ((), "", ""),
        (((b"accept", b"a"), (b"accept-encoding", b"gzip")), "gzip", "gzip"),
        (((b"accept-encoding", b"gzip"), (b"accept-encoding", b"br")), "gzip,br", "gzip"),
        (((b"accept-encoding", b"\xff"),), "\xff", "\xff"),
    ],
)
def test_the_values_of_a_header(headers: tuple[tuple[bytes, bytes], ...], value: str, first: str) -> None:
    request = Request("GET", "/", headers=headers)
    assert (request.header("accept-encoding"), request.first_header("accept-encoding")) == (value, first)

"""Checks of values."""

import pytest

from sentry_trio.errors import InvalidOptionsError
from sentry_trio.settings.checks import host, port


@pytest.mark.parametrize(
    ("text", "bare"),
    [
        ("", ""),
        ("0.0.0.0", "0.0.0.0"),
        ("127.0.0.1", "127.0.0.1"),
        ("::", "::"),
        ("[::]", "::"),
        ("[::1]", "::1"),
        ("fe80::1%eth0", "fe80::1%eth0"),
        ("[fe80::1%eth0]", "fe80::1%eth0"),
        ("::ffff:1.2.3.4", "::ffff:1.2.3.4"),
        ("localhost", "localhost"),
        ("my-host_1.example.com.", "my-host_1.example.com."),
        ("1e100.net", "1e100.net"),
    ],
)
def test_hosts(text: str, bare: str) -> None:
    assert host("listen-address", text) == bare


@pytest.mark.parametrize(
    "text",
    [
        "localhost:50001",
        "127.0.0.1:50001",
        "[::1]:50001",
        "[::1",
        "::1]",
        "[]",
        "[127.0.0.1]",
        "[localhost]",
        "1.2.3",
        "999.1.1.1",
        "a b",
        "a\n",
        "a..b",
        ".",
        "-a",
        "a-",
        "http://a",
        "a" * 64,
        "a." * 127,
    ],
)
def test_hosts_refused(text: str) -> None:
    with pytest.raises(
        InvalidOptionsError, match=r"^invalid --listen-address \".*\": expected an IP address or a host"
    ):
        host("listen-address", text)


@pytest.mark.parametrize("number", [0, 1, 65535])
def test_ports(number: int) -> None:
    assert port("port", number) == number


@pytest.mark.parametrize("number", [-1, 65536, 2**63 - 1])
def test_ports_refused(number: int) -> None:
    with pytest.raises(InvalidOptionsError, match=f"^invalid --port {number}: expected a port from 0 to 65535$"):
        port("port", number)

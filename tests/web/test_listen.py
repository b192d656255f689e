"""Listening sockets: what hosts mean, and what is said when it does not work."""

import errno
import socket

import pytest
import trio

from sentry_trio.errors import ListenError
from sentry_trio.web import listen
from sentry_trio.web.listen import Address, open_listener


def ipv6_works() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


needs_ipv6 = pytest.mark.skipif(not ipv6_works(), reason="this machine has no IPv6")


async def reaches(listener: trio.SocketListener, host: str, port: int) -> bool:
    async with await trio.open_tcp_stream(host, port) as ours, await listener.accept() as theirs:
        await theirs.send_all(b"x")
        return await ours.receive_some() == b"x"


@pytest.mark.parametrize(
    ("address", "text"),
    [
        (Address("127.0.0.1", 80), "127.0.0.1:80"),
        (Address("::1", 80), "[::1]:80"),
        (Address("", 80), ":80"),
        (Address("localhost", 0), "localhost:0"),
    ],
)
def test_addresses_as_text(address: Address, text: str) -> None:
    assert str(address) == text


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_free_port_is_taken_and_told(host: str) -> None:
    listener, address = await open_listener(host, 0)
    async with listener:
        assert address.host == "127.0.0.1"
        assert address.port > 0
        assert await reaches(listener, "127.0.0.1", address.port)


@needs_ipv6
@pytest.mark.parametrize("host", ["::1", "[::1]"])
async def test_ipv6_with_and_without_brackets(host: str) -> None:
    listener, address = await open_listener(host, 0)
    async with listener:
        assert address.host == "::1"
        assert await reaches(listener, "::1", address.port)


@needs_ipv6
async def test_all_interfaces_are_those_of_both_families() -> None:
    listener, address = await open_listener("", 0)
    async with listener:
        assert address.host == "::"
        assert await reaches(listener, "::1", address.port)
        assert await reaches(listener, "127.0.0.1", address.port)


@pytest.mark.parametrize("missing", [errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL])
async def test_all_interfaces_of_a_machine_without_ipv6(missing: int, monkeypatch: pytest.MonkeyPatch) -> None:
    real = listen._listen

    def without_ipv6(family: int, address: tuple[object, ...], *, dual_stack: bool = False) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(missing, "no IPv6 here")
        return real(family, address, dual_stack=dual_stack)

    monkeypatch.setattr(listen, "_listen", without_ipv6)
    listener, address = await open_listener("", 0)
    async with listener:
        assert address.host == "0.0.0.0"
        assert await reaches(listener, "127.0.0.1", address.port)


REMEDY = "; stop the process that listens there, or choose another port"


@pytest.mark.parametrize("host", ["127.0.0.1", ""])
async def test_a_port_that_is_taken(host: str) -> None:
    first, address = await open_listener(host, 0)
    async with first:
        with pytest.raises(ListenError) as caught:
            await open_listener(host, address.port)
    assert str(caught.value) == f"could not listen on {host}:{address.port}: Address already in use{REMEDY}"
    assert isinstance(caught.value.__cause__, OSError)


@pytest.mark.parametrize(
    ("host", "port", "text"),
    [
        ("192.0.2.1", 80, "could not listen on 192.0.2.1:80: Cannot assign requested address"),
        ("127.0.0.1", 65536, "could not listen on 127.0.0.1:65536: port 65536 is not between 0 and 65535"),
        ("127.0.0.1", -1, "could not listen on 127.0.0.1:-1: port -1 is not between 0 and 65535"),
        ("no such host", 80, "could not listen on no such host:80: "),
        ("a\0b", 80, "could not listen on a\0b:80: "),
        ("x" * 64 + ".example", 80, f"could not listen on {'x' * 64}.example:80: "),
        ("..", 80, "could not listen on ..:80: "),
        ("\udcff", 80, "could not listen on \udcff:80: not a host name: "),
    ],
)
async def test_what_cannot_be_listened_on(host: str, port: int, text: str) -> None:
    with pytest.raises(ListenError) as caught:
        await open_listener(host, port)
    assert str(caught.value).startswith(text)

"""Listening sockets: what hosts mean, and the errors."""

import errno
import socket
import threading
from contextlib import closing
from typing import Any

import pytest
import trio

from sentry_trio.errors import ListenError
from sentry_trio.listener import Address, open_listener


def ipv6_works() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


needs_ipv6 = pytest.mark.skipif(not ipv6_works(), reason="this machine has no IPv6")


def reaches(listener: socket.socket, host: str) -> bool:
    """Connects; the accepted socket has the options that it inherits."""
    with socket.create_connection((host, Address.of(listener).port)):
        accepted, _ = listener.accept()
        with closing(accepted):
            keeps_alive = accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            return bool(accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) and keeps_alive)


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
async def test_a_free_port_is_bound_and_reported(host: str) -> None:
    with await open_listener(host, 0) as listener:
        address = Address.of(listener)
        assert address.host == "127.0.0.1"
        assert address.port > 0
        assert not listener.getblocking()
        assert reaches(listener, "127.0.0.1")


@needs_ipv6
@pytest.mark.parametrize("host", ["::1", "[::1]"])
async def test_ipv6_with_and_without_brackets(host: str) -> None:
    with await open_listener(host, 0) as listener:
        assert Address.of(listener).host == "::1"
        assert reaches(listener, "::1")


@needs_ipv6
async def test_all_interfaces_are_those_of_both_families() -> None:
    with await open_listener("", 0) as listener:
        assert Address.of(listener).host == "::"
        assert reaches(listener, "::1")
        assert reaches(listener, "127.0.0.1")


@pytest.mark.parametrize("missing", [errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL])
async def test_all_interfaces_of_a_machine_without_ipv6(missing: int, monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.create_server

    def without_ipv6(address: Any, *, family: int = socket.AF_INET, **options: Any) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(missing, "no IPv6 here")
        return real(address, family=family, **options)

    monkeypatch.setattr(socket, "create_server", without_ipv6)
    with await open_listener("", 0) as listener:
        assert Address.of(listener).host == "0.0.0.0"
        assert reaches(listener, "127.0.0.1")


async def test_all_interfaces_of_a_system_without_dual_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: False)
    with await open_listener("", 0) as listener:
        assert listener.family is socket.AF_INET


REMEDY = "; stop the process that listens there, or choose another port"


@pytest.mark.parametrize(("host", "name"), [("127.0.0.1", None), ("", None), ("", "port 1")])
async def test_a_port_that_is_taken(host: str, name: str | None) -> None:
    with await open_listener(host, 0) as first:
        port = Address.of(first).port
        with pytest.raises(ListenError) as caught:
            await open_listener(host, port, name=name)
    assert str(caught.value) == f"could not listen on {name or f'{host}:{port}'}: Address already in use{REMEDY}"
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
async def test_unusable_addresses_are_errors(host: str, port: int, text: str) -> None:
    with pytest.raises(ListenError) as caught:
        await open_listener(host, port)
    assert str(caught.value).startswith(text)


async def test_a_host_name_is_resolved_beside_other_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A resolver that does not answer must not keep health from answering, nor a signal from ending the start."""
    release = threading.Event()

    def resolve(_host: object, _port: object, _family: int, _type: int, _proto: int, flags: int) -> object:
        if flags & socket.AI_NUMERICHOST:
            raise socket.gaierror(socket.EAI_NONAME, "no address")
        return release.wait()

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with trio.move_on_after(0.01) as scope:
        await open_listener("sentry.example", 0)
    release.set()
    assert scope.cancelled_caught

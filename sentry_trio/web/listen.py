"""A listening socket for a host and port as operators write them."""

import errno
import socket
from dataclasses import dataclass
from typing import Final

import trio

from sentry_trio.errors import ListenError

# As many as the system allows (net.core.somaxconn caps it): a burst of probes waits instead of being refused.
_BACKLOG: Final = 4096

_HIGHEST_PORT: Final = 65535

# What a machine without IPv6 answers: the family is not built in, or it is switched off and has no addresses.
_NO_IPV6: Final = {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens, as it was asked for or as it came to be.

    Attributes:
        host: name or IP address without brackets; empty means all interfaces.
        port: 0 in an address that was asked for means any free port.
    """

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


async def open_listener(host: str, port: int) -> tuple[trio.SocketListener, Address]:
    """Listen on one TCP socket; returns it with the address it is bound to.

    Of a name's addresses the first IPv4 one is taken, else the first (as Go's net.Listen does).

    Args:
        host: name or IP address, IPv6 with or without brackets; empty means all interfaces, IPv4 and IPv6 alike.
        port: 0 to 65535; 0 takes any free one.

    Raises:
        ListenError: the host means nothing, the port is out of range or taken, or the system refuses.
    """
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    wanted = Address(bare, port)
    if not 0 <= port <= _HIGHEST_PORT:
        raise ListenError(str(wanted), f"port {port} is not between 0 and {_HIGHEST_PORT}")
    try:
        sock = await _listening(bare, port) if bare else _listening_everywhere(port)
    except OSError as error:
        raise ListenError.from_os_error(str(wanted), error) from error
    except ValueError as error:
        # What no resolver is even asked for: an embedded zero byte, a label that IDNA cannot encode.
        raise ListenError(str(wanted), f"not a host name: {error}") from error
    bound = sock.getsockname()
    return trio.SocketListener(trio.socket.from_stdlib_socket(sock)), Address(bound[0], bound[1])


async def _listening(host: str, port: int) -> socket.socket:
    found = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, _, _, _, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)
    return _listen(family, address)


def _listening_everywhere(port: int) -> socket.socket:
    try:
        return _listen(socket.AF_INET6, ("::", port), dual_stack=True)
    except OSError as error:
        if error.errno not in _NO_IPV6:
            raise
        return _listen(socket.AF_INET, ("0.0.0.0", port))  # noqa: S104 - an empty host asks for all interfaces


def _listen(family: int, address: tuple[object, ...], *, dual_stack: bool = False) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        # A socket of a process that has just ended must not keep the next one from starting.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(not dual_stack))
        sock.bind(address)
        sock.listen(_BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock

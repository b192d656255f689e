"""Listening sockets for a host and port as operators write them."""

import errno
import socket
from typing import Final, Self

import msgspec
import trio

from sentry_trio.errors import ListenError
from sentry_trio.go_text import join_host_port
from sentry_trio.reasons import reason_of

# The kernel caps it (net.core.somaxconn). During a restart, and in a burst of probes, connections wait here.
_BACKLOG: Final = 4096
_HIGHEST_PORT: Final = 65535
# Errors of a machine without IPv6: the family is not built in, or it is switched off and has no addresses.
_NO_IPV6: Final = {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}


class Address(msgspec.Struct, frozen=True):
    """Address of a server.

    Attributes:
        host: name or IP address without brackets; empty means all interfaces.
        port: 0 in a requested address means any free port.
    """

    host: str
    port: int

    @classmethod
    def of(cls, bound: socket.socket) -> Self:
        """Returns the address that a socket is bound to."""
        host, port = bound.getsockname()[:2]
        return cls(host, port)

    def __str__(self) -> str:
        return join_host_port(self.host, self.port)


async def open_listener(host: str, port: int, *, name: str | None = None) -> socket.socket:
    """Binds one TCP socket and listens; it is non-blocking. A host name is resolved in a thread.

    Of a name's addresses the first IPv4 one is bound, else the first (as Go's net.Listen does).

    Args:
        host: name or IP address, IPv6 with or without brackets; empty means all interfaces, IPv4 and IPv6 alike if the
            system can.
        port: 0 lets the system choose.
        name: of the address in errors; host and port by default.

    Raises:
        ListenError: the host cannot be resolved, the port is out of range or taken, or the system refuses.

    Cancellation: at once, only while a name is resolved.
    """
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    shown = name or str(Address(bare, port))
    if not 0 <= port <= _HIGHEST_PORT:
        raise ListenError(shown, f"port {port} is not between 0 and {_HIGHEST_PORT}")
    try:
        listener = await _listening(bare, port) if bare else _listening_everywhere(port)
    except OSError as error:
        reason = reason_of(error)
        if error.errno == errno.EADDRINUSE:
            reason += "; stop the process that listens there, or choose another port"
        raise ListenError(shown, reason) from error
    except ValueError as error:
        # The resolver is not even called: a zero byte, or a label that IDNA cannot encode.
        raise ListenError(shown, f"not a host name: {error}") from error
    listener.setblocking(False)  # noqa: FBT003  # the standard library's signature
    # Accepted sockets inherit both: an answer is one write and must not wait for the acknowledgement of the one before;
    # and a peer that vanished without closing is detected in the end.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    return listener


async def _listening(host: str, port: int) -> socket.socket:
    found = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, _, _, _, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)
    return socket.create_server(address, family=family, backlog=_BACKLOG)


def _listening_everywhere(port: int) -> socket.socket:
    if socket.has_dualstack_ipv6():
        try:
            return socket.create_server(("", port), family=socket.AF_INET6, backlog=_BACKLOG, dualstack_ipv6=True)
        except OSError as error:
            if error.errno not in _NO_IPV6:
                raise
    return socket.create_server(("", port), backlog=_BACKLOG)

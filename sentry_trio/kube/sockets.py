"""The sockets of the connections to the API server."""

import asyncio
import socket
import weakref
from contextlib import suppress
from typing import Any, Final

# Silence, time between probes (seconds), probes: the kernel notices within a minute that a peer has gone.
_KEEPALIVE: Final = (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3))


class Sockets:
    """Makes sockets that notice when the API server has gone without a word, and sees to it that all are closed."""

    def __init__(self) -> None:
        self._made: weakref.WeakSet[socket.socket] = weakref.WeakSet()

    def make(self, address: Any) -> socket.socket:
        """A socket for an address as getaddrinfo finds it."""
        family, kind, protocol, _, _ = address
        made = socket.socket(family, kind, protocol)
        self._made.add(made)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEPALIVE:
            if hasattr(socket, name):  # not on every system
                made.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        return made

    async def close(self) -> None:
        """Has those that are still open closed by whoever uses them, and returns when they are.

        A connection that is given up by aiohttp, e.g. by a request that is cancelled, waits for up to 30 s for the
        peer's farewell of TLS, while nobody waits for it; at the end of the loop its socket would be left open.

        asyncio-flavoured. Cancellation: at once.
        """
        for made in self._open():
            with suppress(OSError):  # not connected any more
                made.shutdown(socket.SHUT_RDWR)
        while self._open():  # noqa: ASYNC110  # nothing tells of it, and the loop notices in a few turns
            await asyncio.sleep(0)

    def _open(self) -> list[socket.socket]:
        return [made for made in self._made if made.fileno() != -1]

"""A process that performs a random composition at full speed until its standard input is closed.

`python -m testkit.attackers.performance`, with the composition as JSON in a file. "ready" goes to standard error as
soon as the attackers are under way.
"""

import argparse
import ctypes
import ssl
import sys
from collections.abc import Awaitable, Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import msgspec
import trio

from .composition import Actor, Composition, Streams, burst
from .http2 import PREFACE, connect_tcp, frame
from .target import Target, careless_context

_SETTINGS: Final = 4
_PAUSE: Final = 0.01  # seconds: an attacker that is cut at once must leave CPU to the others
_PING: Final = frame(6, payload=bytes(8))
_FIRST_FIELDS: Final = 24  # bytes before the pointer to OpenSSL's object: CPython's head of an object, and the socket

Send = Callable[[bytes], Awaitable[None]]


@lru_cache(maxsize=1)
def _openssl() -> ctypes.CDLL | None:
    """OpenSSL, as it is in this process; None if its functions cannot be found, as in a static build."""
    import _ssl

    library = ctypes.CDLL(getattr(_ssl, "__file__", None))
    if not hasattr(library, "SSL_key_update"):
        return None
    library.SSL_key_update.argtypes = [ctypes.c_void_p, ctypes.c_int]
    library.SSL_renegotiate.argtypes = [ctypes.c_void_p]
    return library


def update_key(stream: "trio.SSLStream[Any]") -> None:
    """Has the next write begin with a key update, or with a renegotiation in TLS 1.2."""
    library = _openssl()
    if library is None:
        return
    inner: Any = stream._ssl_object
    pointer = ctypes.c_void_p.from_address(id(inner._sslobj) + _FIRST_FIELDS).value
    if inner.version() == "TLSv1.3":
        library.SSL_key_update(pointer, 1)
    else:
        library.SSL_renegotiate(pointer)


class _Player:
    """Plays an attacker's part on one connection."""

    def __init__(self, actor: Actor, target: Target) -> None:
        self._actor = actor
        self._target = target
        self._context = careless_context()
        if actor.transport == "TLS 1.2":
            self._context.maximum_version = ssl.TLSVersion.TLSv1_2

    async def play(self) -> None:
        """Comes back whenever it is cut, until cancelled."""
        while True:
            try:
                await self._connected()
            except* (OSError, ssl.SSLError, trio.BrokenResourceError, trio.ClosedResourceError):
                pass
            await trio.sleep(_PAUSE)

    async def _connected(self) -> None:
        tcp = await connect_tcp(self._target)
        if self._actor.transport == "TCP":
            async with tcp:
                await self._attack(tcp, preface=b"")
            return
        tls = trio.SSLStream(tcp, self._context, server_hostname="localhost", https_compatible=True)
        try:
            await tls.do_handshake()
            pairs = (number.to_bytes(2, "big") + value.to_bytes(4, "big") for number, value in self._actor.settings)
            await self._attack(tls, preface=PREFACE + frame(_SETTINGS, payload=b"".join(pairs)))
        finally:
            await trio.aclose_forcefully(tls)

    async def _attack(self, stream: "trio.SocketStream | trio.SSLStream[trio.SocketStream]", preface: bytes) -> None:
        async with trio.open_nursery() as nursery:
            if self._actor.reads:
                nursery.start_soon(_read, stream, nursery.cancel_scope)
            await stream.send_all(preface)
            streams = Streams()
            sent = 0
            while not self._actor.bursts or sent < self._actor.bursts:
                data = burst(self._actor, streams, self._target.path, self._target.message)
                await stream.send_all(data)
                if not data:
                    await trio.sleep(0 if self._actor.bursts else _PAUSE)
                if isinstance(stream, trio.SSLStream):
                    for _ in range(self._actor.key_updates):
                        update_key(stream)
                        await stream.send_all(_PING)
                sent += 1
            nursery.cancel_scope.cancel()


async def _read(stream: trio.abc.ReceiveStream, scope: trio.CancelScope) -> None:
    try:
        while await stream.receive_some(64 * 1024):
            pass
    finally:
        scope.cancel()


async def _perform(composition: Composition, target: Target) -> None:
    async with trio.open_nursery() as nursery:
        for number, actor in enumerate(composition.actors):
            port = target.health_port if actor.health else target.port
            part = Target(port=port, source=f"127.0.0.{2 + number}", path=target.path, message=target.message)
            for _ in range(actor.connections):
                nursery.start_soon(_Player(actor, part).play)
        print("ready", file=sys.stderr, flush=True)
        await trio.to_thread.run_sync(sys.stdin.read)
        nursery.cancel_scope.cancel()


def main() -> None:
    """Performs by the flags of the command line."""
    parser = argparse.ArgumentParser(prog="performance", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("composition", type=Path, help="file of the composition")
    parser.add_argument("--port", type=int, required=True, help="where the server listens, on 127.0.0.1")
    parser.add_argument("--health-port", type=int, required=True, help="where its health server listens")
    parser.add_argument("--path", required=True, help="a method that is there")
    parser.add_argument("--message", type=Path, required=True, help="file of an encoded message that it takes")
    given = parser.parse_args()
    composition = msgspec.json.decode(given.composition.read_bytes(), type=Composition)
    target = Target(port=given.port, health_port=given.health_port, path=given.path, message=given.message.read_bytes())
    trio.run(_perform, composition, target)


if __name__ == "__main__":
    main()

"""grpclib's client, on asyncio in a thread."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio
from grpclib.client import Channel

T = TypeVar("T")


async def with_channel(port: int, context: ssl.SSLContext, use: Callable[[Channel], Awaitable[T]]) -> T:
    """Runs `use` with a channel to a port on loopback."""

    async def on_asyncio() -> T:
        channel = Channel("127.0.0.1", port, ssl=context)
        try:
            return await use(channel)
        finally:
            # Closed politely, the socket would outlive the loop, and be reported as forgotten.
            assert channel._protocol is not None
            channel._protocol.connection._transport.abort()
            channel.close()
            await asyncio.sleep(0)

    return await trio.to_thread.run_sync(lambda: asyncio.run(on_asyncio()))

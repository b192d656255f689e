"""grpclib's own server on trio-asyncio's loop: grpclib and Trio without a server of our own."""

import trio
import trio_asyncio  # type: ignore[import-untyped]  # it has none

from benchmarks.contenders import serving
from benchmarks.contenders.grpclib_asyncio import serve
from sentry_trio.ca.issue import Issuer


async def _serve(issuer: Issuer) -> None:
    async with trio_asyncio.open_loop():
        await trio_asyncio.aio_as_trio(serve)(issuer)


if __name__ == "__main__":
    trio.run(_serve, serving.issuer_from_command_line())

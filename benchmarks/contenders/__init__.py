"""Contenders: sentry-trio and Dapr Sentry as users run them, and servers that answer the same calls with the same leaf.

    serving.py                the credentials, the signing core and the TLS context of those that are not the real one
    bare.py                   our server without Sentry around it
    grpclib_asyncio.py        grpclib's server on asyncio
    grpclib_trio_asyncio.py   the same on trio-asyncio
    grpcio_threads.py         grpcio's C core with a pool of threads
    grpcio_aio.py             the same under asyncio
    floor.py                  no server: the handshake and the signing core alone

Each is a program that takes the directory of the credentials as its last argument and prints its port once it accepts
connections. Those in this package import only necessary modules.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from testkit.authorities import LOOPBACK
from testkit.dapr import binaries
from testkit.ports import free_port

_PRINTED_PORT: Final = r"^(\d+)$"


@dataclass(frozen=True, slots=True)
class Contender:
    """A server program.

    Attributes:
        name: on the command line and in what is written.
        title: for those who read tables.
        arguments: of the program; the directory of the credentials comes after them. Each `{free_port}` becomes one.
        announcement: a pattern for the line that has its port.
        usual: whether it takes part by default.
        build: builds the program and returns it; the program is the Python interpreter if not given.
    """

    name: str
    title: str
    arguments: tuple[str, ...]
    announcement: str = _PRINTED_PORT
    usual: bool = True
    build: Callable[[], Path] | None = None

    def command(self, credentials: Path) -> list[str]:
        """Returns the program and its arguments.

        Raises:
            UnavailableError: the program cannot be built here.
        """
        program = self.build() if self.build else sys.executable
        return [str(program), *(each.format(free_port=free_port()) for each in self.arguments), str(credentials)]


def _module(name: str) -> tuple[str, str]:
    return "-m", f"{__name__}.{name}"


_SERVING: Final = r"Running gRPC server on port (\d+)"
OURS: Final = Contender(
    "ours",
    "sentry-trio",
    ("-m", "sentry_trio", "--mode", "standalone", *LOOPBACK, "--issuer-credentials"),
    announcement=_SERVING,
)
SENTRY: Final = Contender(
    "sentry",
    f"Dapr Sentry {binaries.VERSION.removeprefix('v')}",
    (
        *("--mode=standalone", "--config=/dev/null"),  # an empty file: it needs one
        *("--listen-address=127.0.0.1", "--port={free_port}"),  # it does not report a port that the system chooses
        *("--healthz-listen-address=127.0.0.1", "--healthz-port={free_port}"),
        *("--metrics-listen-address=127.0.0.1", "--metrics-port={free_port}"),
        "--issuer-credentials",
    ),
    announcement=_SERVING,
    build=partial(binaries.build, "sentry"),
)
BARE: Final = Contender("bare", "its server alone", _module("bare"))
# From Python 3.12, asyncio.current_task(), which grpclib calls, does not see the loop of trio-asyncio.
_TRIO_ASYNCIO: Final = (
    [Contender("trio-asyncio", "grpclib, trio-asyncio", _module("grpclib_trio_asyncio"))]
    if sys.version_info < (3, 12)
    else []
)
SERVERS: Final = (
    OURS,
    SENTRY,
    BARE,
    *_TRIO_ASYNCIO,
    Contender("asyncio", "grpclib, asyncio", _module("grpclib_asyncio")),
    Contender("grpcio", "grpcio, threads", _module("grpcio_threads")),
    Contender("grpcio-aio", "grpcio, aio", _module("grpcio_aio"), usual=False),
)
FLOOR: Final = "floor"
FLOOR_TITLES: Final = {"kept": "signing core", "new": "handshake and signing core"}

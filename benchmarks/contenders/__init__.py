"""Who is measured: the real process, and servers that answer the same calls with the same leaf.

    serving.py                the credentials, the signing core and the TLS context of those that are not the real one
    bare.py                   our server without Sentry around it
    grpclib_asyncio.py        grpclib's server on asyncio
    grpclib_trio_asyncio.py   the same on trio-asyncio
    grpcio_threads.py         grpcio's C core with a pool of threads
    grpcio_aio.py             the same under asyncio
    floor.py                  no server: the handshake and the signing core alone

Each is a program that takes the directory of the credentials as its argument, imports no more than it needs, and
prints its port once it accepts connections.
"""

from dataclasses import dataclass
from typing import Final

from tests.authorities import LOOPBACK

_PRINTED_PORT: Final = r"^(\d+)$"


@dataclass(frozen=True, slots=True)
class Contender:
    """A server program.

    Attributes:
        name: on the command line and in what is written.
        title: for those who read tables.
        arguments: of the Python interpreter; the directory of the credentials comes after them.
        announcement: what the line looks like by which it tells its port.
        usual: whether it takes part unless told otherwise.
    """

    name: str
    title: str
    arguments: tuple[str, ...]
    announcement: str = _PRINTED_PORT
    usual: bool = True


def _module(name: str) -> tuple[str, str]:
    return "-m", f"{__name__}.{name}"


OURS: Final = Contender(
    "ours",
    "sentry-trio",
    ("-m", "sentry_trio", "--mode", "standalone", *LOOPBACK, "--issuer-credentials"),
    announcement=r"Running gRPC server on port (\d+)",
)
BARE: Final = Contender("bare", "its server alone", _module("bare"))
SERVERS: Final = (
    OURS,
    BARE,
    Contender("trio-asyncio", "grpclib, trio-asyncio", _module("grpclib_trio_asyncio")),
    Contender("asyncio", "grpclib, asyncio", _module("grpclib_asyncio")),
    Contender("grpcio", "grpcio, threads", _module("grpcio_threads")),
    Contender("grpcio-aio", "grpcio, aio", _module("grpcio_aio"), usual=False),
)
FLOOR: Final = "floor"
FLOOR_TITLES: Final = {"kept": "signing core", "new": "handshake and signing core"}

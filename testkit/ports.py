"""Free ports for programs that cannot report a port that the system has chosen for them."""

import itertools
import os
import random
import socket
from typing import Final

# Below the ports of outgoing connections, so that none of these takes a port while its owner is restarted.
_RANGE: Final = range(20_000, 32_000)
_WORKERS: Final = 16
# The worker of pytest-xdist, as "gw1": each chooses from ports of its own.
_WORKER: Final = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _WORKERS
_MINE: Final = _RANGE[_WORKER::_WORKERS]
# In turns: a program that was just given a port may not listen on it yet.
_next: Final = itertools.cycle(random.sample(_MINE, len(_MINE)))


def free_port() -> int:
    """Returns a port that nothing on loopback listens on, and that is not returned again soon."""
    while True:
        port = next(_next)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port


def free_ports(count: int) -> list[int]:
    """Returns different ports that nothing on loopback listens on."""
    return [free_port() for _ in range(count)]

"""Free ports for programs that cannot report a port that the system has chosen for them."""

import os
import random
import socket
from typing import Final

# Below the ports of outgoing connections, so that none of these takes a port while its owner is restarted.
_RANGE: Final = range(20_000, 32_000)
_WORKERS: Final = 16
# The worker of pytest-xdist, as "gw1": each chooses from ports of its own.
_WORKER: Final = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _WORKERS


def free_port() -> int:
    """Returns a port that nothing on loopback listens on."""
    while True:
        port = random.choice(_RANGE[_WORKER::_WORKERS])
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port


def free_ports(count: int) -> list[int]:
    """Returns different ports that nothing on loopback listens on."""
    found: set[int] = set()
    while len(found) < count:
        found.add(free_port())
    return list(found)

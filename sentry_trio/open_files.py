"""Shares of the limit on open files: connections of one server must leave descriptors to the others.

Health must answer when the gRPC server can accept nothing more. So connections are limited below the number of
descriptors, in shares that do not depend on the use of the others.
"""

import resource
from typing import Final

# The log, stores, watches, listeners, and connections to an API server; a process uses 17 to 30.
_OWN: Final = 32
_HTTP_SERVERS: Final = 3
_HTTP_PART: Final = 16  # of the rest, for each of these
_FEWEST: Final = 8


def open_file_limit() -> int:
    """Returns the soft limit on open files of this process."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 2**31 if soft == resource.RLIM_INFINITY else soft


def http_share() -> int:
    """Returns the most connections of one HTTP server."""
    return max(_FEWEST, (open_file_limit() - _OWN) // _HTTP_PART)


def grpc_share() -> int:
    """Returns the most connections of the gRPC server: the rest after the share of the HTTP servers."""
    return max(_FEWEST, open_file_limit() - _OWN - _HTTP_SERVERS * http_share())

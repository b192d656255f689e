"""gRPC services on Trio: grpclib's generated handlers, h2's frames, a Trio task for each call.

It knows nothing of the service that it serves. Read from the outside in:

    server.py       serve_grpc: accept, shake hands, serve, drain
    connection.py   one HTTP/2 connection
    call.py         one call, and what its handler sees of it
    refusal.py      what is answered to HTTP that is no gRPC
    http2.py        the frames of a connection: h2, where it has to differ; no IO
    ports.py        the faces of a call
    wire.py         heads, messages and trailers as bytes; pure
    health.py       the standard health service, for servers that want it
    tls.py          TLS on a socket
    limits.py       what a peer may take
    allowance.py    a budget that refills with time
    observer.py     who is told what happens
"""

from .call import Call, Deadline
from .limits import Limits
from .observer import Observer
from .ports import ServerStream
from .server import open_listener, serve_grpc
from .shared import Service
from .tls import server_context

__all__ = [
    "Call",
    "Deadline",
    "Limits",
    "Observer",
    "ServerStream",
    "Service",
    "open_listener",
    "serve_grpc",
    "server_context",
]

"""gRPC services on Trio: grpclib's generated handlers, a Trio task for each call.

It knows nothing of the service that it serves. Read from the outside in:

    server.py       serve_grpc: accept, shake hands, serve, drain
    admission.py    which connections are let in
    tls.py          TLS on a socket
    connection.py   one HTTP/2 connection
    outgoing.py     what leaves on it
    vigil.py        how long it may be silent, idle, stuck or there at all
    call.py         one call, and what its handler sees of it
    refusal.py      what is answered to HTTP that is no gRPC
    ports.py        the faces of connection and call
    wire.py         gRPC's heads, messages and trailers as bytes; pure
    health.py       the standard health service, for servers that want it

HTTP/2, without IO:

    http2.py        what comes in, by the state of its stream
    sender.py       what is composed
    streams.py      which streams are open, and their windows
    blocks.py       header blocks as they come in
    fields.py       header lists: what a request's must be, and ours as bytes; pure
    frames.py       frames as bytes

What bounds peers:

    limits.py       what a peer may take
    shared.py       what all connections of a server share: handlers, and the next four
    gate.py         handlers at once, and who waits for a turn
    fair_share.py   limit on streaming handlers
    peers.py        connections by peer
    holdings.py     bytes held for calls that are under way
    token_bucket.py limit on a rate
    observer.py     who is told what happens
"""

from .call import Call, Deadline
from .limits import Limits
from .observer import Observer
from .ports import ServerStream
from .server import serve_grpc
from .shared import Service
from .tls import server_context

__all__ = [
    "Call",
    "Deadline",
    "Limits",
    "Observer",
    "ServerStream",
    "Service",
    "serve_grpc",
    "server_context",
]

"""gRPC services on Trio: grpclib's generated handlers, a Trio task for each call.

The package knows nothing about the service. From the outside in:

    server.py             serve_grpc: accept, handshake, serve, drain
    admission.py          limits on connections, peers and handshakes
    tls.py                TLS on a socket
    client_hello.py       limits on the first message of TLS
    tls_context.py        TLS context with a certificate chain and key
    server_state.py       state that all connections share
    connection.py         one HTTP/2 connection
    open_calls.py         calls on it
    http_requests.py      requests on it that are not gRPC
    outgoing.py           sending on it
    connection_timers.py  silence, idleness, stalled sending, age
    call.py               one call, as its handler sees it
    framing.py            gRPC's request headers, messages and trailers as bytes; pure
    interfaces.py         interfaces of services and handlers
    health.py             the standard health service, for servers that want it
    observer.py           events of a server, for logs and metrics

HTTP/2, without IO:

    http2.py              receiving
    sender.py             streams and sending
    header_blocks.py      header blocks: join and decode
    headers.py            header lists: check, encode
    frames.py             frames as bytes

Limits on peers:

    limits.py             all of them
    concurrency.py        handlers at once, and the calls that wait
    deadlines.py          ends of calls at their deadlines
    cpu_budget.py         work of a connection
    turn_scheduler.py     turns of the event loop
    memory_budget.py      bytes held for calls
    token_bucket.py       limit on a rate
"""

from .call import Call
from .deadlines import Deadline
from .interfaces import ServerStream, Service
from .limits import Limits
from .observer import Observer
from .server import serve_grpc
from .tls_context import server_context

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

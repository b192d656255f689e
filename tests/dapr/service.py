"""Fixed address of a server that other programs take over, as a Service in Kubernetes is one."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from socket import SHUT_RDWR, create_connection, socket
from socketserver import BaseRequestHandler, TCPServer, ThreadingTCPServer
from threading import Thread
from typing import Final

_PATIENCE: Final = 15.0  # seconds that a connection waits for a server
_INTERVAL: Final = 0.02  # seconds between two attempts


class _Service(ThreadingTCPServer):
    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.target = port


class _Connection(BaseRequestHandler):
    server: _Service

    def handle(self) -> None:
        with suppress(ConnectionRefusedError), self._connect() as target:
            answering = Thread(target=_copy, args=(target, self.request))
            answering.start()
            _copy(self.request, target)
            answering.join()

    def _connect(self) -> socket:
        end = time.monotonic() + _PATIENCE
        while True:
            try:
                return create_connection(("127.0.0.1", self.server.target))
            except ConnectionRefusedError:
                if time.monotonic() > end:
                    raise
            time.sleep(_INTERVAL)


def _copy(source: socket, target: socket) -> None:
    """Passes on what one side sends until a side is closed; then closes the other."""
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(SHUT_RDWR)


@contextmanager
def service(port: int) -> Iterator[int]:
    """Yields a port whose connections go to another one on loopback, and wait while nothing listens there."""
    with _Service(port) as server, serving_in_thread(server) as own_port:
        yield own_port


@contextmanager
def serving_in_thread(server: TCPServer) -> Iterator[int]:
    """Serves beside the block; yields the port."""
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        thread.join()

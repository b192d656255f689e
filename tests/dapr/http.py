"""Raw HTTP/1.1 requests, and everything observable of the answers."""

import socket
import time
from collections.abc import Mapping
from typing import Final

from .comparing import Fields
from .servers import Started

_TIMEOUT: Final = 20.0
_PAUSE: Final = 0.05
_VARYING: Final = frozenset({"date"})


def ask(port: int, target: str = "/", method: str = "GET", headers: Mapping[str, str] | None = None) -> Fields:
    """Sends one request, with `Host: sentry.example` unless another is given; a header without value is left out."""
    fields = {"Host": "sentry.example", "Connection": "close"} | dict(headers or {})
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items() if value)]
    with socket.create_connection(("127.0.0.1", port), _TIMEOUT) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *rest = head.decode().split("\r\n")
    named = {name.lower(): value for name, _, value in (line.partition(": ") for line in rest)}
    shown = {f"header {name}": value for name, value in named.items() if name not in _VARYING}
    # The reason phrase has no meaning (RFC 9112, section 4).
    return {"status": status.split(" ")[1], "body": body.decode(), **shown}


def wait_until_ready(server: Started) -> None:
    """Waits until the health endpoint answers 200: Dapr Sentry opens its ports in any order, and reports only some."""
    assert server.serving, server.output()
    end = time.monotonic() + _TIMEOUT
    while True:
        try:
            if ask(server.ports["healthz-port"], "/healthz")["status"] == "200":
                return
        except OSError:
            pass
        assert time.monotonic() < end, f"{server.program.name} is not ready: {server.output()}"
        time.sleep(_PAUSE)

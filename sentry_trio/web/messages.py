"""Requests and responses of the HTTP server."""

from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import TypeAlias

import h11
import msgspec


class Request(msgspec.Struct, frozen=True):
    """Head of a request.

    Attributes:
        method: e.g. `GET`.
        path: path as it was sent, percent-encoded.
        query: query without the question mark.
        headers: headers, with names in lower case.
        scheme: `http` or `https`, of the connection or of an absolute-form target.
        authority: authority of an absolute-form target, which replaces the Host header (RFC 9112, 3.2.2); else empty.
        peer: IP address of the client.
    """

    method: str
    path: str
    query: str = ""
    headers: tuple[tuple[bytes, bytes], ...] = ()
    scheme: str = "http"
    authority: str = ""
    peer: str = ""

    @classmethod
    def read(cls, event: h11.Request, *, scheme: str, peer: str) -> "Request":
        """Reads the head, in origin form or in absolute form (RFC 9112, 3.2)."""
        target, _, query = event.target.decode("ascii").partition("?")
        method, authority = event.method.decode("ascii"), ""
        head, separator, rest = target.partition("://")
        if separator and not head.startswith("/"):
            authority, slash, path = rest.partition("/")
            target = slash + path or "/"
            scheme = head.lower() if head.lower() in {"http", "https"} else scheme
        return cls(method, target, query, tuple(event.headers), scheme, authority, peer)

    def header(self, name: str) -> str:
        """Returns the values of a header, joined by commas (RFC 9110, 5.3); empty if there is none."""
        return ",".join(self._values(name))

    def first_header(self, name: str) -> str:
        """Returns the value of the first header of that name; empty if there is none."""
        return next(iter(self._values(name)), "")

    def _values(self, name: str) -> list[str]:
        wanted = name.encode("ascii")
        return [value.decode("latin-1") for given, value in self.headers if given == wanted]


class Response(msgspec.Struct, frozen=True):
    """Response to a request, without its length and date, which the server adds.

    Attributes:
        status: e.g. 200.
        body: body, which is not sent to HEAD and not with 304.
        headers: headers, with names in lower case.
    """

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = msgspec.field(default_factory=dict)


Handler: TypeAlias = Callable[[Request], Awaitable[Response]]


def refusal(status: int, reason: str = "") -> Response:
    """Returns the answer of Go's server to an invalid request; the connection is closed."""
    body = f"{status} {HTTPStatus(status).phrase}{reason}".encode()
    return Response(status, body, {"content-type": "text/plain; charset=utf-8", "connection": "close"})

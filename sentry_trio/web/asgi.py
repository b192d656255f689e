"""What the apps here need of ASGI: its types, an answer that is sent whole, and what of a request decides it."""

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from http import HTTPStatus
from typing import Any, TypeAlias
from urllib.parse import parse_qs

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
ASGIApp: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]


async def answer(
    send: Send,
    status: int,
    body: bytes = b"",
    *,
    content_type: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> None:
    """Sends an answer with its length, so that the connection can be used again; 304 has none (RFC 9110, 8.6).

    Args:
        send: of the ASGI app that was called.
        status: such as 200.
        body: all of it.
        content_type: of the body; None for none.
        headers: more of them, names in lower case.
    """
    length = {} if status == HTTPStatus.NOT_MODIFIED else {"content-length": str(len(body))}
    fields = {**length, **(headers or {})}
    if content_type is not None:
        fields["content-type"] = content_type
    encoded = [(name.encode("ascii"), value.encode("latin-1")) for name, value in fields.items()]
    await send({"type": "http.response.start", "status": status, "headers": encoded})
    await send({"type": "http.response.body", "body": body})


def header_of(scope: Scope, name: str) -> str:
    """The values of a request's header, joined by commas (RFC 9110, 5.3); empty where it has none."""
    wanted = name.encode("ascii")
    return ",".join(value.decode("latin-1") for given, value in scope["headers"] if given == wanted)


def first_header_of(scope: Scope, name: str) -> str:
    """The value of the first header of that name; empty if there is none."""
    wanted = name.encode("ascii")
    return next((value.decode("latin-1") for given, value in scope["headers"] if given == wanted), "")


def is_asked(scope: Scope, name: str) -> bool:
    """Whether the query of a request names a parameter, with a value or without."""
    return name in parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)

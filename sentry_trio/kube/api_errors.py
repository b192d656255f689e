"""What an answer of the API server that is not a success means."""

from collections.abc import Mapping
from typing import Final

import msgspec

from sentry_trio.errors import ApiRefusedError, ApiUnavailableError

_TOO_MANY_REQUESTS: Final = 429
_SERVER_ERRORS: Final = 500
_LONGEST_TEXT: Final = 1000


class _Details(msgspec.Struct):
    retryAfterSeconds: int | None = None  # noqa: N815  # the field's name in JSON


class _Status(msgspec.Struct):
    """What Kubernetes answers instead of an object (kind Status)."""

    message: str | None = None
    reason: str | None = None
    code: int | None = None
    details: _Details | None = None


def error_of(
    request: str, status: int, body: bytes, headers: Mapping[str, str]
) -> ApiUnavailableError | ApiRefusedError:
    """The error that an answer stands for.

    Overload and faults of the server (429, 5xx) may pass; everything else is final for this request.

    Args:
        request: what was asked, e.g. `GET /api/v1/pods`; it begins the text.
        status: of HTTP.
        body: a Status of Kubernetes, or whatever something in between has said.
        headers: of the answer.
    """
    said = _read(body)
    reason = said.reason or _reason(status)
    text = _text(f"{request}: {status} {reason}", said.message)
    if status == _TOO_MANY_REQUESTS or status >= _SERVER_ERRORS:
        return ApiUnavailableError(text, retry_after=_retry_after(said, headers))
    return ApiRefusedError(text, status=status, reason=reason)


def error_of_event(request: str, status: bytes | msgspec.Raw) -> ApiUnavailableError | ApiRefusedError:
    """The error that a watch reports by an event; its code stands in the Status."""
    return error_of(request, _read(status).code or _SERVER_ERRORS, bytes(status), {})


def _read(body: bytes | msgspec.Raw) -> _Status:
    try:
        return msgspec.json.decode(body, type=_Status)
    except msgspec.MsgspecError:
        return _Status(message=bytes(body[:_LONGEST_TEXT]).decode(errors="replace"))


def _reason(status: int) -> str:
    """The reason that Kubernetes gives with such a status, for answers that are not its own."""
    known = {400: "BadRequest", 401: "Unauthorized", 403: "Forbidden", 404: "NotFound", 409: "Conflict", 410: "Expired"}
    return known.get(status, "Unknown")


def _text(beginning: str, message: str | None) -> str:
    shown = " ".join((message or "").split())[:_LONGEST_TEXT]
    return f"{beginning}: {shown}" if shown else beginning


def _retry_after(said: _Status, headers: Mapping[str, str]) -> float | None:
    """Seconds; HTTP's date form is not what API servers send."""
    header = headers.get("Retry-After", "")
    if header.isdecimal() and header.isascii():
        return float(header)
    return said.details.retryAfterSeconds if said.details else None

"""Errors from responses and watch events of the API server that are not a success."""

from collections.abc import Mapping
from typing import Final

import msgspec

from sentry_trio.errors import ApiRejectedError, ApiUnavailableError

_TOO_MANY_REQUESTS: Final = 429
_SERVER_ERRORS: Final = 500
_LONGEST_TEXT: Final = 1000


class _Details(msgspec.Struct):
    retryAfterSeconds: int | None = None  # noqa: N815  # the field's name in JSON


class _Status(msgspec.Struct):
    """Body of an error response (kind Status)."""

    message: str | None = None
    reason: str | None = None
    code: int | None = None
    details: _Details | None = None


def response_error(
    request: str, status: int, body: bytes, headers: Mapping[str, str]
) -> ApiUnavailableError | ApiRejectedError:
    """Returns the error of a response.

    Overload and faults of the server (429, 5xx) may pass; all others are final for this request.

    Args:
        request: e.g. `GET /api/v1/pods`; the text begins with it.
        status: HTTP status.
        body: a Status of Kubernetes, or any text of a proxy.
        headers: headers of the response.
    """
    answer = _read(body)
    reason = answer.reason or _reason(status)
    text = _text(f"{request}: {status} {reason}", answer.message)
    if status == _TOO_MANY_REQUESTS or status >= _SERVER_ERRORS:
        return ApiUnavailableError(text, retry_after=_retry_after(answer, headers))
    return ApiRejectedError(text, status=status, reason=reason)


def event_error(request: str, status: bytes | msgspec.Raw) -> ApiUnavailableError | ApiRejectedError:
    """Returns the error of a watch event of the type ERROR; its Status has the code."""
    return response_error(request, _read(status).code or _SERVER_ERRORS, bytes(status), {})


def _read(body: bytes | msgspec.Raw) -> _Status:
    try:
        return msgspec.json.decode(body, type=_Status)
    except msgspec.MsgspecError:
        return _Status(message=bytes(body[:_LONGEST_TEXT]).decode(errors="replace"))


def _reason(status: int) -> str:
    """Returns Kubernetes' reason for a status, for responses that are not its own."""
    known = {400: "BadRequest", 401: "Unauthorized", 403: "Forbidden", 404: "NotFound", 409: "Conflict", 410: "Expired"}
    return known.get(status, "Unknown")


def _text(beginning: str, message: str | None) -> str:
    shown = " ".join((message or "").split())[:_LONGEST_TEXT]
    return f"{beginning}: {shown}" if shown else beginning


def _retry_after(answer: _Status, headers: Mapping[str, str]) -> float | None:
    """Returns seconds; API servers do not send HTTP's date form."""
    header = headers.get("Retry-After", "")
    if header.isdecimal() and header.isascii():
        return float(header)
    return answer.details.retryAfterSeconds if answer.details else None

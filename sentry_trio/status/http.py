"""GET of a document from a replica."""

from typing import Final

import httpcore
import trio

from sentry_trio.errors import SentryError, reason_of
from sentry_trio.http_client import FAILURES, TooLongError, get
from sentry_trio.listener import Address

MOST_BYTES: Final = 4 << 20
"""Bytes of the longest accepted answer; a scrape of a busy authority has some 50,000."""

_OK: Final = 200


class NotAnsweredError(SentryError):
    """A replica did not answer, or not with a document; the text names it and the reason."""


async def fetch(host: str, port: int, path: str, *, timeout: float) -> bytes:  # noqa: ASYNC109  # of the whole
    """Returns the body of an answer with status 200.

    Args:
        host: name or address; IPv6 without brackets.
        port: of HTTP.
        path: with its query.
        timeout: seconds, from the lookup of the name to the last byte.

    Raises:
        NotAnsweredError: there is no answer in time, none of HTTP, none with 200, or one longer than `MOST_BYTES`.

    Cancellation: at once.
    """
    where = Address(host, port)
    try:
        with trio.fail_after(timeout):
            answer = await get(
                f"http://{where}{path}", most_bytes=MOST_BYTES, headers=[("Accept-Encoding", "identity")]
            )
    except trio.TooSlowError:
        raise NotAnsweredError(f"{where} did not answer within {timeout:g} s") from None
    except TooLongError as error:
        raise NotAnsweredError(f"{where} answered {error} to {path}") from error
    except httpcore.ProtocolError as error:
        raise NotAnsweredError(f"{where} does not speak HTTP: {error}") from error
    except FAILURES as error:
        raise NotAnsweredError(f"cannot reach {where}: {reason_of(error)}") from error
    if answer.status != _OK:
        text = f"{where} answered {answer.status} to {path}: not a port of sentry-trio, or of an old release"
        raise NotAnsweredError(text)
    return answer.body

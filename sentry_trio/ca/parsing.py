"""Error boundary around parsers of untrusted bytes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sentry_trio.errors import SentryError


def reason(error: BaseException) -> str:
    """Returns the text of a parser's exception, on one line and never empty."""
    text = " ".join(str(error).split())
    if isinstance(error, KeyError):
        # A KeyError's text is the key alone.
        return f"unknown value {text}"
    return text or "the parser failed without a reason"


@contextmanager
def parsing(refuse: Callable[[str], SentryError]) -> Iterator[None]:
    """Converts whatever a parser raises in the block into the error that `refuse` makes of the reason.

    The bytes are untrusted, and the libraries raise more than they document: TLS feature 23 (RFC 7633) is a KeyError in
    cryptography. An input must never end the process.
    """
    try:
        yield
    except SentryError:
        raise
    except Exception as error:
        raise refuse(reason(error)) from error
    except BaseException as error:
        # A panic of cryptography's Rust code is a BaseException, and its class cannot be imported.
        if type(error).__name__ != "PanicException":
            raise
        raise refuse(reason(error)) from error

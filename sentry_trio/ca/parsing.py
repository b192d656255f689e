"""The boundary around parsers of bytes that strangers choose."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sentry_trio.errors import SentryError


def reason(error: BaseException) -> str:
    """Why something could not be read, on one line and never empty."""
    text = " ".join(str(error).split())
    if isinstance(error, KeyError) or not text:
        # A KeyError's text is the key alone.
        return f"{type(error).__name__} {text}".rstrip()
    return text


@contextmanager
def parsing(refuse: Callable[[str], SentryError]) -> Iterator[None]:
    """Boundary around a parser: whatever the parser raises becomes the error that `refuse` makes of the reason.

    Strangers choose the bytes, and the libraries raise more than they document: TLS feature 23 (RFC 7633) is a KeyError
    in cryptography. An input must never end the process.
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

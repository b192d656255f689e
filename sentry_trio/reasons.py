"""Reasons in words of errors that other libraries raise."""

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl


def reason_of(error: BaseException) -> str:
    """Returns the innermost reason of an error that other libraries wrapped, e.g. `Connection refused`."""
    inner = error.exceptions[0] if isinstance(error, BaseExceptionGroup) else error.__cause__
    inner = inner or next((each for each in error.args if isinstance(each, BaseException)), None)
    if inner is not None:
        return reason_of(inner)
    # Texts of Trio and of Python's socket module repeat the address. Numbers of resolvers and of TLS mean other things.
    if isinstance(error, OSError) and error.errno and type(error).__module__ == "builtins":
        return os.strerror(error.errno)
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def openssl_reason(error: "ssl.SSLError") -> str | None:
    """Returns OpenSSL's reason in words, e.g. `wrong version number`; None if it has none."""
    return error.reason.replace("_", " ").lower() if error.reason else None


def leaves_of(error: BaseException) -> Iterator[BaseException]:
    """Yields the errors in a group and in the groups in it; of an error without a group itself."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from leaves_of(inner)
    else:
        yield error

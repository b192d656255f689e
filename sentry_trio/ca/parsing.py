"""Error boundary around parsers of untrusted bytes."""

from collections.abc import Callable
from types import TracebackType

from sentry_trio.errors import SentryError


def reason(error: BaseException) -> str:
    """Returns the text of a parser's exception, on one line and never empty."""
    text = " ".join(str(error).split())
    if isinstance(error, KeyError):
        # A KeyError's text is the key alone.
        return f"unknown value {text}"
    return text or "the parser failed without a reason"


class parsing:  # noqa: N801  # used as a function
    """Context manager that converts any error of a parser into the error that `refuse` makes from the reason.

    The bytes are untrusted, and the libraries raise more than they document: TLS feature 23 (RFC 7633) is a KeyError in
    cryptography. An input must never end the process. A class, because a generator costs 2 us more for each request.
    """

    __slots__ = ("_refuse",)

    def __init__(self, refuse: Callable[[str], SentryError]) -> None:
        self._refuse = refuse

    def __enter__(self) -> None:
        """Begins the block."""

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        """Converts the error, if there is one."""
        if error is None or isinstance(error, SentryError):
            return
        # A panic of cryptography's Rust code is a BaseException, and its class cannot be imported.
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            raise self._refuse(reason(error)) from error

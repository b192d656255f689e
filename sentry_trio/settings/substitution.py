"""Environment variables in a text, replaced as by Go's `os.ExpandEnv`: as in a shell, but without defaults."""

import re
from collections.abc import Mapping
from typing import Final

from sentry_trio.errors import InvalidConfigurationError
from sentry_trio.settings.values import encode

# A dollar sign before anything else stays.
_NAME: Final = rb"([*#$@!?0-9-]|[A-Za-z_][A-Za-z0-9_]*)"
_REFERENCE: Final = re.compile(rb"\$(?:\{([^}]*)\}|" + _NAME + rb")")
_UNTERMINATED: Final = re.compile(rb"\$(?:(\{)|" + _NAME + rb")")


def substitute(text: bytes, environ: Mapping[str, str], *, most: int) -> bytes:
    """Replaces `$NAME` and `${NAME}` by the variable's value; a variable that is not set is empty.

    `$` before one of `* # $ @ ! ? -` or a digit takes that one character as the name, so `$$` and `$1` usually vanish.
    `${}` vanishes, and an unterminated `${` loses these two characters only.

    Args:
        text: UTF-8, or any other bytes.
        environ: the variables.
        most: largest number of bytes of the outcome.

    Raises:
        InvalidConfigurationError: the outcome is larger.
    """
    size = 0

    def value(match: re.Match[bytes]) -> bytes:
        nonlocal size
        name = match[2] or (b"" if match[1] == b"{" else match[1])
        found = encode(environ.get(name.decode("utf-8", "surrogateescape"), ""))
        size += len(found)
        if size > most:
            raise _too_large(most)
        return found

    # Behind the last brace no `${` can end: to search there for each of many takes quadratic time.
    end = text.rfind(b"}") + 1
    outcome = _REFERENCE.sub(value, text[:end]) + _UNTERMINATED.sub(value, text[end:])
    if len(outcome) > most:
        raise _too_large(most)
    return outcome


def _too_large(most: int) -> InvalidConfigurationError:
    return InvalidConfigurationError(f"more than {most} bytes after the substitution of environment variables")

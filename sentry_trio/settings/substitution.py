"""Environment variables in a text, as Go's `os.ExpandEnv` puts them in: shell-like, but without defaults."""

import re
from collections.abc import Mapping

from sentry_trio.errors import InvalidConfigurationError
from sentry_trio.settings.values import encode

# An opening brace, a special variable of one character, or a name. A dollar sign before anything else stays.
_REFERENCE = re.compile(rb"\$(?:(\{)|([*#$@!?0-9-]|[A-Za-z_][A-Za-z0-9_]*))")


def substitute(text: bytes, environ: Mapping[str, str], *, most: int) -> bytes:
    """Replace `$NAME` and `${NAME}` by the variable's value; a variable that is not set is empty.

    `$` before one of `* # $ @ ! ? -` or a digit takes that one character as the name, so `$$` and `$1` vanish as a
    rule. `${}` vanishes, an unterminated `${` loses these two characters only.

    Args:
        text: UTF-8, or any other bytes.
        environ: the variables.
        most: how many bytes the outcome may have.

    Raises:
        InvalidConfigurationError: the outcome is larger.
    """
    parts: list[bytes] = []
    size = position = 0
    last_brace = text.rfind(b"}")  # found once: to look for it behind each of many `${` takes quadratic time
    while match := _REFERENCE.search(text, position):
        name, end = (match[2], match.end()) if match[2] else _braced(text, match.end(), last_brace)
        value = encode(environ.get(name.decode("utf-8", "surrogateescape"), ""))
        parts += (text[position : match.start()], value)
        size += match.start() - position + len(value)
        position = end
        if size > most:
            break
    parts.append(text[position:])
    if size + len(text) - position > most:
        raise InvalidConfigurationError(f"more than {most} bytes after environment variables were put in")
    return b"".join(parts)


def _braced(text: bytes, start: int, last_brace: int) -> tuple[bytes, int]:
    """The name that starts behind `${`, and where the text goes on; an empty name where there is no `}`."""
    if start > last_brace:
        return b"", start
    end = text.index(b"}", start)
    return text[start:end], end + 1

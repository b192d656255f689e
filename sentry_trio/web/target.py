"""What a request asks for: its target (RFC 9112, 3.2), and paths as Go's router compares and cleans them."""

import posixpath
import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, unquote

from sentry_trio.web.asgi import Scope

_ABSOLUTE: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/]*)(.*)", re.DOTALL)
# What may stand in a path as it is (RFC 3986, 3.3), `%` included: it has been encoded once.
_PATH_CHARACTERS: Final = "/%:@!$&'()*+,;="


@dataclass(frozen=True, slots=True)
class Target:
    """The target of a request, without its query.

    Attributes:
        path: as it was sent, percent-encoded.
        scheme: of an absolute-form target, in lower case; else empty.
        authority: of an absolute-form target, which then stands for the Host header (RFC 9112, 3.2.2); else empty.
    """

    path: str
    scheme: str = ""
    authority: str = ""


def target_of(scope: Scope) -> Target:
    """The target of a request."""
    raw = scope["raw_path"].decode("latin-1")
    absolute = _ABSOLUTE.fullmatch(raw)
    if absolute is None:
        return Target(raw)
    scheme, authority, path = absolute.groups()
    return Target(path or "/", scheme.lower(), authority)


def segments(path: str) -> tuple[str, ...]:
    """A percent-encoded path as what is compared: its segments, decoded; an encoded slash separates nothing."""
    return tuple(map(unquote, path.split("/")))


def cleaned(path: str) -> str:
    """A path without empty segments, `.` and `..`, beginning with one slash; a slash at the end is kept.

    What no path may hold is percent-encoded, a backslash for one, which browsers take for a slash.
    """
    clean = posixpath.normpath("/" + path.lstrip("/"))
    if path.endswith("/") and clean != "/":
        clean += "/"
    return quote(clean, safe=_PATH_CHARACTERS)

"""URLs of OpenID Connect: those in the discovery document, and the paths of it and of the key set."""

import posixpath
import re
from typing import Final
from urllib.parse import SplitResult, quote, unquote, urlsplit

from sentry_trio.errors import InvalidOptionsError
from sentry_trio.go_text import quote as quoted

DISCOVERY_PATH: Final = "/.well-known/openid-configuration"
JWKS_PATH: Final = "/jwks.json"

# Characters that a path may have (RFC 3986, 3.3), `%` included: it has been encoded once.
_PATH_CHARACTERS: Final = "/%:@!$&'()*+,;="
_BAD_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_NOT_IN_URLS: Final = re.compile(r"[\x00-\x20\x7f-\U0010ffff\\\"<>^`{|}]")


def path_prefix(text: str | None) -> str:
    """Returns `--oidc-path-prefix` percent-encoded, with one slash in front and none at the end; empty for none.

    Dapr Sentry 1.18 cannot be asked for a prefix without a slash in front, or with two, and ends for an empty one.

    Args:
        text: encoded or not; `..` and empty segments are removed.
    """
    clean = posixpath.normpath("/" + unquote(text or "").lstrip("/"))
    return quote(clean) if clean != "/" else ""


def checked_issuer(text: str | None) -> str | None:
    """Returns `--jwt-issuer`, checked; None if the issuer is to be derived from each request.

    Raises:
        InvalidOptionsError: `invalid JWT issuer URI: ...`.
    """
    return _checked(text, "invalid JWT issuer URI") if text else None


def checked_jwks_uri(text: str | None) -> str | None:
    """Returns `--oidc-jwks-uri`, checked; None if it is to be derived from the issuer.

    Raises:
        InvalidOptionsError: `invalid JWKS URI: ...`.
    """
    return None if text is None else _checked(text, "invalid JWKS URI")


def _checked(text: str, complaint: str) -> str:
    fault = _fault(text)
    if fault:
        raise InvalidOptionsError(f"{complaint}: {quoted(text)}: {fault}")
    return text


def _fault(text: str) -> str | None:
    if found := _NOT_IN_URLS.search(text):
        return f"{found[0]!r} must be percent-encoded"
    if _BAD_ESCAPE.search(text):
        return "a percent sign must begin an escape such as %20"
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError as error:
        return str(error)
    if ":" in parts.path.partition("/")[0]:
        return "the scheme is missing or misspelt"
    return None


def keeps_discovery_rules(issuer: str) -> bool:
    """Returns True for an https URL without query and fragment, as relying parties require (Discovery 1.0, 3)."""
    parts = urlsplit(issuer)
    return parts.scheme == "https" and bool(parts.hostname) and not (parts.query or parts.fragment)


def jwks_uri_of(issuer: str, prefix: str) -> str:
    """Returns the URL of an issuer's key set.

    The issuer's path is kept, which Dapr Sentry 1.18 drops, and the prefix follows unless that path ends with it: with
    the prefix `/tenant`, the key set of `https://host/tenant` is at `https://host/tenant/jwks.json`. As in Dapr Sentry,
    an issuer that is not a URL yields only a path.
    """
    parts = urlsplit(issuer)
    if not parts.netloc:
        return prefix + JWKS_PATH
    base = parts.path.rstrip("/")
    if not base.endswith(prefix):
        base += prefix
    return SplitResult(parts.scheme, parts.netloc, base + JWKS_PATH, parts.query, parts.fragment).geturl()


def segments(path: str) -> tuple[str, ...]:
    """Returns the decoded segments of a percent-encoded path, for comparison; an encoded slash separates nothing."""
    return tuple(map(unquote, path.split("/")))


def cleaned(path: str) -> str:
    """Returns a path without empty segments, `.` and `..`, with one slash in front; a slash at the end is kept.

    As Go's router does. Characters that no path may have are percent-encoded, e.g. a backslash, which browsers take for
    a slash.
    """
    clean = posixpath.normpath("/" + path.lstrip("/"))
    if path.endswith("/") and clean != "/":
        clean += "/"
    return quote(clean, safe=_PATH_CHARACTERS)

"""Normalization of JSON Web Keys to the form of RFC 7517 and RFC 7518."""

from collections.abc import Mapping
from typing import Any, Final

# Members whose value is base64url without padding (RFC 7518, 6).
_BASE64URL: Final = frozenset({"n", "e", "x", "y", "k", "d", "p", "q", "dp", "dq", "qi"})
_TO_BASE64URL: Final = str.maketrans("+/", "-_")


def normalized(jwk: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a key without null members, and with numbers in base64url without padding.

    Go's libraries, and so Dapr Sentry 1.18, treat a null member as absent and read padded and standard base64 as well;
    key sets of both kinds are in use.
    """
    return {name: _without_padding(name, value) for name, value in jwk.items() if value is not None}


def _without_padding(name: str, value: object) -> object:
    if name in _BASE64URL and isinstance(value, str):
        return value.rstrip("=").translate(_TO_BASE64URL)
    return value

"""Where to listen: hosts and ports as operators write them, brought to the form that sockets take."""

import ipaddress
import re

from sentry_trio.errors import InvalidOptionsError
from sentry_trio.settings.scalars import quote

_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_MOST_NAME = 253
_MOST_PORT = 65535


def listen_host(flag: str, text: str) -> str:
    """The bare host to bind: an IP address without brackets, a host name, or empty for all interfaces.

    Dapr Sentry glues host and port together, so that there an IPv6 address works for gRPC only in brackets and for
    its HTTP servers only without; both are taken here for all listeners.

    Args:
        flag: name of the flag, for the error.
        text: its value.

    Raises:
        InvalidOptionsError: not a host; names the flag.
    """
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    if not text or _is_ip(bare, 6) or _is_ip(text, 4):
        return bare
    if _is_host_name(text):
        return text
    raise InvalidOptionsError(f"invalid --{flag} {quote(text)}: expected an IP address or a host name, without port")


def listen_port(flag: str, number: int) -> int:
    """A port to bind: 0 (any free port) to 65535.

    Raises:
        InvalidOptionsError: out of range; names the flag.
    """
    if 0 <= number <= _MOST_PORT:
        return number
    raise InvalidOptionsError(f"invalid --{flag} {number}: expected a port from 0 to {_MOST_PORT}")


def _is_ip(text: str, version: int) -> bool:
    try:
        return ipaddress.ip_address(text).version == version
    except ValueError:
        return False


def _is_host_name(text: str) -> bool:
    labels = text.removesuffix(".").split(".")
    if len(text) > _MOST_NAME or labels[-1].isdigit():  # a last label of digits: a misspelt IPv4 address
        return False
    return all(_LABEL.fullmatch(label) for label in labels)

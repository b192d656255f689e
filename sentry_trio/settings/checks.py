"""Checks of values: each takes the flag's name and the value, and returns the value in its final form or raises."""

import ipaddress
import re
from collections.abc import Sequence
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Final, TypeAlias, TypeVar

from sentry_trio.errors import InvalidOptionsError
from sentry_trio.go_text import format_duration, quote
from sentry_trio.settings.values import InvalidValueError, parse_decimal

Network: TypeAlias = IPv4Network | IPv6Network
_Amount = TypeVar("_Amount", int, timedelta)

_LABEL: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_FINGERPRINT: Final = re.compile(r"[0-9a-f]{64}")
_LONGEST_NAME: Final = 253
LAST_PORT: Final = 65535

MOST_ANCHORS_KEPT: Final = 8
"""Largest number of former trust anchors that stay published."""


def host(flag: str, text: str) -> str:
    """Returns the bare host to bind or connect to: an IP address without brackets, a host name, or empty.

    Dapr Sentry joins host and port, so that there an IPv6 address works for gRPC only in brackets and for its HTTP
    servers only without; both are accepted here for all listeners.

    Raises:
        InvalidOptionsError: not a host.
    """
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    if not text or _is_ip(bare, 6) or _is_ip(text, 4):
        return bare
    if _is_host_name(text):
        return text
    raise InvalidOptionsError(f"invalid --{flag} {quote(text)}: expected an IP address or a host name, without port")


def port(flag: str, number: int) -> int:
    """Returns a port to bind: 0 (any free port) to 65535.

    Raises:
        InvalidOptionsError: out of range.
    """
    if 0 <= number <= LAST_PORT:
        return number
    raise InvalidOptionsError(f"invalid --{flag} {number}: expected a port from 0 to {LAST_PORT}")


def metrics_port(flag: str, text: str) -> int:
    """Returns the port in a decimal text.

    Raises:
        InvalidOptionsError: it is not a port; with Dapr Sentry's text if it is not a number.
    """
    try:
        return port(flag, parse_decimal(text))
    except InvalidValueError as error:
        raise InvalidOptionsError(f"failed to parse metrics port: {error}") from error


def networks(flag: str, texts: Sequence[str]) -> tuple[Network, ...]:
    """Returns networks of texts in CIDR notation; an address alone is a network of one.

    Raises:
        InvalidOptionsError: one of them is not a network.
    """
    return tuple(_network(flag, text.strip()) for text in texts)


def positive(flag: str, amount: _Amount) -> _Amount:
    """Returns a number or duration.

    Raises:
        InvalidOptionsError: zero or negative.
    """
    if amount > type(amount)():
        return amount
    raise InvalidOptionsError(f"--{flag} must be positive, got {_shown(amount)}")


def not_negative(flag: str, duration: timedelta) -> timedelta:
    """Returns a duration.

    Raises:
        InvalidOptionsError: negative.
    """
    if duration >= timedelta():
        return duration
    raise InvalidOptionsError(f"--{flag} must not be negative, got {_shown(duration)}")


def anchors_kept(flag: str, number: int) -> int:
    """Returns a number of former trust anchors.

    Raises:
        InvalidOptionsError: it is negative or above `MOST_ANCHORS_KEPT`.
    """
    if not 0 <= number <= MOST_ANCHORS_KEPT:
        raise InvalidOptionsError(f"--{flag} must be from 0 to {MOST_ANCHORS_KEPT}, got {number}")
    return number


def root_lifetime(root_ttl: timedelta, ttl: timedelta) -> None:
    """Checks the lifetime of a root whose key is kept against that of its issuers.

    Raises:
        InvalidOptionsError: it is shorter.
    """
    if root_ttl < ttl:
        raise InvalidOptionsError("--ca-root-ttl must be at least --ca-ttl: no issuer outlives its root")


def root_key_in_secret(passphrase_file: object) -> None:
    """Checks that a root key in a Secret is encrypted: Dapr's chart lets its injector read that Secret.

    Raises:
        InvalidOptionsError: there is no passphrase.
    """
    if not passphrase_file:
        raise InvalidOptionsError(
            "--ca-root-key=keep needs --ca-root-key-passphrase-file in kubernetes mode: other programs may read the "
            "Secret that the key is stored in"
        )


def share(flag: str, number: float) -> float:
    """Returns a part of a whole.

    Raises:
        InvalidOptionsError: it is not between 0 and 1.
    """
    if not 0 < number < 1:
        raise InvalidOptionsError(f"--{flag} must be between 0 and 1, got {number:g}")
    return number


def fingerprint(flag: str, text: str) -> str:
    """Returns the fingerprint of a trust bundle, as health, metrics and log show it; empty if none is given.

    Raises:
        InvalidOptionsError: it has another form.
    """
    digits = text.lower()
    if text and not _FINGERPRINT.fullmatch(digits):
        raise InvalidOptionsError(
            f"invalid --{flag} {quote(text)}: expected the 64 hexadecimal digits of a trust bundle's fingerprint"
        )
    return digits


def path(_flag: str, text: str) -> Path:
    """Returns a path."""
    return Path(text)


def path_or_none(_flag: str, text: str) -> Path | None:
    """Returns a path; None if the text is empty."""
    return Path(text) if text else None


def _shown(amount: int | timedelta) -> str:
    return format_duration(amount) if isinstance(amount, timedelta) else str(amount)


def _network(flag: str, text: str) -> Network:
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise InvalidOptionsError(
            f"invalid --{flag} {quote(text)}: {error}; expected networks such as 10.0.0.0/8 or fd00::/8"
        ) from error


def _is_ip(text: str, version: int) -> bool:
    try:
        return ipaddress.ip_address(text).version == version
    except ValueError:
        return False


def _is_host_name(text: str) -> bool:
    labels = text.removesuffix(".").split(".")
    if len(text) > _LONGEST_NAME or labels[-1].isdigit():  # a last label of digits: a misspelt IPv4 address
        return False
    return all(_LABEL.fullmatch(label) for label in labels)

"""Host of a request, and the hosts that are served."""

import re
from collections.abc import Collection, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from sentry_trio.settings.checks import Network
from sentry_trio.web.messages import Request

FORWARDED: Final = "x-forwarded-host"
ANY: Final = "*"

# Characters that Go's server, and so Dapr Sentry, accepts in a Host header.
_HEADER: Final = re.compile(r"[A-Za-z0-9!$%&()*+,\-.:;=\[\]'_~]*")
_WITH_PORT: Final = re.compile(r"(?:\[([^\[\]]*)\]|([^:\[\]]*)):[^:\[\]]*")
_NAME: Final = re.compile(r"[^:\[\]%]+(?::[0-9]*)?")
_BRACKETED: Final = re.compile(r"\[([^\[\]%]+)\](?::[0-9]*)?")


class Hosts:
    """Finds the host of a request and decides if it is served.

    X-Forwarded-Host is used if the list of hosts limits a caller's choice, as in Dapr Sentry 1.18, or if it comes from
    a trusted proxy. If proxies are given, it is used from them only.

    Args:
        allowed: hosts, with a port or without; compared as they are written; `*` or no host at all: every host.
        proxies: networks that are trusted to name the host of a client's request.

    Attributes:
        allowed: the allowed hosts.
    """

    def __init__(self, allowed: Collection[str], proxies: Sequence[Network]) -> None:
        self.allowed: Collection[str] = dict.fromkeys(allowed)  # in order
        self._proxies = proxies

    @property
    def is_open(self) -> bool:
        """True if every host is served, so that clients choose the host's name."""
        return not self.allowed or ANY in self.allowed

    @property
    def may_be_forwarded(self) -> bool:
        """True if X-Forwarded-Host of some callers is used."""
        return bool(self._proxies) or not self.is_open

    def host_of(self, request: Request) -> str:
        """Returns the host, with its port if there is one, that a request is for; empty if it names none."""
        return self._forwarded(request) or request.authority or request.header("host")

    def _forwarded(self, request: Request) -> str:
        if self._proxies:
            # The last value is the proxy's own; those before it may be its client's.
            values = request.header(FORWARDED) if self._comes_from_proxy(request) else ""
            return values.rpartition(",")[2].strip()
        # As Go's Header.Get: the first line, whole. A list in it matches no host.
        return "" if self.is_open else request.first_header(FORWARDED)

    def allows(self, host: str) -> bool:
        """Returns True if a host is served: all of it is allowed, or its part before the port."""
        return self.is_open or host in self.allowed or _without_port(host) in self.allowed

    def _comes_from_proxy(self, request: Request) -> bool:
        peer: IPv4Address | IPv6Address = ip_address(request.peer)
        # IPv4 addresses of a socket of both families.
        if isinstance(peer, IPv6Address) and peer.ipv4_mapped is not None:
            peer = peer.ipv4_mapped
        return any(peer in network for network in self._proxies)


def is_valid_header(host: str) -> bool:
    """Returns True if a host has only characters that Go's server accepts in a Host header."""
    return _HEADER.fullmatch(host) is not None


def is_valid_in_url(host: str) -> bool:
    """Returns True for a name or an address, IPv6 in brackets, with a number as port or without port."""
    bracketed = _BRACKETED.fullmatch(host)
    if bracketed is None:
        return _NAME.fullmatch(host) is not None
    try:
        IPv6Address(bracketed[1])
    except ValueError:
        return False
    return True


def _without_port(host: str) -> str | None:
    """Returns the host without port and brackets, as Go's net.SplitHostPort does; None if there is no port."""
    found = _WITH_PORT.fullmatch(host)
    return found and (found[1] if found[1] is not None else found[2])

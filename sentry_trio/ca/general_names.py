"""Alternative names and name constraints, as Go's crypto/x509 reads and matches them (RFC 5280, 4.2.1.6, 4.2.1.10)."""

import ipaddress
import re
from collections.abc import Sequence

import msgspec

from sentry_trio.ca.asn1 import MalformedError, Reader, context

_EMAIL, _DNS, _URI, _IP = context(1), context(2), context(6), context(7)

_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_USER_INFO = re.compile(r"[A-Za-z0-9\-._~!$&'()*+,;=:@%]*")
# net/url rejects escaped ASCII characters in a host, except %25; other escapes never make a domain name.
_HOST = re.compile(r"""(?:[A-Za-z0-9\-._~!$&'()*+,;=:<>"\]]|%25)*""")
_PORT = re.compile(r"(?::[0-9]*)?")
# RFC 2821, 4.1.2, as Go implements it: a quoted local part, or atoms in which a backslash may precede any character.
_MAILBOX = re.compile(
    r"""(?:"(?:[\x01-\x08\x0b\x0c\x0e-!#-\[\]-\x7f]|\\[\x01-\x09\x0b\x0c\x0e-\x7f])*"|"""
    r"""((?:\\.|[A-Za-z0-9!#$%&'*+\-/=?^_`{|}~.])+))@(.*)""",
    re.DOTALL,
)


class AlternativeNames(msgspec.Struct, frozen=True):
    """Alternative names of the kinds that Go reads; directory names and others are omitted.

    Attributes:
        dns_names: DNS names.
        uris: URIs.
        is_empty: true if there is no name of a kind that Go reads.
    """

    dns_names: tuple[str, ...] = ()
    uris: tuple[str, ...] = ()
    is_empty: bool = True


class NameConstraints(msgspec.Struct, frozen=True):
    """Name constraints on DNS names and URIs, the only kinds of names that this authority signs.

    Attributes:
        permitted_dns: domains; names must be within one of them if there is any.
        excluded_dns: domains; names must not be within any of them.
        permitted_uris: the same for the hosts of URIs.
        excluded_uris: the same for the hosts of URIs.
        has_unknown_kinds: true if there is a constraint on a kind of name that Go does not know. Go then rejects the
            certificate if the extension is critical.
    """

    permitted_dns: tuple[str, ...] = ()
    excluded_dns: tuple[str, ...] = ()
    permitted_uris: tuple[str, ...] = ()
    excluded_uris: tuple[str, ...] = ()
    has_unknown_kinds: bool = False

    def why_forbidden(self, dns_names: Sequence[str], uris: Sequence[str]) -> str | None:
        """Returns the reason why a certificate may not have these names, or None if it may."""
        for name in dns_names:
            if why := _why_outside(name, self.permitted_dns, self.excluded_dns):
                return f'DNS name "{name}" {why}'
        for uri in uris:
            host = uri.partition("://")[2].partition("/")[0].lower()
            if why := self._why_host_outside(host):
                return f'URI "{uri}" {why}'
        return None

    def _why_host_outside(self, host: str) -> str | None:
        if _is_address(host):
            return "has an IP address as its host, which cannot be matched against constraints"
        return _why_outside(host, self.permitted_uris, self.excluded_uris)


def read_alternative_names(der: bytes) -> AlternativeNames:
    """Reads the subject alternative name extension.

    Raises:
        MalformedError: it cannot be read, or a name is not valid for Go: a URI that does not parse, for example.
    """
    dns_names, uris = [], []
    others = False
    names = Reader(der).inside("subjectAltName")
    while names:
        tag, content = names.any_content("a name in subjectAltName")
        if tag == _IP:
            if len(content) not in (4, 16):
                raise MalformedError(f"an IP address in subjectAltName has {len(content)} bytes")
            others = True
        elif tag in (_EMAIL, _DNS, _URI):
            name = _ascii(content, "a name in subjectAltName")
            if tag == _URI:
                _check_uri(name)
                uris.append(name)
            elif tag == _DNS:
                dns_names.append(name)
            else:
                others = True
    return AlternativeNames(tuple(dns_names), tuple(uris), not (dns_names or uris or others))


def read_name_constraints(der: bytes) -> NameConstraints:
    """Reads the name constraints extension.

    Raises:
        MalformedError: it cannot be read, is empty, or a constraint is not valid for Go.
    """
    outer = Reader(der)
    constraints = outer.inside("nameConstraints")
    permitted, excluded = (
        constraints.content("nameConstraints", tag) if constraints.next_is(tag) else b""
        for tag in (context(0, constructed=True), context(1, constructed=True))
    )
    if outer or constraints:
        raise MalformedError("nameConstraints has bytes after its end")
    if not permitted and not excluded:
        raise MalformedError("nameConstraints is empty")
    inside, inside_unknown = _read_subtrees(permitted)
    outside, outside_unknown = _read_subtrees(excluded)
    return NameConstraints(
        permitted_dns=inside[_DNS],
        excluded_dns=outside[_DNS],
        permitted_uris=inside[_URI],
        excluded_uris=outside[_URI],
        has_unknown_kinds=inside_unknown or outside_unknown,
    )


def _read_subtrees(der: bytes) -> tuple[dict[int, tuple[str, ...]], bool]:
    """Returns the constraints by kind of name, and whether there is one of a kind that Go does not know."""
    found: dict[int, list[str]] = {_DNS: [], _URI: [], _EMAIL: []}
    unknown = False
    subtrees = Reader(der)
    while subtrees:
        tag, content = subtrees.inside("a subtree in nameConstraints").any_content("the base of a subtree")
        if tag == _IP:
            _check_network(content)
        elif tag in found:
            found[tag].append(_constraint(tag, content))
        else:
            unknown = True
    return {tag: tuple(names) for tag, names in found.items()}, unknown


def _constraint(tag: int, content: bytes) -> str:
    text = _ascii(content, "a constraint in nameConstraints")
    if tag == _EMAIL and "@" in text:
        is_valid = _is_mailbox(text)
    else:
        is_valid = _is_domain(text, may_begin_with_dot=True) and not (tag == _URI and _is_address(text))
    if not is_valid:
        raise MalformedError(f"constraint {text!r} in nameConstraints is not valid")
    return text


def _is_mailbox(text: str) -> bool:
    found = _MAILBOX.fullmatch(text)
    if found is None or not _is_domain(found[2]):
        return False
    atoms = re.sub(r"\\(.)", r"\1", found[1], flags=re.DOTALL).split(".") if found[1] else ["quoted"]
    return all(atoms)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _check_network(content: bytes) -> None:
    """Checks an address and a mask: ones, then zeros."""
    half = len(content) // 2
    mask = int.from_bytes(content[half:], "big")
    inverted = mask ^ ((1 << 8 * half) - 1)
    if len(content) not in (8, 32) or inverted & (inverted + 1):
        raise MalformedError("an IP network in nameConstraints is not valid")


def _ascii(content: bytes, field: str) -> str:
    if not content.isascii():
        raise MalformedError(f"{field} has characters beyond ASCII")
    return content.decode()


def _why_outside(name: str, permitted: Sequence[str], excluded: Sequence[str]) -> str | None:
    if permitted and not any(_is_within(name, domain) for domain in permitted):
        return "is not permitted by any constraint"
    for domain in excluded:
        if _is_within(name, domain):
            return f'is excluded by constraint "{domain}"'
    return None


def _is_within(name: str, domain: str) -> bool:
    """Returns whether a name is a domain or below it; a domain that begins with a dot does not include itself."""
    name, domain = name.lower(), domain.lower()
    if not domain:
        return True
    return name == domain or name.endswith(domain if domain.startswith(".") else f".{domain}")


def _is_domain(text: str, *, may_begin_with_dot: bool = False) -> bool:
    """Returns whether Go accepts a text as a domain name: non-empty labels of visible ASCII, or an empty text."""
    labels = text[1:] if may_begin_with_dot and text.startswith(".") else text
    if not text:
        return True
    return all(labels.split(".")) and all("!" <= character <= "~" for character in labels)


def _check_uri(uri: str) -> None:
    """Checks a URI as Go's net/url parses it, and its host as crypto/x509 does.

    Raises:
        MalformedError: no Go program can read a certificate with this URI.
    """
    if not _uri_is_valid(uri):
        raise MalformedError(f"URI {uri[:200]!r} in subjectAltName is not valid")


def _uri_is_valid(uri: str) -> bool:
    rest, _, fragment = uri.partition("#")
    if _CONTROL.search(rest) or _BAD_ESCAPE.search(fragment):
        return False
    found = _SCHEME.match(rest)
    scheme = found[1].lower() if found else ""
    rest = rest[found.end() if found else 0 :].partition("?")[0]
    if not rest.startswith("/"):
        # Behind a scheme, anything counts as opaque; without one, a colon would look like the end of a scheme.
        return bool(scheme) or ":" not in rest.partition("/")[0]
    authority, slash, path = "", "", rest
    if rest.startswith("//") and (scheme or not rest.startswith("///")):
        authority, slash, path = rest[2:].partition("/")
    user_info, _, host = authority.rpartition("@")
    return (
        not _BAD_ESCAPE.search(user_info + " " + slash + path)
        and _USER_INFO.fullmatch(user_info) is not None
        and _host_is_valid(host, strict_colons=scheme in ("http", "https"))
    )


def _host_is_valid(host: str, *, strict_colons: bool) -> bool:
    if host.startswith("["):
        address, bracket, port = host[1:].rpartition("]")
        address, _, zone = address.partition("%25")
        try:
            ipaddress.IPv6Address(address)
        except ValueError:
            return False
        return bool(bracket) and _PORT.fullmatch(port) is not None and _HOST.fullmatch(zone) is not None
    if not _HOST.fullmatch(host):
        return False
    colon = host.find(":") if strict_colons else host.rfind(":")
    port_is_valid = colon < 0 or _PORT.fullmatch(host[colon:]) is not None
    return port_is_valid and _is_domain(host)

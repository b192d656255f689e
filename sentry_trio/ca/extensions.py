"""Extensions of certificates, read and checked as Go's crypto/x509 does.

Every component of Dapr reads certificates with Go's crypto/x509, which rejects a certificate if an extension that it
knows is malformed. This module rejects it, too. Extensions that Go does not know stay opaque.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from sentry_trio.ca.asn1 import MalformedError, Reader, Tag, context
from sentry_trio.ca.general_names import (
    AlternativeNames,
    NameConstraints,
    read_alternative_names,
    read_name_constraints,
)

# Numbers of bits in keyUsage (RFC 5280, 4.2.1.3).
DIGITAL_SIGNATURE = 0
KEY_CERT_SIGN = 5
CRL_SIGN = 6

SUBJECT_KEY_IDENTIFIER = "2.5.29.14"
KEY_USAGE = "2.5.29.15"
SUBJECT_ALTERNATIVE_NAME = "2.5.29.17"
BASIC_CONSTRAINTS = "2.5.29.19"
NAME_CONSTRAINTS = "2.5.29.30"
CRL_DISTRIBUTION_POINTS = "2.5.29.31"
CERTIFICATE_POLICIES = "2.5.29.32"
POLICY_MAPPINGS = "2.5.29.33"
AUTHORITY_KEY_IDENTIFIER = "2.5.29.35"
POLICY_CONSTRAINTS = "2.5.29.36"
EXTENDED_KEY_USAGE = "2.5.29.37"
INHIBIT_ANY_POLICY = "2.5.29.54"
AUTHORITY_INFORMATION_ACCESS = "1.3.6.1.5.5.7.1.1"

SERVER_AUTH = "1.3.6.1.5.5.7.3.1"
CLIENT_AUTH = "1.3.6.1.5.5.7.3.2"
ANY_EXTENDED_KEY_USAGE = "2.5.29.37.0"

_NEVER_CRITICAL = frozenset({SUBJECT_KEY_IDENTIFIER, AUTHORITY_KEY_IDENTIFIER, AUTHORITY_INFORMATION_ACCESS})


class BasicConstraints(msgspec.Struct, frozen=True):
    """Basic constraints of a certificate (RFC 5280, 4.2.1.9).

    Attributes:
        is_ca: the value of cA.
        path_length: maximum number of CA certificates below it, or None if there is no bound.
    """

    is_ca: bool
    path_length: int | None


class Extension(msgspec.Struct, frozen=True):
    """Encoded extension.

    Attributes:
        oid: object identifier in dotted form.
        critical: the value of critical.
        value: content of extnValue.
    """

    oid: str
    critical: bool
    value: bytes


class Extensions(msgspec.Struct, frozen=True):
    """Extensions of a certificate; None for an absent one.

    Attributes:
        basic_constraints: see `BasicConstraints`.
        key_usage: numbers of the bits that are set; None if no bit is.
        extended_key_usage: object identifiers in dotted form.
        subject_key_identifier: the identifier.
        authority_key_identifier: the identifier; None also if the extension has only issuer and serial number.
        alternative_names: see `AlternativeNames`.
        name_constraints: see `NameConstraints`.
        unhandled_critical: object identifiers of critical extensions that Go does not process; if there are any, no
            path may contain the certificate.
        present: object identifiers of all extensions.
    """

    basic_constraints: BasicConstraints | None = None
    key_usage: frozenset[int] | None = None
    extended_key_usage: tuple[str, ...] | None = None
    subject_key_identifier: bytes | None = None
    authority_key_identifier: bytes | None = None
    alternative_names: AlternativeNames | None = None
    name_constraints: NameConstraints | None = None
    unhandled_critical: tuple[str, ...] = ()
    present: frozenset[str] = frozenset()


def split_extensions(reader: Reader) -> list[Extension]:
    """Reads a sequence of extensions without reading their values.

    Raises:
        MalformedError: it cannot be read, or an extension occurs twice.
    """
    found: dict[str, Extension] = {}
    members = reader.inside("extensions")
    while members:
        member = members.inside("an extension")
        oid = member.object_identifier("the type of an extension")
        critical = member.next_is(Tag.BOOLEAN) and member.boolean(f"critical of extension {oid}")
        if oid in found:
            raise MalformedError(f"extension {oid} occurs twice")
        found[oid] = Extension(oid, critical, member.content(f"the value of extension {oid}", Tag.OCTET_STRING))
    return list(found.values())


def read_extensions(reader: Reader) -> Extensions:
    """Reads a sequence of extensions, and the values that Go reads.

    Raises:
        MalformedError: Go rejects the certificate because of an extension; the text names it.
    """
    found: dict[str, Any] = {}
    unhandled = []
    extensions = split_extensions(reader)
    for each in extensions:
        if each.critical and each.oid in _NEVER_CRITICAL:
            raise MalformedError(f"extension {each.oid} is marked critical, which RFC 5280 forbids")
        is_handled = each.oid in _CHECKS or each.oid in _READERS
        if each.oid in _CHECKS:
            _CHECKS[each.oid](each.value)
        elif each.oid in _READERS:
            name, read = _READERS[each.oid]
            found[name] = read(each.value)
            is_handled = _is_handled(found[name])
        if each.critical and not is_handled:
            unhandled.append(each.oid)
    present = frozenset(each.oid for each in extensions)
    return Extensions(**found, unhandled_critical=tuple(unhandled), present=present)


def _is_handled(value: object) -> bool:
    """Returns whether Go counts an extension that it has read as processed."""
    if isinstance(value, AlternativeNames):
        return not value.is_empty
    return not (isinstance(value, NameConstraints) and value.has_unknown_kinds)


def _read_basic_constraints(value: bytes) -> BasicConstraints:
    field = "basicConstraints"
    reader = Reader(value).inside(field)
    is_ca = reader.next_is(Tag.BOOLEAN) and reader.boolean(f"cA of {field}")
    path_length = reader.integer(f"pathLenConstraint of {field}") if reader.next_is(Tag.INTEGER) else None
    if path_length is not None and not 0 <= path_length < 1 << 63:
        raise MalformedError(f"pathLenConstraint of {field} is out of bounds")
    return BasicConstraints(is_ca, path_length)


def _read_key_usage(value: bytes) -> frozenset[int] | None:
    octets, _ = Reader(value).bit_string("keyUsage")
    bits = int.from_bytes(octets[:2].ljust(2, b"\0"), "big")
    # To Go, a key usage without any bit (RFC 5280, 4.2.1.3, forbids it) restricts nothing.
    return frozenset(number for number in range(9) if bits & 0x8000 >> number) or None


def _read_extended_key_usage(value: bytes) -> tuple[str, ...]:
    usages = []
    reader = Reader(value).inside("extKeyUsage")
    while reader:
        usages.append(reader.object_identifier("a purpose in extKeyUsage"))
    return tuple(usages)


def _read_subject_key_identifier(value: bytes) -> bytes:
    return Reader(value).content("subjectKeyIdentifier", Tag.OCTET_STRING)


def _read_authority_key_identifier(value: bytes) -> bytes | None:
    reader = Reader(value).inside("authorityKeyIdentifier")
    if not reader.next_is(context(0)):
        return None
    return reader.content("keyIdentifier of authorityKeyIdentifier", context(0))


def _check_crl_distribution_points(value: bytes) -> None:
    field = "cRLDistributionPoints"
    points = Reader(value).inside(field)
    while points:
        point = points.inside(f"a point of {field}")
        if point.next_is(context(0, constructed=True)):
            # The name is a CHOICE, so its own tag is nested in the field's tag.
            names = point.inside(f"a point of {field}", context(0, constructed=True))
            name = names.inside(f"a point of {field}", context(0, constructed=True))
            while name.next_is(context(6)):
                name.content(f"a URI of {field}", context(6))


def _check_certificate_policies(value: bytes) -> None:
    field = "certificatePolicies"
    seen = set()
    policies = Reader(value).inside(field)
    while policies:
        oid = policies.inside(f"a policy of {field}").content(f"a policy of {field}", Tag.OBJECT_IDENTIFIER)
        if oid in seen or not _is_object_identifier(oid):
            raise MalformedError(f"{field} names a policy twice, or one that is not an object identifier")
        seen.add(oid)


def _is_object_identifier(content: bytes) -> bool:
    """Returns whether arcs are in their shortest form; policies may have arcs of any size."""
    arc_begins = True
    for octet in content:
        if arc_begins and octet == 0x80:
            return False
        arc_begins = octet < 0x80
    return bool(content) and arc_begins


def _check_policy_mappings(value: bytes) -> None:
    field = "policyMappings"
    mappings = Reader(value).inside(field)
    while mappings:
        mapping = mappings.inside(f"a mapping of {field}")
        mapping.content(f"a policy of {field}", Tag.OBJECT_IDENTIFIER)
        mapping.content(f"a policy of {field}", Tag.OBJECT_IDENTIFIER)


def _check_policy_constraints(value: bytes) -> None:
    field = "policyConstraints"
    reader = Reader(value).inside(field)
    for tag in (context(0), context(1)):
        if reader.next_is(tag):
            _check_word(reader.integer(field, tag), field)


def _check_inhibit_any_policy(value: bytes) -> None:
    _check_word(Reader(value).integer("inhibitAnyPolicy"), "inhibitAnyPolicy")


def _check_word(value: int, field: str) -> None:
    if not -(1 << 63) <= value < 1 << 63:
        raise MalformedError(f"{field} is out of bounds")


def _check_authority_information_access(value: bytes) -> None:
    field = "authorityInfoAccess"
    descriptions = Reader(value).inside(field)
    while descriptions:
        description = descriptions.inside(f"a description of {field}")
        description.object_identifier(f"the method of {field}")
        if description.next_is(context(6)):
            description.content(f"the location of {field}", context(6))


# Fields of `Extensions` and the functions that read them.
_READERS: dict[str, tuple[str, Callable[[bytes], object]]] = {
    SUBJECT_KEY_IDENTIFIER: ("subject_key_identifier", _read_subject_key_identifier),
    KEY_USAGE: ("key_usage", _read_key_usage),
    SUBJECT_ALTERNATIVE_NAME: ("alternative_names", read_alternative_names),
    BASIC_CONSTRAINTS: ("basic_constraints", _read_basic_constraints),
    NAME_CONSTRAINTS: ("name_constraints", read_name_constraints),
    AUTHORITY_KEY_IDENTIFIER: ("authority_key_identifier", _read_authority_key_identifier),
    EXTENDED_KEY_USAGE: ("extended_key_usage", _read_extended_key_usage),
}
# Extensions that are not used: Go rejects a certificate in which they are malformed.
_CHECKS: dict[str, Callable[[bytes], None]] = {
    CRL_DISTRIBUTION_POINTS: _check_crl_distribution_points,
    CERTIFICATE_POLICIES: _check_certificate_policies,
    POLICY_MAPPINGS: _check_policy_mappings,
    POLICY_CONSTRAINTS: _check_policy_constraints,
    INHIBIT_ANY_POLICY: _check_inhibit_any_policy,
    AUTHORITY_INFORMATION_ACCESS: _check_authority_information_access,
}

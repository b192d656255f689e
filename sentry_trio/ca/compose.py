"""Composes certificates in DER: the fields of the profile that this authority issues (RFC 5280, 4.1 and 4.2)."""

import datetime as dt
import re
import secrets
from collections.abc import Iterable

from sentry_trio.ca.asn1 import (
    Tag,
    context,
    encode,
    encode_bit_string,
    encode_integer,
    encode_object_identifier,
    encode_time,
)
from sentry_trio.ca.distinguished_names import COMMON_NAME, ORGANIZATION
from sentry_trio.ca.extensions import (
    AUTHORITY_KEY_IDENTIFIER,
    BASIC_CONSTRAINTS,
    EXTENDED_KEY_USAGE,
    KEY_USAGE,
    SUBJECT_ALTERNATIVE_NAME,
    SUBJECT_KEY_IDENTIFIER,
)
from sentry_trio.ca.keys import PrivateKey
from sentry_trio.ca.signatures import algorithm_of, signer_of

EMPTY_NAME = encode(Tag.SEQUENCE)
"""A name without attributes, with tag and length."""

# The characters that Go puts into a PrintableString (X.680, 41.4, table 10).
_PRINTABLE = re.compile(r"[A-Za-z0-9 '()+,\-./:=?]*")
_TRUE = encode(Tag.BOOLEAN, b"\xff")
VERSION_3 = encode(context(0, constructed=True), encode_integer(2))
"""The field version, with tag and length."""

CRITICAL_ALTERNATIVE_NAMES = encode_object_identifier(SUBJECT_ALTERNATIVE_NAME) + _TRUE
"""Type and criticality of the alternative names, as encoded."""

_EXTENSIONS = context(3, constructed=True)
_DNS, _URI = context(2), context(6)


class CertificateComposer:
    """Composes certificates that one key signs; encodes common parts once.

    Args:
        issuer: the signer's subject, with tag and length.
        key: the signer's key.
        extensions: encoded extensions that every certificate begins with.

    Attributes:
        algorithm: the signatures' algorithm identifier, with tag and length.
    """

    def __init__(self, issuer: bytes, key: PrivateKey, extensions: bytes = b"") -> None:
        self.algorithm = algorithm_of(key)
        self._sign = signer_of(key)
        self._algorithm_and_issuer = self.algorithm + issuer
        self._extensions = extensions

    def compose(
        self,
        *,
        serial_number: int,
        not_before: dt.datetime,
        not_after: dt.datetime,
        subject: bytes,
        public_key_info: bytes,
        extensions: bytes,
    ) -> bytes:
        """Composes and signs a certificate of version 3.

        Args:
            serial_number: from 1 to 2^159 - 1 (RFC 5280, 4.1.2.2).
            not_before: first second of validity, aware.
            not_after: last second of validity, aware.
            subject: the holder's name, with tag and length.
            public_key_info: the holder's SubjectPublicKeyInfo, with tag and length.
            extensions: encoded extensions behind those that all certificates have.

        Returns:
            The DER.
        """
        tbs = encode(
            Tag.SEQUENCE,
            VERSION_3,
            encode_integer(serial_number),
            self._algorithm_and_issuer,
            encode(Tag.SEQUENCE, encode_time(not_before), encode_time(not_after)),
            subject,
            public_key_info,
            encode(_EXTENSIONS, encode(Tag.SEQUENCE, self._extensions, extensions)),
        )
        return encode(Tag.SEQUENCE, tbs, self.algorithm, encode_bit_string(self._sign(tbs)))


def new_serial_number() -> int:
    """Returns a serial number, uniform in [1, 2^128); Dapr Sentry's may be 0, which RFC 5280, 4.1.2.2 forbids."""
    return secrets.randbelow(2**128 - 1) + 1


def organization(text: str) -> bytes:
    """Returns a name that is one organization, with tag and length."""
    return encode(Tag.SEQUENCE, _attribute(ORGANIZATION, text))


def organization_and_common_name(organization_text: str, common_name: str) -> bytes:
    """Returns a name of an organization and a common name, in Go's order, with tag and length."""
    return encode(Tag.SEQUENCE, _attribute(ORGANIZATION, organization_text), _attribute(COMMON_NAME, common_name))


def _attribute(kind: str, text: str) -> bytes:
    """Returns a set of one attribute: a PrintableString if the text allows it, else a UTF8String, as Go."""
    tag = Tag.PRINTABLE_STRING if _PRINTABLE.fullmatch(text) else Tag.UTF8_STRING
    return encode(Tag.SET, encode(Tag.SEQUENCE, encode_object_identifier(kind), encode(tag, text.encode())))


def extension(oid: str, value: bytes, *, critical: bool = False) -> bytes:
    """Returns an extension; criticality is left out if false, which is its default."""
    return encode(
        Tag.SEQUENCE, encode_object_identifier(oid), _TRUE if critical else b"", encode(Tag.OCTET_STRING, value)
    )


def key_usage(*bits: int) -> bytes:
    """Returns the key usage extension, critical.

    Args:
        bits: numbers from 0 to 7 (RFC 5280, 4.2.1.3).
    """
    octet = sum(0x80 >> bit for bit in bits)
    unused = 7 - max(bits)
    return extension(KEY_USAGE, encode(Tag.BIT_STRING, bytes((unused, octet))), critical=True)


def extended_key_usage(*purposes: str) -> bytes:
    """Returns the extended key usage extension."""
    return extension(EXTENDED_KEY_USAGE, encode(Tag.SEQUENCE, *map(encode_object_identifier, purposes)))


def ca_constraints() -> bytes:
    """Returns the basic constraints of a CA without a bound on the path length, critical."""
    return extension(BASIC_CONSTRAINTS, encode(Tag.SEQUENCE, _TRUE), critical=True)


def subject_key_identifier(identifier: bytes) -> bytes:
    """Returns the subject key identifier extension."""
    return extension(SUBJECT_KEY_IDENTIFIER, encode(Tag.OCTET_STRING, identifier))


def authority_key_identifier(identifier: bytes) -> bytes:
    """Returns the authority key identifier extension with the key identifier alone, as Go writes it."""
    return extension(AUTHORITY_KEY_IDENTIFIER, encode(Tag.SEQUENCE, encode(context(0), identifier)))


def alternative_names(dns_names: Iterable[str], uri: str) -> bytes:
    """Returns the subject alternative names, critical because the subject is empty (RFC 5280, 4.2.1.6).

    Raises:
        ValueError: a name has characters beyond ASCII.
    """
    names = [encode(_DNS, name.encode("ascii")) for name in dns_names]
    value = encode(Tag.SEQUENCE, *names, encode(_URI, uri.encode("ascii")))
    return encode(Tag.SEQUENCE, CRITICAL_ALTERNATIVE_NAMES, encode(Tag.OCTET_STRING, value))

"""Checks of signed certificates, before they are sent.

A certificate cannot be recalled. Each one is read from the bytes that will be sent, so a fault in a library, in memory
or in a bundle made by hand is found here. The composer is verified once per run with a second implementation.
"""

import datetime as dt
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import NameOID

from sentry_trio.ca.asn1 import MalformedError, Reader, Tag, context, encode
from sentry_trio.ca.compose import (
    CRITICAL_ALTERNATIVE_NAMES,
    EMPTY_NAME,
    VERSION_3,
    CertificateComposer,
    alternative_names,
    new_serial_number,
    organization,
)
from sentry_trio.ca.extensions import SUBJECT_ALTERNATIVE_NAME, split_extensions
from sentry_trio.ca.keys import PrivateKey, PublicKey, public_key_info
from sentry_trio.ca.signatures import algorithm_of, verify_signature
from sentry_trio.errors import SigningError


class Expected(NamedTuple):
    """Fields that a certificate must have.

    Attributes:
        issuer_name: the issuer's subject, with tag and length.
        issuer_key: the key in the issuer's certificate, not that of the private key at hand.
        algorithm: the signature's algorithm identifier, with tag and length.
        public_key_info: the requester's SubjectPublicKeyInfo.
        serial_number: the serial number.
        not_before: first second of validity.
        not_after: last second of validity.
        dns_names: DNS names.
        uri: the SPIFFE ID.
        constant: encoded extensions at the begin of every certificate; the alternative names follow.
        images: encoded extension behind these, or empty.
    """

    issuer_name: bytes
    issuer_key: PublicKey
    algorithm: bytes
    public_key_info: bytes
    serial_number: int
    not_before: dt.datetime
    not_after: dt.datetime
    dns_names: tuple[str, ...]
    uri: str
    constant: bytes
    images: bytes = b""


_DNS, _URI = context(2), context(6)
_EXTENSIONS = context(3, constructed=True)


def check(der: bytes, expected: Expected) -> None:
    """Checks a signed certificate: every field as encoded, and the signature over exactly these bytes.

    Raises:
        SigningError: a field is wrong, or the signature does not verify.
    """
    try:
        tbs, signature = _check_fields(der, expected)
        verify_signature(tbs, expected.algorithm, signature, expected.issuer_key)
    except MalformedError as error:
        raise SigningError(f"the signed certificate differs from the request: {error}") from error
    except InvalidSignature as error:
        raise SigningError(f"the signed certificate does not verify: {error}") from error


def _check_fields(der: bytes, expected: Expected) -> tuple[bytes, bytes]:
    """Returns the signed part and the signature.

    Numbers, times and names are read back. The key, and parts that are the same in all certificates, are compared in
    place.

    Raises:
        MalformedError: a field is wrong.
    """
    outer = Reader(der)
    certificate = outer.inside("the certificate")
    tbs = certificate.element("tbsCertificate", Tag.SEQUENCE)
    certificate.expect("signature algorithm", expected.algorithm)
    signature = certificate.octets_of_bits("signatureValue")
    fields = Reader(tbs).inside("tbsCertificate")
    fields.expect("version", VERSION_3)
    _compare("serial number", fields.integer("serialNumber"), expected.serial_number)
    fields.expect("signature algorithm", expected.algorithm)
    fields.expect("issuer", expected.issuer_name)
    validity = fields.inside("validity")
    _compare("validity", validity.time("notBefore"), expected.not_before)
    _compare("validity", validity.time("notAfter"), expected.not_after)
    fields.expect("subject", EMPTY_NAME)
    fields.expect("public key", expected.public_key_info)
    extensions = fields.inside("extensions", _EXTENSIONS).inside("extensions")
    extensions.expect("extensions", expected.constant)
    _check_names(extensions.inside("subjectAltName"), expected)
    extensions.expect("extensions", expected.images)
    if outer or certificate or fields or validity or extensions:
        raise MalformedError("wrong end")
    return tbs, signature


def _check_names(extension: Reader, expected: Expected) -> None:
    extension.expect("names", CRITICAL_ALTERNATIVE_NAMES)
    names = extension.inside("names", Tag.OCTET_STRING).inside("names")
    for name in expected.dns_names:
        _compare("names", names.content("names", _DNS), name.encode())
    _compare("names", names.content("names", _URI), expected.uri.encode())
    if names or extension:
        raise MalformedError("wrong names")


def _compare(field: str, found: object, expected: object) -> None:
    if found != expected:
        raise MalformedError(f"wrong {field}")


def prove(key: PrivateKey, constant: bytes) -> None:
    """Verifies the composer with a key: `cryptography`, another implementation, reads and verifies a trial certificate.

    The trial certificate is for the key itself, has expired, and is discarded. Its issuer is a plain name, because
    `cryptography` may reject the encoding of the real one, which `check` compares byte by byte.

    Args:
        key: the key that will sign.
        constant: encoded extensions that every certificate begins with.

    Raises:
        SigningError: the trial certificate cannot be read, has a wrong field, or its signature does not verify.
    """
    moment = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)
    serial_number, uri, dns_name, issuer = new_serial_number(), "spiffe://trial/ns/trial/trial", "trial.svc", "trial"
    info = public_key_info(key.public_key())
    der = CertificateComposer(organization(issuer), key, constant).compose(
        serial_number=serial_number,
        not_before=moment,
        not_after=moment + dt.timedelta(seconds=1),
        subject=EMPTY_NAME,
        public_key_info=info,
        extensions=alternative_names([dns_name], uri),
    )
    expected = (
        x509.Version.v3,
        serial_number,
        (moment, moment + dt.timedelta(seconds=1)),
        x509.Name([]),
        x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, issuer)]),
        info,
        [*_oids(constant), SUBJECT_ALTERNATIVE_NAME],
        (True, [x509.DNSName(dns_name), x509.UniformResourceIdentifier(uri)]),
    )
    try:
        found, trial = _read_trial(der)
        verify_signature(trial.tbs_certificate_bytes, algorithm_of(key), trial.signature, key.public_key())
    except (InvalidSignature, ValueError, TypeError, UnsupportedAlgorithm, x509.ExtensionNotFound) as error:
        raise SigningError(f"a trial certificate does not verify: {error}") from error
    if found != expected:
        raise SigningError("a trial certificate has a wrong field")


def _read_trial(der: bytes) -> tuple[tuple[object, ...], x509.Certificate]:
    trial = x509.load_der_x509_certificate(der)
    names = trial.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    found = (
        trial.version,
        trial.serial_number,
        (trial.not_valid_before_utc, trial.not_valid_after_utc),
        trial.subject,
        trial.issuer,
        trial.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo),
        [each.oid.dotted_string for each in trial.extensions],
        (names.critical, list(names.value)),
    )
    return found, trial


def _oids(extensions: bytes) -> list[str]:
    return [each.oid for each in split_extensions(Reader(encode(Tag.SEQUENCE, extensions)))]

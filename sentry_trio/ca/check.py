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
from sentry_trio.ca.compose import EMPTY_NAME, CertificateComposer, alternative_names, new_serial_number, organization
from sentry_trio.ca.extensions import SUBJECT_ALTERNATIVE_NAME, split_extensions
from sentry_trio.ca.keys import PrivateKey
from sentry_trio.ca.public_keys import PublicKey, public_key_info
from sentry_trio.ca.signatures import algorithm_of, verify_signature
from sentry_trio.errors import SigningError


class Expected(NamedTuple):
    """Fields that a certificate must have.

    Attributes:
        issuer_name: the issuer's subject, with tag and length.
        issuer_key: the key in the issuer's certificate, not that of the private key at hand.
        public_key_info: the requester's SubjectPublicKeyInfo.
        serial_number: the serial number.
        not_before: first second of validity.
        not_after: last second of validity.
        dns_names: DNS names.
        uri: the SPIFFE ID.
        constant: encoded extensions that every certificate begins with.
        extensions: encoded extensions behind these; the alternative names come first.
    """

    issuer_name: bytes
    issuer_key: PublicKey
    public_key_info: bytes
    serial_number: int
    not_before: dt.datetime
    not_after: dt.datetime
    dns_names: tuple[str, ...]
    uri: str
    constant: bytes
    extensions: bytes


_DNS, _URI = context(2), context(6)
_VERSION, _EXTENSIONS = context(0, constructed=True), context(3, constructed=True)


def check(der: bytes, expected: Expected) -> None:
    """Checks a signed certificate: every field as encoded, and the signature over exactly these bytes.

    Raises:
        SigningError: a field is wrong, or the signature does not verify.
    """
    try:
        wrong, tbs, algorithm, signature = _compare(der, expected)
        verify_signature(tbs, algorithm, signature, expected.issuer_key)
    except (InvalidSignature, MalformedError) as error:
        raise SigningError(f"the signed certificate does not verify: {error}") from error
    if wrong:
        raise SigningError(f"the signed certificate differs from the request: wrong {', '.join(wrong)}")


def _compare(der: bytes, expected: Expected) -> tuple[list[str], bytes, bytes, bytes]:
    """Returns the names of wrong fields, then the signed part, the algorithm and the signature."""
    outer = Reader(der)
    certificate = outer.inside("the certificate")
    tbs = certificate.element("tbsCertificate", Tag.SEQUENCE)
    algorithm = certificate.element("signatureAlgorithm", Tag.SEQUENCE)
    signature = certificate.octets_of_bits("signatureValue")
    fields = Reader(tbs).inside("tbsCertificate")
    version = fields.inside("version", _VERSION).integer("version")
    serial_number = fields.integer("serialNumber")
    inner_algorithm = fields.element("signature", Tag.SEQUENCE)
    issuer = fields.element("issuer", Tag.SEQUENCE)
    validity = fields.inside("validity")
    period = (validity.time("notBefore"), validity.time("notAfter"))
    subject = fields.element("subject", Tag.SEQUENCE)
    public_key_info = fields.element("subjectPublicKeyInfo", Tag.SEQUENCE)
    extensions = fields.inside("extensions", _EXTENSIONS).content("extensions", Tag.SEQUENCE)
    names = _alternative_names(extensions[len(expected.constant) :])
    verdicts = {
        "end": not outer and not certificate and not fields and not validity,
        "version": version == 2,
        "serial number": serial_number == expected.serial_number,
        "signature algorithm": inner_algorithm == algorithm,
        "issuer": issuer == expected.issuer_name,
        "validity": period == (expected.not_before, expected.not_after),
        "subject": subject == EMPTY_NAME,
        "public key": public_key_info == expected.public_key_info,
        "names": names == [*((_DNS, name) for name in expected.dns_names), (_URI, expected.uri)],
        "extensions": extensions == expected.constant + expected.extensions,
    }
    return [part for part, right in verdicts.items() if not right], tbs, algorithm, signature


def _alternative_names(extensions: bytes) -> list[tuple[int, str]]:
    """Returns tags and texts of the names in the first extension, which must be critical alternative names."""
    extension = Reader(extensions).inside("an extension")
    if extension.object_identifier("an extension") != SUBJECT_ALTERNATIVE_NAME or not extension.boolean("critical"):
        raise MalformedError("the first extension is not critical alternative names")
    names = Reader(extension.content("subjectAltName", Tag.OCTET_STRING)).inside("subjectAltName")
    found = []
    while names:
        tag, content = names.any_content("a name in subjectAltName")
        found.append((tag, content.decode("latin-1")))
    return found


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

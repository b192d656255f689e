"""Certificates: read from DER field by field, and checked by the rules of Go's crypto/x509.

Only fields that affect a decision are read, by the rules of Go's parser, which every component of Dapr uses. A
certificate that it rejects would stop the mesh; one that it accepts must work here. All other parts stay bytes, and
oddities in them are ignored.
"""

import datetime as dt
import hashlib
from collections.abc import Iterable
from functools import partial

import msgspec
from cryptography.exceptions import InvalidSignature

from sentry_trio.ca.asn1 import MalformedError, Reader, Tag, context
from sentry_trio.ca.distinguished_names import COMMON_NAME, ORGANIZATION, Name, first_value, read_name
from sentry_trio.ca.extensions import KEY_CERT_SIGN, Extensions, read_extensions
from sentry_trio.ca.keys import PublicKey, read_public_key
from sentry_trio.ca.parsing import parsing
from sentry_trio.ca.pem import begin_lines, blocks, explain, tidy, write_block
from sentry_trio.ca.signatures import verify_signature
from sentry_trio.errors import Fault, InvalidBundleError


class Certificate(msgspec.Struct, frozen=True):
    """Certificate (RFC 5280, 4.1); two are equal if their bytes are.

    Attributes:
        der: all its bytes.
        tbs: the signed part, with tag and length.
        version: 1 to 3.
        serial_number: zero or more.
        signature_algorithm: algorithm identifier of the signature, with tag and length.
        signature: the signature.
        issuer: name of the signer, with tag and length.
        subject: name of the holder, with tag and length.
        subject_name: name of the holder, parsed.
        not_before: first second of validity, UTC.
        not_after: last second of validity, UTC.
        public_key_info: SubjectPublicKeyInfo with tag and length.
        public_key: the holder's key, or None if Go does not verify with keys of its kind.
        extensions: see `Extensions`.
    """

    der: bytes
    tbs: bytes
    version: int
    serial_number: int
    signature_algorithm: bytes
    signature: bytes
    issuer: bytes
    subject: bytes
    subject_name: Name
    not_before: dt.datetime
    not_after: dt.datetime
    public_key_info: bytes
    public_key: PublicKey | None
    extensions: Extensions

    def __eq__(self, other: object) -> bool:
        return self.der == other.der if isinstance(other, Certificate) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.der)

    def __repr__(self) -> str:
        return f"<Certificate {shown(self)}>"


def read_certificate(der: bytes) -> Certificate:
    """Reads a certificate.

    Raises:
        MalformedError: Go's crypto/x509 rejects it, so no component of Dapr can read it; the text names the field.
    """
    outer = Reader(der)
    certificate = outer.inside("the certificate")
    if outer:
        raise MalformedError("there are bytes after the end of the certificate")
    tbs = certificate.element("tbsCertificate", Tag.SEQUENCE)
    fields = Reader(tbs).inside("tbsCertificate")
    version = _read_version(fields)
    serial_number = fields.integer("serialNumber")
    if serial_number < 0:
        raise MalformedError("serialNumber is negative")
    signature_algorithm = fields.element("signature", Tag.SEQUENCE)
    if certificate.element("signatureAlgorithm", Tag.SEQUENCE) != signature_algorithm:
        raise MalformedError("signatureAlgorithm differs inside and outside of tbsCertificate")
    _check_algorithm(signature_algorithm)
    issuer = fields.element("issuer", Tag.SEQUENCE)
    read_name(issuer, "issuer")
    validity = fields.inside("validity")
    not_before, not_after = validity.time("notBefore"), validity.time("notAfter")
    subject = fields.element("subject", Tag.SEQUENCE)
    public_key_info = fields.element("subjectPublicKeyInfo", Tag.SEQUENCE)
    return Certificate(
        der=der,
        tbs=tbs,
        version=version,
        serial_number=serial_number,
        signature_algorithm=signature_algorithm,
        issuer=issuer,
        subject=subject,
        subject_name=read_name(subject, "subject"),
        not_before=not_before,
        not_after=not_after,
        public_key_info=public_key_info,
        public_key=read_public_key(public_key_info).key,
        extensions=_read_extensions(fields, version),
        signature=certificate.octets_of_bits("signatureValue"),
    )


def read_certificates(pem: bytes, *, role: str = "certificates") -> list[Certificate]:
    """Reads certificates from PEM in order, after `tidy` has corrected the text.

    Dapr Sentry 1.18 silently stops at the first block of another type and silently skips damaged blocks. Here both are
    errors.

    Args:
        pem: the text.
        role: name of the text in messages, e.g. `trust anchors`.

    Raises:
        InvalidBundleError: there is no certificate, one cannot be read, a block is damaged or of another type.
    """
    text = tidy(pem)
    certificates = []
    for number, block in enumerate(blocks(text), start=1):
        if block.label != "CERTIFICATE":
            raise InvalidBundleError(
                f'PEM block {number} of the {role} is of type "{block.shown}"; '
                "remove it, only CERTIFICATE blocks belong there",
                fault=Fault.FOREIGN_BLOCK,
            )
        with parsing(partial(_unreadable, f"certificate {number} of the {role}")):
            certificates.append(read_certificate(block.der))
    if not certificates:
        raise InvalidBundleError(f"no certificates found: {explain(pem, convert='openssl x509 -inform DER')}")
    lines = begin_lines(text)
    if len(lines) > len(certificates):
        raise InvalidBundleError(
            f"{len(lines)} PEM blocks of the {role} begin (in lines {', '.join(map(str, lines[:20]))}), but only "
            f"{len(certificates)} can be read: one is cut short or damaged"
        )
    return certificates


def _unreadable(what: str, why: str) -> InvalidBundleError:
    return InvalidBundleError(f"{what} cannot be read here or by Dapr's components: {why}")


def write_certificates(certificates: Iterable[Certificate]) -> bytes:
    """Returns certificates as concatenated PEM, without comments and headers."""
    return b"".join(write_block("CERTIFICATE", each.der) for each in certificates)


def _read_version(fields: Reader) -> int:
    tag = context(0, constructed=True)
    if not fields.next_is(tag):
        return 1
    explicit = fields.inside("version", tag)
    version = explicit.integer("version")
    if explicit or not 0 <= version <= 2:
        raise MalformedError("version is not 1, 2 or 3")
    return version + 1


def _check_algorithm(identifier: bytes) -> None:
    reader = Reader(identifier).inside("signatureAlgorithm")
    reader.object_identifier("signatureAlgorithm")
    if reader:
        reader.element("the parameters of signatureAlgorithm")


def _read_extensions(fields: Reader, version: int) -> Extensions:
    if version > 1:
        fields.skip_optional("issuerUniqueID", context(1))
        fields.skip_optional("subjectUniqueID", context(2))
    tag = context(3, constructed=True)
    if version < 3 or not fields.next_is(tag):
        return Extensions()
    return read_extensions(fields.inside("extensions", tag))


def why_no_issuer(certificate: Certificate) -> str | None:
    """Returns the reason why a certificate may not sign others, or None if it may (RFC 5280, 4.2.1.9 and 4.2.1.3).

    Certificates of version 1 have no extensions, so they may sign: the operator decides to trust them.
    """
    constraints = certificate.extensions.basic_constraints
    if constraints is None and certificate.version == 3:
        return "it has no basicConstraints, so it is not a CA certificate"
    if constraints is not None and not constraints.is_ca:
        return "its basicConstraints mark it as not a CA certificate"
    usage = certificate.extensions.key_usage
    if usage is not None and KEY_CERT_SIGN not in usage:
        return "its keyUsage lacks keyCertSign"
    return None


def check_signed_by(child: Certificate, parent: Certificate) -> None:
    """Checks that `parent` may sign and has signed `child`; names and dates are not checked.

    Raises:
        InvalidSignature: with the reason.
    """
    if (why := why_no_issuer(parent)) is not None:
        raise InvalidSignature(f"the signer may not sign certificates: {why}")
    if parent.public_key is None:
        raise InvalidSignature("Go does not verify with the signer's kind of key")
    verify_signature(child.tbs, child.signature_algorithm, child.signature, parent.public_key)


def has_signed(signer: Certificate, certificate: Certificate) -> bool:
    """Returns whether a certificate names another one as its issuer, and the other may sign and has signed it."""
    if signer.subject != certificate.issuer:
        return False
    try:
        check_signed_by(certificate, signer)
    except InvalidSignature:
        return False
    return True


def is_same_entity(one: Certificate, other: Certificate) -> bool:
    """Returns whether two certificates have one name and one key: a root and its cross-certificates, for example."""
    return one.subject == other.subject and one.public_key_info == other.public_key_info


def is_self_signed(certificate: Certificate) -> bool:
    """Returns whether a certificate may sign and has signed itself."""
    try:
        check_signed_by(certificate, certificate)
    except InvalidSignature:
        return False
    return True


def fingerprint(certificate: Certificate) -> str:
    """Returns the SHA-256 over the DER, in hexadecimal digits."""
    return hashlib.sha256(certificate.der).hexdigest()


def shown(certificate: Certificate) -> str:
    """Returns a short name of a certificate for messages: its CN, else its O, else its serial number, on one line."""
    for kind in (COMMON_NAME, ORGANIZATION):
        value = first_value(certificate.subject_name, kind)
        if value is not None:
            return "".join(character if character.isprintable() else "?" for character in value[:120])
    return f"serial:{certificate.serial_number}"

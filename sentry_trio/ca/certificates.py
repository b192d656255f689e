"""Questions asked of one or two certificates, answered as Go's crypto/x509 answers them."""

from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID

from sentry_trio.ca.der import UNREADABLE, reason
from sentry_trio.ca.signatures import public_key, verify_signature

_Extension = TypeVar("_Extension", bound=x509.ExtensionType)


def extension(certificate: x509.Certificate, kind: type[_Extension]) -> _Extension | None:
    """The content of an extension, or None where the certificate has none of this kind."""
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def why_no_issuer(certificate: x509.Certificate) -> str | None:
    """Why a certificate may not sign others, or None if it may (RFC 5280, 4.2.1.9 and 4.2.1.3).

    Certificates of version 1 have no extensions to say so; they are left to the one who trusts them.
    """
    constraints = extension(certificate, x509.BasicConstraints)
    if constraints is None and certificate.version is x509.Version.v3:
        return "it has no basicConstraints, so it is no CA certificate"
    if constraints is not None and not constraints.ca:
        return "its basicConstraints say that it is no CA certificate"
    usage = extension(certificate, x509.KeyUsage)
    if usage is not None and not usage.key_cert_sign:
        return "its keyUsage lacks keyCertSign"
    return None


def check_signed_by(child: x509.Certificate, parent: x509.Certificate) -> None:
    """Check that `parent` may sign and has signed `child`; names and dates are not looked at.

    Raises:
        InvalidSignature: with the reason.
    """
    if (why := why_no_issuer(parent)) is not None:
        raise InvalidSignature(f"the signer may not sign certificates: {why}")
    try:
        key = public_key(parent)
    except UNREADABLE as error:
        raise InvalidSignature(f"the signer's key is not supported: {reason(error)}") from error
    verify_signature(child, key)


def is_self_signed(certificate: x509.Certificate) -> bool:
    """Whether a certificate may sign and has signed itself."""
    try:
        check_signed_by(certificate, certificate)
    except InvalidSignature:
        return False
    return True


def fingerprint(certificate: x509.Certificate) -> str:
    """SHA-256 over the DER, in hexadecimal digits."""
    return certificate.fingerprint(hashes.SHA256()).hex()


def shown(certificate: x509.Certificate) -> str:
    """A short name of a certificate for messages: its CN, else its O, else its serial number, on one line."""
    for oid in (NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME):
        for attribute in certificate.subject.get_attributes_for_oid(oid):
            return "".join(character if character.isprintable() else "?" for character in str(attribute.value)[:120])
    return f"serial:{certificate.serial_number}"

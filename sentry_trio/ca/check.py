"""What was just signed, looked at once more before it leaves.

A certificate cannot be taken back. What is compared here was parsed from the bytes that leave, not remembered from what
was asked for: a fault in a library, in memory or in a bundle put together by hand ends here.
"""

import dataclasses
import datetime as dt

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

from sentry_trio.ca.der import UNREADABLE, names, reason
from sentry_trio.ca.keys import PublicKey
from sentry_trio.ca.signatures import verify_signature
from sentry_trio.errors import SigningError

_EMPTY_NAME = b"\x30\x00"


@dataclasses.dataclass(frozen=True, slots=True)
class Expected:
    """What a certificate was to be.

    Attributes:
        issuer_name: the issuer's subject, as it stands in its certificate.
        issuer_key: the public key in the issuer's certificate, not that of the private key at hand.
        public_key: the requester's key.
        serial_number: the serial number.
        not_before: whole seconds.
        not_after: whole seconds.
        extensions: all of them in their order, with criticality: names, usages and nothing beside.
    """

    issuer_name: bytes
    issuer_key: PublicKey
    public_key: CertificatePublicKeyTypes
    serial_number: int
    not_before: dt.datetime
    not_after: dt.datetime
    extensions: list[x509.Extension[x509.ExtensionType]]


def check(certificate: x509.Certificate, expected: Expected) -> None:
    """Check a signed certificate.

    Raises:
        SigningError: it is not what it was to be, or its signature does not verify.
    """
    try:
        wrong = _differences(certificate, expected)
        verify_signature(certificate, expected.issuer_key)
    except (InvalidSignature, *UNREADABLE) as error:
        raise SigningError(f"the certificate that was signed does not verify: {reason(error)}") from error
    if wrong:
        raise SigningError(f"the certificate that was signed is not what was asked for: wrong {', '.join(wrong)}")


def _differences(certificate: x509.Certificate, expected: Expected) -> list[str]:
    found = names(certificate)
    verdicts = {
        "version": certificate.version is x509.Version.v3,
        "serial number": certificate.serial_number == expected.serial_number,
        "issuer": found.issuer == expected.issuer_name,
        "validity": (certificate.not_valid_before_utc, certificate.not_valid_after_utc)
        == (expected.not_before, expected.not_after),
        "subject": found.subject == _EMPTY_NAME,
        "public key": certificate.public_key() == expected.public_key,
        "extensions": list(certificate.extensions) == expected.extensions,
    }
    return [part for part, right in verdicts.items() if not right]

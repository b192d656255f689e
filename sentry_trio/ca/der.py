"""DER where it lies, and what reading it may raise.

cryptography hands out parsed names and keys; path building compares names as they stand in the certificate, and what a
key is bound to is told only by its encoding. That takes a reader of tag and length, and no more.
"""

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from cryptography import x509
from cryptography.exceptions import InternalError, UnsupportedAlgorithm

from sentry_trio.errors import SentryError

UNREADABLE = (
    ValueError,
    TypeError,
    OverflowError,
    UnsupportedAlgorithm,
    InternalError,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
"""All that cryptography is known to raise on bytes it cannot read, at once or later when a field is asked for."""


@dataclasses.dataclass(frozen=True, slots=True)
class Names:
    """The names of a certificate as they stand in its DER, tag and length included."""

    issuer: bytes
    subject: bytes


def reason(error: BaseException) -> str:
    """Why something could not be read, on one line and never empty."""
    text = " ".join(str(error).split())
    if isinstance(error, KeyError) or not text:
        # A KeyError's text is the key alone.
        return f"{type(error).__name__} {text}".rstrip()
    return text


@contextmanager
def parsing(refuse: Callable[[str], SentryError]) -> Iterator[None]:
    """Boundary around a parser: whatever the parser raises becomes the error that `refuse` makes of the reason.

    Strangers choose the bytes, and the libraries raise more than they document: TLS feature 23 (RFC 7633) is a KeyError
    in cryptography. An input must never end the process.
    """
    try:
        yield
    except SentryError:
        raise
    except Exception as error:
        raise refuse(reason(error)) from error
    except BaseException as error:
        # A panic of cryptography's Rust code is a BaseException, and its class cannot be imported.
        if type(error).__name__ != "PanicException":
            raise
        raise refuse(reason(error)) from error


def names(certificate: x509.Certificate) -> Names:
    """Find issuer and subject in the bytes of a certificate (RFC 5280, 4.1.2: TBSCertificate)."""
    tbs = certificate.tbs_certificate_bytes
    position, _ = _content(tbs, 0)
    if tbs[position] == 0xA0:  # version is absent from v1 certificates
        position = element_end(tbs, position)
    position = element_end(tbs, position)  # serialNumber
    position = element_end(tbs, position)  # signature
    validity = element_end(tbs, position)
    subject = element_end(tbs, validity)
    return Names(issuer=tbs[position:validity], subject=tbs[subject : element_end(tbs, subject)])


def request_key_algorithm(csr: x509.CertificateSigningRequest) -> bytes:
    """The object identifier that says of what kind a request's key is, as DER with tag and length (RFC 2986, 4.1)."""
    info = csr.tbs_certrequest_bytes
    position, _ = _content(info, 0)
    position = element_end(info, position)  # version
    position = element_end(info, position)  # subject
    position, _ = _content(info, position)  # subjectPublicKeyInfo
    position, _ = _content(info, position)  # algorithm
    return info[position : element_end(info, position)]


def element_end(der: bytes, start: int = 0) -> int:
    """Where the element that begins at `start` ends; it may be said to end beyond the bytes that there are.

    Raises:
        ValueError: there is no tag and length there.
    """
    begin, length = _content(der, start)
    return begin + length


def _content(der: bytes, start: int) -> tuple[int, int]:
    """Where the content of an element begins, and its length in bytes (X.690, 8.1.3)."""
    if start + 2 > len(der):
        raise ValueError("no tag and length where a DER element should begin")
    first = der[start + 1]
    if first < 0x80:
        return start + 2, first
    octets = first & 0x7F
    begin = start + 2 + octets
    if not octets or begin > len(der):
        raise ValueError("the length of a DER element cannot be read")
    return begin, int.from_bytes(der[start + 2 : begin], "big")

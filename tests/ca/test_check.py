"""The last look at a certificate: it notices every difference."""

import dataclasses
import datetime as dt

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from sentry_trio.ca.check import Expected, check
from sentry_trio.ca.der import names
from sentry_trio.ca.issue import Issuer, WorkloadIdentity
from sentry_trio.ca.signatures import public_key
from sentry_trio.ca.spiffe import SpiffeId
from sentry_trio.errors import SigningError

from .making import CLIENT_AUTH, DAY, NOW, SKEW, certificate, generated, key_usage, new_key

BUNDLE = generated()
KEY = ed25519.Ed25519PrivateKey.generate().public_key()
LEAF = (
    Issuer(BUNDLE)
    .issue(
        KEY,
        WorkloadIdentity(SpiffeId.make("td", "ns", "app"), ("a.svc",)),
        lifetime=DAY,
        allowed_clock_skew=SKEW,
        now=NOW,
    )
    .certificate
)
EXPECTED = Expected(
    issuer_name=names(BUNDLE.issuer).subject,
    issuer_key=public_key(BUNDLE.issuer),
    public_key=KEY,
    serial_number=LEAF.serial_number,
    not_before=NOW - SKEW,
    not_after=NOW + DAY,
    extensions=list(LEAF.extensions),
)
SECOND = dt.timedelta(seconds=1)


def replaced(index: int, value: x509.ExtensionType, *, critical: bool) -> list[x509.Extension[x509.ExtensionType]]:
    extensions = list(EXPECTED.extensions)
    extensions[index] = x509.Extension(value.oid, critical, value)
    return extensions


def test_what_was_to_be_passes() -> None:
    check(LEAF, EXPECTED)


USAGE, NAMES = EXPECTED.extensions[0].value, EXPECTED.extensions[3].value
URI = x509.UniformResourceIdentifier("spiffe://td/ns/ns/app")


@pytest.mark.parametrize(
    ("expected", "wrong"),
    [
        (dataclasses.replace(EXPECTED, issuer_name=b"\x30\x00"), "issuer"),
        (dataclasses.replace(EXPECTED, public_key=new_key().public_key()), "public key"),
        (dataclasses.replace(EXPECTED, serial_number=1), "serial number"),
        (dataclasses.replace(EXPECTED, not_before=NOW - SKEW + SECOND), "validity"),
        (dataclasses.replace(EXPECTED, not_after=NOW + DAY + SECOND), "validity"),
        (dataclasses.replace(EXPECTED, extensions=EXPECTED.extensions[:-1]), "extensions"),
        (dataclasses.replace(EXPECTED, extensions=EXPECTED.extensions[::-1]), "extensions"),
        (dataclasses.replace(EXPECTED, extensions=[*EXPECTED.extensions, EXPECTED.extensions[0]]), "extensions"),
        (dataclasses.replace(EXPECTED, extensions=replaced(0, USAGE, critical=False)), "extensions"),
        (dataclasses.replace(EXPECTED, extensions=replaced(0, key_usage("crl_sign"), critical=True)), "extensions"),
        (
            dataclasses.replace(EXPECTED, extensions=replaced(1, x509.ExtendedKeyUsage([CLIENT_AUTH]), critical=False)),
            "extensions",
        ),
        (dataclasses.replace(EXPECTED, extensions=replaced(3, NAMES, critical=False)), "extensions"),
        (
            dataclasses.replace(EXPECTED, extensions=replaced(3, x509.SubjectAlternativeName([URI]), critical=True)),
            "extensions",
        ),
        (
            dataclasses.replace(
                EXPECTED,
                extensions=replaced(3, x509.SubjectAlternativeName([URI, x509.DNSName("a.svc")]), critical=True),
            ),
            "extensions",
        ),
        (dataclasses.replace(EXPECTED, serial_number=1, not_after=NOW), "serial number, validity"),
    ],
)
def test_each_difference_is_named(expected: Expected, wrong: str) -> None:
    with pytest.raises(SigningError) as refused:
        check(LEAF, expected)
    assert str(refused.value) == f"the certificate that was signed is not what was asked for: wrong {wrong}"


def test_a_subject_is_a_difference() -> None:
    issuer = certificate("issuer", new_key(), usage=None)
    subject_key = new_key()
    made = certificate("x", subject_key, "issuer", subject_key, ca=None, usage=None)
    expected = Expected(
        names(issuer).subject,
        subject_key.public_key(),
        subject_key.public_key(),
        made.serial_number,
        made.not_valid_before_utc,
        made.not_valid_after_utc,
        [],
    )
    with pytest.raises(SigningError, match=r"wrong subject$"):
        check(made, expected)


def flipped(der: bytes, needle: bytes) -> bytes:
    """One bit of the DER turned over, in the last byte of `needle`."""
    at = der.index(needle) + len(needle) - 1
    return der[:at] + bytes([der[at] ^ 1]) + der[at + 1 :]


@pytest.mark.parametrize("needle", [b"spiffe://td/ns/ns/app", b"a.svc", LEAF.signature, KEY.public_bytes_raw()])
def test_a_turned_bit_breaks_the_signature(needle: bytes) -> None:
    bad = x509.load_der_x509_certificate(flipped(LEAF.public_bytes(serialization.Encoding.DER), needle))
    with pytest.raises(SigningError, match="the certificate that was signed does not verify: "):
        check(bad, EXPECTED)


def test_the_issuers_own_key_counts() -> None:
    other = dataclasses.replace(EXPECTED, issuer_key=public_key(generated().issuer))
    with pytest.raises(SigningError, match="does not verify: the signature does not fit the signer's key"):
        check(LEAF, other)

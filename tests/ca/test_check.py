"""Tests of the check of signed certificates: it finds every difference."""

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest

from sentry_trio.ca import check as checks
from sentry_trio.ca.asn1 import Tag, encode
from sentry_trio.ca.check import Expected, check, prove
from sentry_trio.ca.compose import (
    EMPTY_NAME,
    CertificateComposer,
    alternative_names,
    extended_key_usage,
    extension,
    key_usage,
    organization,
)
from sentry_trio.ca.extensions import CLIENT_AUTH, CRL_SIGN, DIGITAL_SIGNATURE, SERVER_AUTH, SUBJECT_ALTERNATIVE_NAME
from sentry_trio.ca.keys import KeyType, PrivateKey, generate_key, public_key_info
from sentry_trio.ca.signatures import algorithm_of
from sentry_trio.errors import SigningError
from testkit.ca.making import DAY, NOW, SKEW, generated, new_key

BUNDLE = generated()
ISSUER_KEY = BUNDLE.issuer.public_key
assert ISSUER_KEY
NAMES = alternative_names(["a.svc"], "spiffe://td/ns/ns/app")
SECOND = dt.timedelta(seconds=1)
EXPECTED = Expected(
    issuer_name=BUNDLE.issuer.subject,
    issuer_key=ISSUER_KEY,
    public_key_info=public_key_info(new_key().public_key()),
    serial_number=12345,
    not_before=NOW - SKEW,
    not_after=NOW + DAY,
    dns_names=("a.svc",),
    uri="spiffe://td/ns/ns/app",
    constant=key_usage(DIGITAL_SIGNATURE) + extended_key_usage(SERVER_AUTH, CLIENT_AUTH),
    algorithm=algorithm_of(BUNDLE.key),
)


def composed(
    expected: Expected = EXPECTED,
    *,
    key: PrivateKey = BUNDLE.key,
    subject: bytes = EMPTY_NAME,
    extensions: bytes = NAMES,
) -> bytes:
    return CertificateComposer(expected.issuer_name, key, expected.constant).compose(
        serial_number=expected.serial_number,
        not_before=expected.not_before,
        not_after=expected.not_after,
        subject=subject,
        public_key_info=expected.public_key_info,
        extensions=extensions,
    )


def different(**changes: Any) -> Callable[[], bytes]:
    return lambda: composed(EXPECTED._replace(**changes))


def with_extensions(extensions: bytes) -> Callable[[], bytes]:
    return lambda: composed(extensions=extensions)


def names(*dns_names: str, uri: str = EXPECTED.uri) -> bytes:
    return alternative_names(dns_names, uri)


LEAF = composed()


def test_a_certificate_as_asked_for_passes() -> None:
    check(LEAF, EXPECTED)


@pytest.mark.parametrize(
    ("make", "wrong"),
    [
        (different(issuer_name=organization("x")), "issuer"),
        (different(public_key_info=public_key_info(new_key().public_key())), "public key"),
        (different(serial_number=1), "serial number"),
        (different(not_before=NOW - SKEW + SECOND), "validity"),
        (different(not_after=NOW + DAY + SECOND), "validity"),
        (with_extensions(names("b.svc")), "names"),
        (with_extensions(names()), "names"),
        (with_extensions(names("a.svc", "a.svc")), "names"),
        (with_extensions(names("a.svc", uri="spiffe://td/ns/ns/apq")), "names"),
        (with_extensions(NAMES + extension("1.2.3", b"")), "end"),
        (lambda: composed(subject=organization("x")), "subject"),
        (different(serial_number=1, not_after=NOW), "serial number"),
        (different(constant=EXPECTED.constant.replace(key_usage(DIGITAL_SIGNATURE), key_usage(CRL_SIGN))), None),
        (different(constant=extended_key_usage(SERVER_AUTH)), None),
        (with_extensions(NAMES.replace(b"\x01\x01\xff", b"")), None),
        (with_extensions(extension(SUBJECT_ALTERNATIVE_NAME, b"\x30\x00", critical=True)), "names"),
    ],
)
def test_each_difference_is_named(make: Callable[[], bytes], wrong: str | None) -> None:
    with pytest.raises(SigningError) as refused:
        check(make(), EXPECTED)
    assert str(refused.value).startswith("the signed certificate differs from the request: ")
    assert not wrong or wrong in str(refused.value)


@pytest.mark.parametrize(
    "make",
    [
        lambda: LEAF + b"\0",
        lambda: LEAF.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x01"),
        lambda: encode(Tag.SEQUENCE, LEAF[4:], b"\x05\x00"),
    ],
    ids=["bytes behind", "version", "bytes inside"],
)
def test_the_frame_counts_too(make: Callable[[], bytes]) -> None:
    with pytest.raises(SigningError):
        check(make(), EXPECTED)


def flipped(der: bytes, needle: bytes) -> bytes:
    """Returns the DER with one bit turned over, in the last byte of `needle`."""
    at = der.index(needle) + len(needle) - 1
    return der[:at] + bytes([der[at] ^ 1]) + der[at + 1 :]


@pytest.mark.parametrize(
    "needle",
    [b"spiffe://td/ns/ns/app", b"a.svc", LEAF[-60:], EXPECTED.public_key_info],
    ids=["SPIFFE ID", "DNS name", "signature", "public key"],
)
def test_a_turned_bit_is_noticed(needle: bytes) -> None:
    with pytest.raises(SigningError, match="the signed certificate "):
        check(flipped(LEAF, needle), EXPECTED)


def test_the_issuers_own_key_counts() -> None:
    other = generated().issuer.public_key
    assert other
    with pytest.raises(SigningError, match="does not verify: the signature does not fit the signer's key"):
        check(LEAF, EXPECTED._replace(issuer_key=other))


@pytest.mark.parametrize("key_type", KeyType)
def test_the_composer_is_proven(key_type: KeyType) -> None:
    prove(generate_key(key_type), EXPECTED.constant)


def test_a_composer_that_is_wrong_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "alternative_names", lambda _dns_names, uri: alternative_names([], uri))
    with pytest.raises(SigningError, match="a trial certificate has a wrong field"):
        prove(BUNDLE.key, EXPECTED.constant)


def test_a_composer_whose_result_cannot_be_read_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "alternative_names", lambda *_: b"\x30\x00")
    with pytest.raises(SigningError, match="a trial certificate does not verify: "):
        prove(BUNDLE.key, EXPECTED.constant)

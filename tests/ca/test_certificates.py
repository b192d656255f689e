"""Questions asked of certificates."""

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.x509.oid import NameOID

from sentry_trio.ca.certificates import Certificate, check_signed_by, is_self_signed, shown, why_no_issuer
from testkit.ca.making import certificate, new_key

KEY, OTHER_KEY = new_key(), new_key()


def named(*attributes: tuple[x509.ObjectIdentifier, str]) -> Certificate:
    return certificate(x509.Name([x509.NameAttribute(oid, value) for oid, value in attributes]), KEY)


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (named((NameOID.ORGANIZATION_NAME, "o"), (NameOID.COMMON_NAME, "cn")), "cn"),
        (named((NameOID.COUNTRY_NAME, "DE"), (NameOID.ORGANIZATION_NAME, "o")), "o"),
        (named((NameOID.COMMON_NAME, "a\nb\x1b[0m")), "a?b?[0m"),
        (named((NameOID.ORGANIZATION_NAME, "x" * 500)), "x" * 120),
    ],
)
def test_a_short_name(made: Certificate, text: str) -> None:
    assert shown(made) == text


def test_without_a_name_there_is_the_number() -> None:
    made = named((NameOID.COUNTRY_NAME, "DE"))
    assert shown(made) == f"serial:{made.serial_number}"


@pytest.mark.parametrize(
    ("made", "why"),
    [
        (certificate("a", KEY), None),
        (certificate("a", KEY, usage=None), None),
        (certificate("a", KEY, ca=None), "it has no basicConstraints, so it is not a CA certificate"),
        (certificate("a", KEY, ca=False), "its basicConstraints mark it as not a CA certificate"),
        (certificate("a", KEY, usage=["crl_sign"]), "its keyUsage lacks keyCertSign"),
    ],
)
def test_certificates_that_may_sign(made: Certificate, why: str | None) -> None:
    assert why_no_issuer(made) == why
    assert is_self_signed(made) == (why is None)


def test_names_are_not_compared() -> None:
    check_signed_by(certificate("x", OTHER_KEY, "somebody else", KEY), certificate("a", KEY))


def test_the_key_is() -> None:
    with pytest.raises(InvalidSignature, match="the signature does not fit the signer's key"):
        check_signed_by(certificate("x", OTHER_KEY, "a", KEY), certificate("a", OTHER_KEY))

"""A new certificate authority: a root, whose key is thrown away, and an issuer below it."""

import dataclasses
import datetime as dt
import re
import secrets

from cryptography import x509
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID

from sentry_trio.ca.bundle import StoredBundle
from sentry_trio.ca.keys import (
    KeyType,
    PrivateKey,
    generate_key,
    signature_hash,
    subject_key_identifier,
    write_private_key,
)
from sentry_trio.ca.pem import write_certificates
from sentry_trio.ca.spiffe import SpiffeId, parse_trust_domain

# What Go takes for a PrintableString: X.680, 41.4, table 10.
_PRINTABLE = re.compile(r"[A-Za-z0-9 '()+,\-./:=?]*")


@dataclasses.dataclass(frozen=True, slots=True)
class _Window:
    not_before: dt.datetime
    not_after: dt.datetime


def generate(
    trust_domain: str,
    namespace: str,
    key_type: KeyType,
    *,
    now: dt.datetime,
    allowed_clock_skew: dt.timedelta,
    lifetime: dt.timedelta = dt.timedelta(days=365),
) -> StoredBundle:
    """Make a root, an issuer and the issuer's key. The root's key is never kept, so this issuer is its only one.

    The profile is Dapr Sentry 1.18's, which always takes Ed25519 and one year; but both certificates have an authority
    key identifier, which Dapr's lack and strict verifiers ask for (RFC 5280, 4.2.1.1).

    Args:
        trust_domain: the trust domain as given on the command line; a SPIFFE ID within it will do.
        namespace: the namespace that this authority runs in.
        key_type: the kind of both keys.
        now: an aware datetime.
        allowed_clock_skew: how far the certificates' validity begins before `now`.
        lifetime: how long after `now` they expire.

    Raises:
        InvalidIdentityError: trust domain or namespace are no parts of a SPIFFE ID.
    """
    identity = SpiffeId.make(parse_trust_domain(trust_domain), namespace, "dapr-sentry")
    window = _Window(
        (now - allowed_clock_skew).replace(microsecond=0),
        (now + lifetime).replace(microsecond=0),
    )
    root_key, issuer_key = generate_key(key_type), generate_key(key_type)
    root_name, issuer_name = organization(trust_domain), organization(str(identity))
    root = _certificate(root_name, root_key, root_name, root_key, window, crl_sign=False)
    issuer = _certificate(issuer_name, issuer_key, root_name, root_key, window, crl_sign=True)
    return StoredBundle(
        anchors=write_certificates([root]), chain=write_certificates([issuer]), key=write_private_key(issuer_key)
    )


def organization(text: str) -> x509.Name:
    """A name that is an organization only; PrintableString if the text allows it, else UTF8String, as Go does."""
    kind = _ASN1Type.PrintableString if _PRINTABLE.fullmatch(text) else _ASN1Type.UTF8String
    return x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, text, kind)])


def new_serial_number() -> int:
    """A serial number, uniform in [1, 2^128); Dapr Sentry's may be 0, which RFC 5280, 4.1.2.2 forbids."""
    return secrets.randbelow(2**128 - 1) + 1


def _certificate(
    subject: x509.Name,
    subject_key: PrivateKey,
    issuer: x509.Name,
    issuer_key: PrivateKey,
    window: _Window,
    *,
    crl_sign: bool,
) -> x509.Certificate:
    usage = x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,
        crl_sign=crl_sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    issuer_key_identifier = subject_key_identifier(issuer_key.public_key())
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(subject_key.public_key())
        .serial_number(new_serial_number())
        .not_valid_before(window.not_before)
        .not_valid_after(window.not_after)
        .add_extension(usage, critical=True)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(subject_key_identifier(subject_key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer_key_identifier), critical=False
        )
        .sign(issuer_key, signature_hash(issuer_key))
    )

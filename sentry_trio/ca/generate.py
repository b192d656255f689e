"""A new certificate authority: a root, whose key is thrown away, and an issuer below it."""

import datetime as dt
from typing import Final

from sentry_trio.ca.bundle import StoredBundle
from sentry_trio.ca.certificates import Certificate, read_certificate, write_certificates
from sentry_trio.ca.compose import (
    CertificateComposer,
    authority_key_identifier,
    ca_constraints,
    key_usage,
    new_serial_number,
    organization,
    subject_key_identifier,
)
from sentry_trio.ca.extensions import CRL_SIGN, DIGITAL_SIGNATURE, KEY_CERT_SIGN
from sentry_trio.ca.keys import (
    KeyType,
    PrivateKey,
    PublicKey,
    generate_key,
    key_identifier,
    public_key_info,
    write_private_key,
)
from sentry_trio.ca.spiffe import SENTRY_APP_ID, SpiffeId, parse_trust_domain
from sentry_trio.errors import ClockError

EARLIEST: Final = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
"""A time before the first release: a clock before it is wrong."""


def generate(
    trust_domain: str,
    namespace: str,
    key_type: KeyType,
    *,
    now: dt.datetime,
    allowed_clock_skew: dt.timedelta,
    lifetime: dt.timedelta = dt.timedelta(days=365),
) -> StoredBundle:
    """Makes a root, an issuer and the issuer's key. The root's key is never kept, so this issuer is its only one.

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
        ClockError: `now` is before `EARLIEST`: no client would accept the certificates once the clock is right. Or
            they would end after the year 9999.
        InvalidIdentityError: trust domain or namespace are no parts of a SPIFFE ID.
    """
    if now < EARLIEST:
        raise _wrong_clock(now, "before this program was released")
    identity = SpiffeId.make(parse_trust_domain(trust_domain), namespace, SENTRY_APP_ID)
    try:
        validity = now - allowed_clock_skew, now + lifetime
    except OverflowError as error:
        raise _wrong_clock(now, "and X.509 has no times after the year 9999") from error
    root_key, issuer_key = generate_key(key_type), generate_key(key_type)
    root_name, issuer_name = organization(trust_domain), organization(str(identity))
    root = certify(root_name, root_key.public_key(), root_name, root_key, validity, crl_sign=False)
    issuer = certify(issuer_name, issuer_key.public_key(), root_name, root_key, validity, crl_sign=True)
    return StoredBundle(
        anchors=write_certificates([root]), chain=write_certificates([issuer]), key=write_private_key(issuer_key)
    )


def _wrong_clock(now: dt.datetime, why: str) -> ClockError:
    return ClockError(
        f"cannot generate a certificate authority: the clock is at {now.astimezone(dt.UTC):%Y-%m-%dT%H:%M:%SZ}, "
        f"{why}; set the clock and start again"
    )


def certify(
    subject: bytes,
    subject_key: PublicKey,
    issuer: bytes,
    issuer_key: PrivateKey,
    validity: tuple[dt.datetime, dt.datetime],
    *,
    crl_sign: bool,
) -> Certificate:
    """Signs a CA certificate: a root, an issuer below one, or a cross-certificate, distinguished by names and keys.

    Args:
        subject: name of the holder, with tag and length.
        subject_key: key of the holder.
        issuer: name of the signer, with tag and length.
        issuer_key: key of the signer.
        validity: first and last second, aware; fractions of a second are dropped.
        crl_sign: true if the holder may sign revocation lists.
    """
    info = public_key_info(subject_key)
    bits = (DIGITAL_SIGNATURE, KEY_CERT_SIGN, CRL_SIGN) if crl_sign else (DIGITAL_SIGNATURE, KEY_CERT_SIGN)
    extensions = (
        key_usage(*bits),
        ca_constraints(),
        subject_key_identifier(key_identifier(info)),
        authority_key_identifier(key_identifier(public_key_info(issuer_key.public_key()))),
    )
    composed = CertificateComposer(issuer, issuer_key).compose(
        serial_number=new_serial_number(),
        not_before=validity[0],
        not_after=validity[1],
        subject=subject,
        public_key_info=info,
        extensions=b"".join(extensions),
    )
    return read_certificate(composed)

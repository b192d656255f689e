"""New certificate authorities: a root and an issuer below it."""

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
    organization_and_common_name,
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
from sentry_trio.discreet import Discreet
from sentry_trio.errors import ClockError

EARLIEST: Final = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
"""Time before the first release: a clock before it is wrong."""


class NewBundle(StoredBundle, frozen=True):
    """New trust bundle; its root is the first of the trust anchors.

    Attributes:
        root: the self-signed root.
        root_key: key of the root, which is discarded unless configured otherwise; not shown by `repr`.
        issuer: the issuer, signed by the root.
    """

    UNSHOWN = StoredBundle.UNSHOWN | {"root_key"}

    root: Certificate
    root_key: PrivateKey
    issuer: Certificate


def generate(
    trust_domain: str,
    namespace: str,
    key_type: KeyType,
    *,
    now: dt.datetime,
    allowed_clock_skew: dt.timedelta,
    lifetime: dt.timedelta = dt.timedelta(days=365),
    root_lifetime: dt.timedelta | None = None,
) -> NewBundle:
    """Makes a trust bundle: a root and an issuer.

    The profile is that of Dapr Sentry 1.18, which always uses Ed25519 and one year, with two differences. Both
    certificates have an authority key identifier, which Dapr's lack and strict verifiers require (RFC 5280, 4.2.1.1).
    Their subjects have a common name with the key's identifier: OpenSSL fails if two trust anchors have the same name,
    as during a renewal, and the issuer has no authority key identifier.

    Args:
        trust_domain: the trust domain as given on the command line; may be a SPIFFE ID within it.
        namespace: namespace of this authority.
        key_type: kind of both keys.
        now: an aware datetime.
        allowed_clock_skew: time before `now` at which the certificates' validity begins.
        lifetime: time from `now` to their expiry.
        root_lifetime: time from `now` to the root's expiry, if its key is kept for later issuers; None for `lifetime`.

    Raises:
        ClockError: `now` is before `EARLIEST`: no client would accept the certificates once the clock is right. Or
            they would end after the year 9999.
        InvalidIdentityError: trust domain or namespace cannot be part of a SPIFFE ID.
    """
    if now < EARLIEST:
        raise _wrong_clock(now, "before this program was released")
    try:
        since, end, root_end = now - allowed_clock_skew, now + lifetime, now + (root_lifetime or lifetime)
    except OverflowError as error:
        raise _wrong_clock(now, "and X.509 has no times after the year 9999") from error
    root_key = generate_key(key_type)
    root_name = authority_name(trust_domain, "root", root_key.public_key())
    root_info = public_key_info(root_key.public_key())
    signer = Signer(root_name, root_key, key_identifier(root_info))
    root = certify(root_name, root_info, signer, (since, root_end), crl_sign=False)
    issuer, issuer_key = make_issuer(trust_domain, namespace, key_type, signer, (since, end))
    return NewBundle(
        anchors=write_certificates([root]),
        chain=write_certificates([issuer]),
        key=write_private_key(issuer_key),
        root=root,
        root_key=root_key,
        issuer=issuer,
    )


def make_issuer(
    trust_domain: str,
    namespace: str,
    key_type: KeyType,
    signer: "Signer",
    validity: tuple[dt.datetime, dt.datetime],
) -> tuple[Certificate, PrivateKey]:
    """Makes an issuer and its key.

    Args:
        trust_domain: as for `generate`.
        namespace: as for `generate`.
        key_type: the kind of its key.
        signer: the root.
        validity: first and last second, aware.

    Raises:
        InvalidIdentityError: as `generate`.
    """
    identity = SpiffeId.make(parse_trust_domain(trust_domain), namespace, SENTRY_APP_ID)
    key = generate_key(key_type)
    name, info = authority_name(str(identity), "issuer", key.public_key()), public_key_info(key.public_key())
    return certify(name, info, signer, validity, crl_sign=True), key


def authority_name(organization: str, kind: str, key: PublicKey) -> bytes:
    """Returns the subject of a root or issuer, with tag and length.

    Args:
        organization: the trust domain for a root, the SPIFFE ID for an issuer.
        kind: `root` or `issuer`.
        key: the holder's key; its identifier makes the name different from those of other generations.
    """
    return organization_and_common_name(organization, f"{kind} {key_identifier(public_key_info(key)).hex()[:8]}")


def _wrong_clock(now: dt.datetime, why: str) -> ClockError:
    return ClockError(
        f"cannot generate a certificate authority: the clock is at {now.astimezone(dt.UTC):%Y-%m-%dT%H:%M:%SZ}, "
        f"{why}; set the clock and start again"
    )


class Signer(Discreet, frozen=True):
    """Signer of CA certificates.

    Attributes:
        name: its subject, with tag and length.
        key: its key; not shown by `repr`.
        identifier: its subject key identifier; None if it has none.
    """

    UNSHOWN = frozenset({"key"})

    name: bytes
    key: PrivateKey
    identifier: bytes | None


def certify(
    subject: bytes,
    subject_key_info: bytes,
    signer: Signer,
    validity: tuple[dt.datetime, dt.datetime],
    *,
    crl_sign: bool,
    identifier: bytes | None = None,
) -> Certificate:
    """Signs a CA certificate without path length: a root, an issuer, or a cross-certificate.

    Args:
        subject: name of the holder, with tag and length.
        subject_key_info: SubjectPublicKeyInfo of the holder, with tag and length.
        signer: the signer; its identifier becomes the authority key identifier.
        validity: first and last second, aware; fractions of a second are dropped.
        crl_sign: true if the holder may sign revocation lists.
        identifier: the holder's subject key identifier; None for that of `key_identifier`.
    """
    bits = (DIGITAL_SIGNATURE, KEY_CERT_SIGN, CRL_SIGN) if crl_sign else (DIGITAL_SIGNATURE, KEY_CERT_SIGN)
    identifier = identifier or key_identifier(subject_key_info)
    extensions = [key_usage(*bits), ca_constraints(), subject_key_identifier(identifier)]
    if signer.identifier is not None:
        extensions.append(authority_key_identifier(signer.identifier))
    composed = CertificateComposer(signer.name, signer.key).compose(
        serial_number=new_serial_number(),
        not_before=validity[0],
        not_after=validity[1],
        subject=subject,
        public_key_info=subject_key_info,
        extensions=b"".join(extensions),
    )
    return read_certificate(composed)

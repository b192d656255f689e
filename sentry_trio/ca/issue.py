"""Workload certificates: the one thing this authority is there for."""

import dataclasses
import datetime as dt

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID

from sentry_trio.ca.bundle import TrustBundle
from sentry_trio.ca.certificates import extension
from sentry_trio.ca.check import Expected, check
from sentry_trio.ca.der import UNREADABLE, names, reason
from sentry_trio.ca.generate import new_serial_number
from sentry_trio.ca.images import ContainerImage, images_extension
from sentry_trio.ca.keys import signature_hash
from sentry_trio.ca.signatures import public_key as public_key_of
from sentry_trio.ca.spiffe import SpiffeId
from sentry_trio.errors import IssuerNotValidError, SigningError

__all__ = ["ContainerImage", "IssuedCertificate", "Issuer", "WorkloadIdentity"]

_KEY_USAGE = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=False,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)
_FAST_RSA_BITS = 2048
_EXTENDED_KEY_USAGE = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])


@dataclasses.dataclass(frozen=True, slots=True)
class WorkloadIdentity:
    """What a certificate says about its holder.

    Attributes:
        spiffe_id: who it is.
        dns_names: under which names it is called.
        images: of which containers it is made.
    """

    spiffe_id: SpiffeId
    dns_names: tuple[str, ...] = ()
    images: tuple[ContainerImage, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class IssuedCertificate:
    """A signed certificate that has been checked.

    Attributes:
        certificate: the certificate.
        pem: the certificate and the issuer chain after it, without the anchors.
        not_before: when it begins to be valid.
        not_after: when it expires.
    """

    certificate: x509.Certificate
    pem: bytes
    not_before: dt.datetime
    not_after: dt.datetime


class Issuer:
    """Signs with one trust bundle. All that is the same for every certificate is made once, here.

    Args:
        bundle: verified credentials.
    """

    def __init__(self, bundle: TrustBundle) -> None:
        self._bundle = bundle
        self._hash = signature_hash(bundle.key)
        self._issuer_name = names(bundle.issuer).subject
        self._issuer_key = public_key_of(bundle.issuer)
        self._constant = [_extension(_KEY_USAGE, critical=True), _extension(_EXTENDED_KEY_USAGE, critical=False)]
        identifier = extension(bundle.issuer, x509.SubjectKeyIdentifier)
        if identifier is not None:
            # The key identifier alone, and none that the issuer does not have itself: what Go writes.
            authority = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)
            self._constant.append(_extension(authority, critical=False))
        self._builder = x509.CertificateBuilder().issuer_name(bundle.issuer.subject).subject_name(x509.Name([]))
        for each in self._constant:
            self._builder = self._builder.add_extension(each.value, critical=each.critical)

    @property
    def bundle(self) -> TrustBundle:
        """The credentials that it signs with."""
        return self._bundle

    @property
    def is_slow(self) -> bool:
        """Whether a signature takes long enough to be felt by whoever waits for the same core.

        RSA with more than 2048 bits takes one to some milliseconds, everything else a fraction of one. A thread does
        not help: OpenSSL is called with Python's global lock held.
        """
        key = self._bundle.key
        return isinstance(key, rsa.RSAPrivateKey) and key.key_size > _FAST_RSA_BITS

    def issue(
        self,
        public_key: CertificatePublicKeyTypes,
        identity: WorkloadIdentity,
        *,
        lifetime: dt.timedelta,
        allowed_clock_skew: dt.timedelta,
        now: dt.datetime,
    ) -> IssuedCertificate:
        """Sign a certificate for a key, and check it.

        Its subject is empty and its alternative names are critical instead: DNS names, then the SPIFFE ID. Valid from
        `now - allowed_clock_skew` to `now + lifetime`, both cut to whole seconds. Dapr Sentry 1.18 lets it outlive its
        issuer; here it ends when the last path to an anchor does.

        Args:
            public_key: the requester's key, from a request that `read_csr` has accepted.
            identity: what the certificate says.
            lifetime: how long it is valid.
            allowed_clock_skew: by how much the requester's clock may be behind.
            now: an aware datetime.

        Raises:
            IssuerNotValidError: nothing that is signed now would verify.
            SigningError: the certificate cannot be made as asked for, or is not what it was to be.
        """
        self._check_issuer(now)
        try:
            not_before = (now - allowed_clock_skew).replace(microsecond=0)
            not_after = min(now + lifetime, self._bundle.not_after).replace(microsecond=0)
            if not_after <= now:
                raise SigningError(f"a certificate with a lifetime of {lifetime} would have expired when it is signed")
            serial_number = new_serial_number()
            builder = (
                self._builder.public_key(public_key)
                .serial_number(serial_number)
                .not_valid_before(not_before)
                .not_valid_after(not_after)
            )
            own = _identity_extensions(identity)
            for each in own:
                builder = builder.add_extension(each.value, critical=each.critical)
            certificate = builder.sign(self._bundle.key, self._hash)
        except UNREADABLE as error:
            raise SigningError(f"the certificate cannot be made: {reason(error)}") from error
        check(
            certificate,
            Expected(
                issuer_name=self._issuer_name,
                issuer_key=self._issuer_key,
                public_key=public_key,
                serial_number=serial_number,
                not_before=not_before,
                not_after=not_after,
                extensions=[*self._constant, *own],
            ),
        )
        pem = certificate.public_bytes(serialization.Encoding.PEM) + self._bundle.chain_pem
        return IssuedCertificate(certificate, pem, not_before, not_after)

    def _check_issuer(self, now: dt.datetime) -> None:
        bundle = self._bundle
        if now < bundle.not_before:
            raise IssuerNotValidError(
                f"the issuer certificate chain is not valid before {bundle.not_before:%Y-%m-%dT%H:%M:%SZ}; "
                "check the clock of this host"
            )
        if now > bundle.not_after:
            raise IssuerNotValidError(
                f"the issuer certificate chain has expired at {bundle.not_after:%Y-%m-%dT%H:%M:%SZ}; "
                "install credentials that are still valid"
            )


def _extension(value: x509.ExtensionType, *, critical: bool) -> x509.Extension[x509.ExtensionType]:
    return x509.Extension(value.oid, critical, value)


def _identity_extensions(identity: WorkloadIdentity) -> list[x509.Extension[x509.ExtensionType]]:
    alternatives: list[x509.GeneralName] = [x509.DNSName(name) for name in identity.dns_names]
    alternatives.append(x509.UniformResourceIdentifier(str(identity.spiffe_id)))
    # Critical, because the subject is empty (RFC 5280, 4.2.1.6).
    extensions = [_extension(x509.SubjectAlternativeName(alternatives), critical=True)]
    if identity.images:
        extensions.append(_extension(images_extension(identity.images), critical=False))
    return extensions

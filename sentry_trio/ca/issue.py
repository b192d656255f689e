"""Workload certificates: signed, and checked before they are sent."""

import datetime as dt
import json

import msgspec

from sentry_trio.ca.asn1 import Tag, encode
from sentry_trio.ca.bundle import TrustBundle
from sentry_trio.ca.check import Expected, check, prove
from sentry_trio.ca.compose import (
    EMPTY_NAME,
    CertificateComposer,
    alternative_names,
    authority_key_identifier,
    extended_key_usage,
    extension,
    key_usage,
    new_serial_number,
)
from sentry_trio.ca.extensions import CLIENT_AUTH, DIGITAL_SIGNATURE, SERVER_AUTH
from sentry_trio.ca.pem import write_block
from sentry_trio.ca.signatures import signing_seconds
from sentry_trio.ca.spiffe import SpiffeId
from sentry_trio.errors import IssuerNotValidError, SigningError

IMAGES_OID = "1.3.6.1.4.1.57683.100.1"
"""Extension for a workload's images in Dapr's development branch; no release up to 1.18.3 issues or reads it."""

# Go's encoding/json escapes these, so that JSON can be embedded in HTML and JavaScript.
_ESCAPES = str.maketrans({character: f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"})


class ContainerImage(msgspec.Struct, frozen=True):
    """Container of a workload.

    Attributes:
        role: `daprd` or `app`.
        container_name: its name in the pod.
        image: reference of its image.
        digest: digest of its image; empty and omitted if it is not known.
    """

    role: str
    container_name: str
    image: str
    digest: str = ""


def images_extension(images: tuple[ContainerImage, ...]) -> bytes:
    """Encodes images as Dapr's development branch does: an OCTET STRING with compact JSON.

    Raises:
        ValueError: a text has a lone surrogate, which UTF-8 cannot encode.
    """
    document = json.dumps([_fields(image) for image in images], ensure_ascii=False, separators=(",", ":"))
    content = document.translate(_ESCAPES).encode()
    return extension(IMAGES_OID, encode(Tag.OCTET_STRING, content))


def _fields(image: ContainerImage) -> dict[str, str]:
    fields = {"role": image.role, "containerName": image.container_name, "image": image.image}
    return fields | {"digest": image.digest} if image.digest else fields


class WorkloadIdentity(msgspec.Struct, frozen=True):
    """Contents of a workload certificate.

    Attributes:
        spiffe_id: identity of the holder.
        dns_names: names by which clients call it.
        images: its containers.
    """

    spiffe_id: SpiffeId
    dns_names: tuple[str, ...] = ()
    images: tuple[ContainerImage, ...] = ()


class IssuedCertificate(msgspec.Struct, frozen=True):
    """Signed and checked certificate.

    Attributes:
        der: the certificate.
        pem: the certificate and the issuer chain after it, without the anchors.
        serial_number: its serial number.
        not_before: begin of its validity.
        not_after: end of its validity.
    """

    der: bytes
    pem: bytes
    serial_number: int
    not_before: dt.datetime
    not_after: dt.datetime


class Issuer:
    """Signs workload certificates with one trust bundle; encodes common parts once.

    Args:
        bundle: verified credentials.

    Raises:
        SigningError: a trial certificate has a wrong field or does not verify.
    """

    def __init__(self, bundle: TrustBundle) -> None:
        self._bundle = bundle
        if bundle.issuer.public_key is None:
            raise SigningError("the issuer's key cannot sign certificates")
        self._issuer_key = bundle.issuer.public_key
        self._constant = key_usage(DIGITAL_SIGNATURE) + extended_key_usage(SERVER_AUTH, CLIENT_AUTH)
        identifier = bundle.issuer.extensions.subject_key_identifier
        if identifier is not None:
            # As Go: only the key identifier, and only if the issuer has one.
            self._constant += authority_key_identifier(identifier)
        self._composer = CertificateComposer(bundle.issuer.subject, bundle.key, self._constant)
        prove(bundle.key, self._constant)

    @property
    def bundle(self) -> TrustBundle:
        """Credentials in use."""
        return self._bundle

    @property
    def signing_seconds(self) -> float:
        """Approximate CPU time of a signature, in seconds."""
        return signing_seconds(self._bundle.key)

    def issue(
        self,
        public_key_info: bytes,
        identity: WorkloadIdentity,
        *,
        lifetime: dt.timedelta,
        allowed_clock_skew: dt.timedelta,
        now: dt.datetime,
    ) -> IssuedCertificate:
        """Signs a certificate for a key, and checks it.

        Its subject is empty, and its alternative names are critical instead: DNS names, then the SPIFFE ID. It is valid
        from `now - allowed_clock_skew` to `now + lifetime`, both cut to whole seconds. Dapr Sentry 1.18 lets it outlive
        its issuer; here it ends no later than the last path to an anchor.

        Args:
            public_key_info: the requester's key, as `read_csr` returns it.
            identity: identity of the certificate's holder.
            lifetime: time from `now` to its end.
            allowed_clock_skew: tolerated lag of the requester's clock.
            now: an aware datetime.

        Raises:
            IssuerNotValidError: no certificate that is signed now would verify.
            SigningError: the certificate cannot be made, or `check` found a fault in it.
        """
        self._check_issuer(now)
        try:
            not_before, not_after = self._window(now, lifetime, allowed_clock_skew)
            expected = Expected(
                issuer_name=self._bundle.issuer.subject,
                issuer_key=self._issuer_key,
                algorithm=self._composer.algorithm,
                public_key_info=public_key_info,
                serial_number=new_serial_number(),
                not_before=not_before,
                not_after=not_after,
                dns_names=identity.dns_names,
                uri=str(identity.spiffe_id),
                constant=self._constant,
                images=images_extension(identity.images) if identity.images else b"",
            )
            der = self._composer.compose(
                serial_number=expected.serial_number,
                not_before=not_before,
                not_after=not_after,
                subject=EMPTY_NAME,
                public_key_info=public_key_info,
                extensions=alternative_names(expected.dns_names, expected.uri) + expected.images,
            )
        except (ValueError, OverflowError) as error:
            raise SigningError(f"the certificate cannot be made: {error}") from error
        check(der, expected)
        pem = write_block("CERTIFICATE", der) + self._bundle.chain_pem
        return IssuedCertificate(der, pem, expected.serial_number, not_before, not_after)

    def _window(
        self, now: dt.datetime, lifetime: dt.timedelta, allowed_clock_skew: dt.timedelta
    ) -> tuple[dt.datetime, dt.datetime]:
        not_before = (now - allowed_clock_skew).replace(microsecond=0)
        not_after = min(now + lifetime, self._bundle.not_after).replace(microsecond=0)
        if not_after <= now:
            raise SigningError(f"a certificate with a lifetime of {lifetime} would have expired when it is signed")
        if not_before > not_after:
            raise ValueError("its validity would end before it begins")
        return not_before, not_after

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

"""Roots and issuers of the demonstration."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_LIFETIME: Final = timedelta(days=1)
_SKEW: Final = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class Signer:
    """Certificate authority certificate with its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> bytes:
        """The certificate in PEM."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        """The key as unencrypted PKCS #8 in PEM."""
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )


def make_signer(name: str, parent: Signer | None = None) -> Signer:
    """Makes a root, or an issuer below a root."""
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    usage = dict.fromkeys(
        ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
        False,  # the value of each key usage
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(parent.certificate.subject if parent else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + _LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0 if parent else 1), critical=True)
        .add_extension(
            x509.KeyUsage(**usage, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False),
            critical=True,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key((parent.key if parent else key).public_key()),
            critical=False,
        )
        .sign(parent.key if parent else key, hashes.SHA256())
    )
    return Signer(certificate, key)


@dataclass(frozen=True, slots=True)
class Authorities:
    """Two roots that all callers trust, two issuers below the first and one below the second."""

    anchors: bytes
    first: Signer
    second: Signer
    third: Signer

    def files(self, issuer: Signer) -> Mapping[str, bytes]:
        """The trust bundle with one of the issuers, by file name."""
        return {"ca.crt": self.anchors, "issuer.crt": issuer.pem, "issuer.key": issuer.key_pem}


def make_authorities(other_roots: bytes) -> Authorities:
    """Makes both roots and the three issuers.

    Args:
        other_roots: further trust anchors, PEM.
    """
    old, new = make_signer("old root"), make_signer("new root")
    return Authorities(
        anchors=old.pem + new.pem + other_roots,
        first=make_signer("issuer 1", old),
        second=make_signer("issuer 2", old),
        third=make_signer("issuer 3", new),
    )

"""Certificates and authorities made to order, for the tests of the core."""

import datetime as dt
import ssl
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from sentry_trio.ca.bundle import StoredBundle, TrustBundle, verify
from sentry_trio.ca.certificates import Certificate, read_certificate, write_certificates
from sentry_trio.ca.generate import generate
from sentry_trio.ca.issue import IssuedCertificate
from sentry_trio.ca.keys import KeyType, PrivateKey, write_private_key

_Extension = TypeVar("_Extension", bound=x509.ExtensionType)

NOW = dt.datetime(2026, 11, 22, 19, 41, 15, tzinfo=dt.UTC)
HOUR = dt.timedelta(hours=1)
DAY = dt.timedelta(days=1)
SKEW = dt.timedelta(minutes=15)

SERVER_AUTH = ExtendedKeyUsageOID.SERVER_AUTH
CLIENT_AUTH = ExtendedKeyUsageOID.CLIENT_AUTH
ANY_USAGE = ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE

CA_USAGE = ("key_cert_sign", "crl_sign")


def parsed(certificate: Certificate | IssuedCertificate) -> x509.Certificate:
    """Returns a certificate as `cryptography` reads it: a second opinion."""
    return x509.load_der_x509_certificate(certificate.der)


def extension(certificate: x509.Certificate, kind: type[_Extension]) -> _Extension | None:
    """Returns the value of an extension, or None if there is none of this type."""
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def signature_hash(key: PrivateKey) -> hashes.SHA256 | hashes.SHA384 | hashes.SHA512 | None:
    """Returns the hash that goes with a key when it signs; Ed25519 has its own, hence None."""
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return None
    if isinstance(key, rsa.RSAPrivateKey) or key.curve.key_size <= 256:
        return hashes.SHA256()
    return hashes.SHA384() if key.curve.key_size == 384 else hashes.SHA512()


def new_key() -> PrivateKey:
    """A key of the kind that is made fastest."""
    return ed25519.Ed25519PrivateKey.generate()


def name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def key_usage(*usages: str) -> x509.KeyUsage:
    known = (
        "digital_signature content_commitment key_encipherment data_encipherment key_agreement key_cert_sign crl_sign "
        "encipher_only decipher_only"
    )
    return x509.KeyUsage(**{each: each in usages for each in known.split()})


def unread_certificate(
    subject: str | x509.Name,
    key: PrivateKey,
    issuer: str | x509.Name | None = None,
    issuer_key: PrivateKey | None = None,
    *,
    ca: bool | None = True,
    path_length: int | None = None,
    usage: Iterable[str] | None = CA_USAGE,
    extended: Iterable[x509.ObjectIdentifier] | None = None,
    not_before: dt.datetime = NOW - HOUR,
    not_after: dt.datetime = NOW + 30 * DAY,
    more: Iterable[x509.Extension[x509.ExtensionType]] = (),
) -> x509.Certificate:
    """Makes a CA certificate by default: `ca=None` is one without basicConstraints. Self-signed by default."""
    signer = issuer_key or key
    subject_name = name(subject) if isinstance(subject, str) else subject
    issuer_name = name(issuer) if isinstance(issuer, str) else issuer
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject_name)
        .issuer_name(issuer_name or subject_name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(not_before)
        .not_valid_after(not_after)
    )
    if usage is not None:
        builder = builder.add_extension(key_usage(*usage), critical=True)
    if ca is not None:
        builder = builder.add_extension(x509.BasicConstraints(ca=ca, path_length=path_length), critical=True)
    if extended is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage(extended), critical=False)
    for each in more:
        builder = builder.add_extension(each.value, critical=each.critical)
    return builder.sign(signer, signature_hash(signer))


def certificate(*arguments: Any, **differences: Any) -> Certificate:
    """A certificate as `unread_certificate` makes it, read by our own reader."""
    return read_certificate(unread_certificate(*arguments, **differences).public_bytes(serialization.Encoding.DER))


def key_identifiers(holder: PrivateKey, signer: PrivateKey) -> list[x509.Extension[Any]]:
    """Returns the identifiers of both keys as extensions."""
    own = x509.SubjectKeyIdentifier.from_public_key(holder.public_key())
    above = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
    return [x509.Extension(each.oid, False, each) for each in (own, above)]


def stored(anchors: Iterable[Certificate], chain: Iterable[Certificate], key: PrivateKey) -> StoredBundle:
    return StoredBundle(write_certificates(anchors), write_certificates(chain), write_private_key(key))


def generated(key_type: KeyType = KeyType.P256, now: dt.datetime = NOW) -> TrustBundle:
    return verify(generate("cluster.local", "dapr-system", key_type, now=now, allowed_clock_skew=SKEW), now)


def csr_pem(key: PrivateKey | None = None) -> bytes:
    signer = key or ec.generate_private_key(ec.SECP256R1())
    builder = x509.CertificateSigningRequestBuilder().subject_name(name("app"))
    return builder.sign(signer, signature_hash(signer)).public_bytes(serialization.Encoding.PEM)


def small_rsa() -> rsa.RSAPrivateKey:
    """The smallest that counts: made quickly."""
    return rsa.generate_private_key(public_exponent=65537, key_size=1024)


def openssl(*arguments: str | Path, stdin: bytes | None = None) -> bytes:
    """Runs the openssl tool and returns its output."""
    command = ["openssl", *map(str, arguments)]
    done = subprocess.run(command, input=stdin, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def sha256(data: bytes) -> bytes:
    digest = hashes.Hash(hashes.SHA256())
    digest.update(data)
    return digest.finalize()


def handshake(server: ssl.SSLContext, client: ssl.SSLContext, name: str | None = None) -> None:
    """Does a TLS handshake in memory; raises SSLError if either side rejects the other."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [
        client.wrap_bio(to_client, to_server, server_hostname=name),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    while sides:
        for side in list(sides):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            sides.remove(side)

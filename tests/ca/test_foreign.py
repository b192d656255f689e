"""Issued certificates, checked by foreign verifiers; each is shown to refuse what it should."""

import datetime as dt
import ssl
from collections.abc import Iterable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from sentry_trio.ca.bundle import TrustBundle, verify
from sentry_trio.ca.generate import generate
from sentry_trio.ca.issue import IssuedCertificate, Issuer, WorkloadIdentity
from sentry_trio.ca.keys import KeyType, public_key_info, write_private_key
from sentry_trio.ca.spiffe import SpiffeId
from testkit.ca.making import DAY, SKEW, certificate, handshake, new_key, openssl, parsed, stored

# Python's ssl and OpenSSL have clocks of their own.
NOW = dt.datetime.now(dt.UTC)
KEY = ec.generate_private_key(ec.SECP256R1())
IDENTITY = WorkloadIdentity(SpiffeId.make("cluster.local", "default", "app"), ("app.svc",))


def authority(key_type: KeyType) -> tuple[TrustBundle, IssuedCertificate]:
    bundle = verify(generate("cluster.local", "dapr-system", key_type, now=NOW, allowed_clock_skew=SKEW), NOW)
    issued = Issuer(bundle).issue(
        public_key_info(KEY.public_key()), IDENTITY, lifetime=DAY, allowed_clock_skew=SKEW, now=NOW
    )
    return bundle, issued


AUTHORITIES = {key_type: authority(key_type) for key_type in KeyType}
OTHER = authority(KeyType.P256)[0].anchors_pem

every_kind = pytest.mark.parametrize("key_type", KeyType, ids=lambda key_type: key_type.value)


@every_kind
@pytest.mark.parametrize("purpose", ["sslserver", "sslclient"])
def test_openssl(tmp_path: Path, key_type: KeyType, purpose: str) -> None:
    bundle, issued = AUTHORITIES[key_type]
    for name, pem in (
        ("anchors", bundle.anchors_pem),
        ("leaf", issued.pem),
        ("chain", bundle.chain_pem),
        ("other", OTHER),
    ):
        (tmp_path / name).write_bytes(pem)
    options = ("-x509_strict", "-purpose", purpose, "-untrusted", tmp_path / "chain", tmp_path / "leaf")
    assert openssl("verify", "-CAfile", tmp_path / "anchors", *options).endswith(b": OK\n")
    with pytest.raises(AssertionError, match="unable to get local issuer certificate"):
        openssl("verify", "-CAfile", tmp_path / "other", *options)


@every_kind
def test_cryptography(key_type: KeyType) -> None:
    bundle, issued = AUTHORITIES[key_type]

    def verified(anchors: Iterable[x509.Certificate]) -> list[x509.Certificate]:
        verifier = PolicyBuilder().store(Store(list(anchors))).time(NOW).build_client_verifier()
        return verifier.verify(parsed(issued), list(map(parsed, bundle.chain))).chain

    if key_type is KeyType.ED25519:
        # The web's own rules, which this verifier cannot be talked out of, have no Ed25519.
        with pytest.raises(VerificationError, match="Forbidden"):
            verified(map(parsed, bundle.anchors))
        return
    assert verified(map(parsed, bundle.anchors)) == [parsed(issued), *map(parsed, (*bundle.chain, *bundle.anchors))]
    with pytest.raises(VerificationError):
        verified(x509.load_pem_x509_certificates(OTHER))


@every_kind
def test_python_ssl(tmp_path: Path, key_type: KeyType) -> None:
    bundle, issued = AUTHORITIES[key_type]
    credentials = tmp_path / "server.pem"
    credentials.write_bytes(write_private_key(KEY) + issued.pem)

    def context(purpose: ssl.Purpose, anchors: bytes) -> ssl.SSLContext:
        made = ssl.create_default_context(purpose, cadata=anchors.decode())
        made.verify_mode = ssl.CERT_REQUIRED
        made.verify_flags |= ssl.VerifyFlags.VERIFY_X509_STRICT
        made.load_cert_chain(credentials)
        return made

    server = context(ssl.Purpose.CLIENT_AUTH, bundle.anchors_pem)
    handshake(server, context(ssl.Purpose.SERVER_AUTH, bundle.anchors_pem), "app.svc")
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        handshake(server, context(ssl.Purpose.SERVER_AUTH, bundle.anchors_pem), "other.svc")
    with pytest.raises(ssl.SSLCertVerificationError, match="unable to get local issuer certificate"):
        handshake(server, context(ssl.Purpose.SERVER_AUTH, OTHER), "app.svc")


def test_strictness_is_a_verifiers_own(tmp_path: Path) -> None:
    """The negative control for key identifiers: openssl's strict mode does refuse an issuer that has none."""
    root_key, key = new_key(), new_key()
    bundle = verify(stored([certificate("r", root_key)], [certificate("i", key, "r", root_key)], key), NOW)
    leaf = Issuer(bundle).issue(
        public_key_info(KEY.public_key()), IDENTITY, lifetime=DAY, allowed_clock_skew=SKEW, now=NOW
    )
    for name, pem in (("anchors", bundle.anchors_pem), ("leaf", leaf.pem), ("chain", bundle.chain_pem)):
        (tmp_path / name).write_bytes(pem)
    files = ("-CAfile", tmp_path / "anchors", "-untrusted", tmp_path / "chain", tmp_path / "leaf")
    assert openssl("verify", *files).endswith(b": OK\n")
    with pytest.raises(AssertionError, match=r"Missing (Authority|Subject) Key Identifier"):
        openssl("verify", "-x509_strict", *files)

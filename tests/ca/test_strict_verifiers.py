"""Issued certificates before the strictest verifiers of others: Go, BoringSSL, rustls' webpki and Python 3.13."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from sentry_trio.ca.bundle import TrustBundle, verify
from sentry_trio.ca.issue import IssuedCertificate, Issuer
from sentry_trio.ca.keys import public_key_info, write_private_key
from testkit.ca.making import DAY, HOUR, SKEW, certificate, openssl, stored
from testkit.go_x509 import GoX509

from .test_foreign import AUTHORITIES, IDENTITY, KEY, NOW, OTHER

ROOT = Path(__file__).parents[2]
DNS_NAME = IDENTITY.dns_names[0]
URI = str(IDENTITY.spiffe_id)
UNKNOWN_TO_RUSTLS = "p521"  # ring, which verifies signatures for it, has no P-521


def authority_of_p521() -> tuple[TrustBundle, IssuedCertificate]:
    """P-521 is never generated here; people bring it, so root and issuer are as they should be made."""
    root_key, key = ec.generate_private_key(ec.SECP521R1()), ec.generate_private_key(ec.SECP521R1())
    window = {"not_before": NOW - HOUR, "not_after": NOW + 30 * DAY}
    holder, signer = (x509.SubjectKeyIdentifier.from_public_key(each.public_key()) for each in (key, root_key))
    above = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(signer)
    root = certificate("root", root_key, more=[x509.Extension(signer.oid, False, signer)], **window)
    more = [x509.Extension(each.oid, False, each) for each in (holder, above)]
    bundle = verify(stored([root], [certificate("issuer", key, "root", root_key, more=more, **window)], key), NOW)
    issuer = Issuer(bundle)
    return bundle, issuer.issue(
        public_key_info(KEY.public_key()), IDENTITY, lifetime=DAY, allowed_clock_skew=SKEW, now=NOW
    )


ISSUED = {**{each.value: made for each, made in AUTHORITIES.items()}, "p521": authority_of_p521()}
every_kind = pytest.mark.parametrize("kind", ISSUED)


@pytest.mark.parametrize("purpose", ["sslserver", "sslclient"])
def test_openssl_with_p521(tmp_path: Path, purpose: str) -> None:
    """The other types are those of keys that are generated, in `test_foreign.py`."""
    bundle, issued = ISSUED["p521"]
    for name, pem in (("anchors", bundle.anchors_pem), ("leaf", issued.pem), ("chain", bundle.chain_pem)):
        (tmp_path / name).write_bytes(pem)
    files = ("-CAfile", tmp_path / "anchors", "-untrusted", tmp_path / "chain", tmp_path / "leaf")
    assert openssl("verify", "-x509_strict", "-purpose", purpose, *files).endswith(b": OK\n")


@every_kind
def test_go(go: GoX509, kind: str) -> None:
    bundle, issued = ISSUED[kind]
    (anchor,) = bundle.anchors
    chain = [each.der for each in bundle.chain]
    assert not go.verify(issued.der, chain, [anchor.der], NOW)
    other = ISSUED["p384" if kind == "p256" else "p256"][0].anchors[0]
    assert "certificate signed by unknown authority" in go.verify(issued.der, chain, [other.der], NOW)
    read = go.certificate(issued.der)
    assert (read["dns_names"], read["uris"]) == ([DNS_NAME], [URI])


@cache
def webpki() -> Path:
    """Builds the program, in about a minute the first time; without cargo or its crates the test is skipped.

    It is built where another clone finds it, too, as Go does.
    """
    cargo = shutil.which("cargo")
    if cargo is None:
        pytest.skip("there is no cargo on this machine to build rustls' verifier with")
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    target = caches / "sentry-trio" / "webpki"
    command = [cargo, "build", "--quiet", "--release", "--target-dir", str(target)]
    directory = Path(__file__).parents[1] / "webpki"
    fetched = subprocess.run([cargo, "fetch"], cwd=directory, capture_output=True, text=True, check=False)
    if fetched.returncode:
        pytest.skip(f"the crates of rustls' verifier cannot be had: {fetched.stderr.strip()}")
    subprocess.run([*command, "--offline"], cwd=directory, check=True)
    return target / "release" / "verify"


@every_kind
@pytest.mark.parametrize("usage", ["server", "client"])
def test_webpki(tmp_path: Path, kind: str, usage: str) -> None:
    bundle, issued = ISSUED[kind]
    (tmp_path / "anchors").write_bytes(bundle.anchors_pem)
    (tmp_path / "other").write_bytes(OTHER)
    (tmp_path / "chain").write_bytes(issued.pem)

    def verified(anchors: str, name: str) -> str:
        command = [*map(str, (webpki(), tmp_path / anchors, tmp_path / "chain")), name, usage]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.stdout + done.stderr

    if kind == UNKNOWN_TO_RUSTLS:
        assert "UnsupportedSignatureAlgorithm" in verified("anchors", DNS_NAME)
        return
    assert verified("anchors", DNS_NAME) == f"{URI}\n"
    assert "CertNotValidForName" in verified("anchors", "other.svc")
    assert verified("other", DNS_NAME) == "UnknownIssuer\n"


def names_of_the_peer(_: bytes, context: Any) -> bytes:
    return b"\n".join(context.auth_context()["x509_subject_alternative_name"])


@contextmanager
def grpc_server(anchors: bytes, chain: bytes) -> Iterator[int]:
    """A server of mutual TLS that answers with its client's names; yields the port."""
    handlers = grpc.method_handlers_generic_handler("s", {"m": grpc.unary_unary_rpc_method_handler(names_of_the_peer)})
    with ThreadPoolExecutor(1) as pool:
        server = grpc.server(pool)
        server.add_generic_rpc_handlers((handlers,))
        credentials = grpc.ssl_server_credentials([(write_private_key(KEY), chain)], anchors, require_client_auth=True)
        port = server.add_secure_port("127.0.0.1:0", credentials)
        server.start()
        yield port
        server.stop(None).wait()


@every_kind
def test_boringssl(kind: str) -> None:
    bundle, issued = ISSUED[kind]

    def call(port: int, anchors: bytes, name: str) -> list[str]:
        credentials = grpc.ssl_channel_credentials(anchors, write_private_key(KEY), issued.pem)
        options = [("grpc.ssl_target_name_override", name)]
        with grpc.secure_channel(f"127.0.0.1:{port}", credentials, options) as channel:
            answer: bytes = channel.unary_unary("/s/m")(b"", timeout=60)
        return answer.decode().split("\n")

    with grpc_server(bundle.anchors_pem, issued.pem) as port:
        assert sorted(call(port, bundle.anchors_pem, DNS_NAME)) == sorted([DNS_NAME, URI])
        with pytest.raises(grpc.RpcError, match="Hostname Verification Check failed"):
            call(port, bundle.anchors_pem, "other.svc")
        with pytest.raises(grpc.RpcError, match="CERTIFICATE_VERIFY_FAILED"):
            call(port, OTHER, DNS_NAME)


# Contexts as `ssl.create_default_context` makes them, without a flag of ours; prints the URIs that the client sees.
PYTHON = """
import ssl, sys
anchors, credentials, name = sys.argv[1:]
server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=anchors)
client = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=anchors)
assert client.verify_flags & ssl.VERIFY_X509_STRICT
server.verify_mode = ssl.CERT_REQUIRED
server.load_cert_chain(credentials), client.load_cert_chain(credentials)
up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
one = client.wrap_bio(down, up, server_hostname=name)
sides = [one, server.wrap_bio(up, down, server_side=True)]
for _ in range(6):
    for side in list(sides):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
        sides.remove(side)
assert not sides
print(*(value for kind, value in one.getpeercert()["subjectAltName"] if kind == "URI"))
"""


@every_kind
def test_python_3_13(tmp_path: Path, kind: str) -> None:
    """Python 3.13 is the first whose default contexts are strict; with an older one the flags are set elsewhere."""
    found = subprocess.run(["sh", ROOT / ".ci" / "find-python", "3.13"], capture_output=True, text=True, check=False)
    if found.returncode:
        pytest.skip("there is no Python 3.13 on this machine")
    bundle, issued = ISSUED[kind]
    (tmp_path / "anchors").write_bytes(bundle.anchors_pem)
    (tmp_path / "other").write_bytes(OTHER)
    (tmp_path / "credentials").write_bytes(write_private_key(KEY) + issued.pem)

    def verified(anchors: str, name: str) -> str:
        files = map(str, (tmp_path / anchors, tmp_path / "credentials"))
        command = [found.stdout.strip(), "-I", "-c", PYTHON, *files, name]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.stdout + done.stderr

    assert verified("anchors", DNS_NAME) == f"{URI}\n"
    assert "Hostname mismatch" in verified("anchors", "other.svc")
    assert "unable to get local issuer certificate" in verified("other", DNS_NAME)

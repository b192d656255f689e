"""SignCertificate: certificate signing requests of all kinds."""

import base64
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from hypothesis import given, settings
from hypothesis import strategies as st

from testkit.authorities import SKEW
from testkit.ca.making import csr_pem, new_key, openssl
from tests.ca.test_csr import LONG_KEYS
from tests.ca.test_csr import request as openssl_request

from .asking import Client, clients, reply_fields
from .comparing import Seen, compare, shown_by
from .inputs import credentials, good_bundle, request
from .servers import Setting, pair

Clients = tuple[Client, Client]
CASES = Path(__file__).parent / "cases" / "csrs"
PSS = ("-sigopt", "rsa_padding_mode:pss")
RSA, EC = "RSA,rsa_keygen_bits:", "EC,ec_paramgen_curve:"


@pytest.fixture(scope="module")
def both(dapr_sentry: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clients]:
    setting = Setting(files=credentials(good_bundle()), flags=("--enable-metrics=false",))
    with pair(dapr_sentry, setting, tmp_path_factory.mktemp("csr")) as servers, clients(servers) as connected:
        yield connected


Case = Callable[[Path], bytes]


def made(key: str, *options: str) -> Case:
    return lambda directory: openssl_request(directory, key, *options)


def fixed(pem: bytes) -> Case:
    return lambda _: pem


def wrapped(der: bytes, label: str = "CERTIFICATE REQUEST") -> bytes:
    return f"-----BEGIN {label}-----\n{base64.b64encode(der).decode()}\n-----END {label}-----\n".encode()


def der_of(pem: bytes) -> bytes:
    return x509.load_pem_x509_csr(pem).public_bytes(serialization.Encoding.DER)


DER = der_of(csr_pem(new_key()))

KEYS = {
    "RSA-512": made(f"{RSA}512", "-sha256"),
    "RSA-768": made(f"{RSA}768", "-sha256"),
    "RSA-1024": made(f"{RSA}1024", "-sha256"),
    "RSA-2048": made(f"{RSA}2048", "-sha256"),
    **{path.stem: fixed(path.read_bytes()) for path in sorted(LONG_KEYS.glob("*.csr"))},
    "RSA, SHA-1": made(f"{RSA}1024", "-sha1"),
    "RSA, SHA-224": made(f"{RSA}1024", "-sha224"),
    "RSA, SHA-384": made(f"{RSA}1024", "-sha384"),
    "RSA, SHA-512": made(f"{RSA}1024", "-sha512"),
    "RSA, MD5": made(f"{RSA}1024", "-md5"),
    "RSA, large exponent": made(f"{RSA}1024,rsa_keygen_pubexp:4294967297", "-sha256"),
    "RSA, exponent 3": made(f"{RSA}1024,rsa_keygen_pubexp:3", "-sha256"),
    "PSS": made(f"{RSA}1024", "-sha256", *PSS, "-sigopt", "rsa_pss_saltlen:digest"),
    "PSS, SHA-384": made(f"{RSA}1024", "-sha384", *PSS, "-sigopt", "rsa_pss_saltlen:digest"),
    "PSS, longest salt": made(f"{RSA}1024", "-sha256", *PSS, "-sigopt", "rsa_pss_saltlen:max"),
    "PSS, SHA-1": made(f"{RSA}1024", "-sha1", *PSS, "-sigopt", "rsa_pss_saltlen:digest"),
    "PSS, other mask": made(f"{RSA}1024", "-sha256", *PSS, "-sigopt", "rsa_mgf1_md:sha384"),
    "PSS key": made("RSA-PSS,rsa_keygen_bits:1024", "-sha256", *PSS, "-sigopt", "rsa_pss_saltlen:digest"),
    "P-192": made(f"{EC}P-192", "-sha256"),
    "P-224": made(f"{EC}P-224", "-sha256"),
    "P-256": made(f"{EC}P-256", "-sha256"),
    "P-384": made(f"{EC}P-384", "-sha384"),
    "P-521": made(f"{EC}P-521", "-sha512"),
    "P-256, SHA-1": made(f"{EC}P-256", "-sha1"),
    "P-256, SHA-512": made(f"{EC}P-256", "-sha512"),
    "P-256, parameters written out": made(f"{EC}P-256,ec_param_enc:explicit", "-sha256"),
    "secp256k1": made(f"{EC}secp256k1", "-sha256"),
    "brainpool": made(f"{EC}brainpoolP256r1", "-sha256"),
    "Ed25519": made("ED25519"),
    "Ed448": made("ED448"),
}

SUBJECT = partial(made, f"{EC}P-256", "-sha256")
CONTENTS = {
    "long subject": SUBJECT("-subj", "/C=DE/ST=B/L=B/O=Example/OU=Unit/CN=app/emailAddress=a@b.c"),
    "no subject": SUBJECT("-subj", "/"),
    "subject in UTF-8": SUBJECT("-utf8", "-subj", "/CN=ä"),
    "two attributes in one RDN": SUBJECT("-multivalue-rdn", "-subj", "/CN=a+OU=b"),
    "SANs": SUBJECT("-addext", "subjectAltName=DNS:dapr-sentry.example,IP:127.0.0.1,URI:spiffe://a/ns/b/c,email:a@b.c"),
    "SAN of a foreign SPIFFE ID": SUBJECT(
        "-addext", "subjectAltName=critical,URI:spiffe://localhost/ns/default/dapr-sentry"
    ),
    "SAN that is empty": SUBJECT("-addext", "2.5.29.17=DER:3000"),
    "SAN that cannot be parsed": SUBJECT("-addext", "2.5.29.17=DER:30ff"),
    "SAN with a malformed address": SUBJECT("-addext", "2.5.29.17=DER:300587030a0000"),
    "SAN with a malformed URI": SUBJECT("-addext", "2.5.29.17=DER:3006860425257a7a"),
    "asks to be a CA": SUBJECT("-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=keyCertSign"),
    "basic constraints that cannot be parsed": SUBJECT("-addext", "2.5.29.19=DER:0500"),
    "extended key usage": SUBJECT("-addext", "extendedKeyUsage=codeSigning"),
    "unknown critical extension": SUBJECT("-addext", "1.2.3.4=critical,DER:0500"),
    "container images": SUBJECT("-addext", "1.3.6.1.4.1.57683.100.1=DER:04025b5d"),
    **{path.stem: fixed(path.read_bytes()) for path in sorted(CASES.glob("*.csr"))},
}

FORMS = {
    "empty": fixed(b""),
    "words": fixed(b"words"),
    "DER": fixed(DER),
    "indented": fixed(b" " + wrapped(DER)),
    "label of a certificate": fixed(wrapped(DER, "CERTIFICATE")),
    "label NEW CERTIFICATE REQUEST": fixed(wrapped(DER, "NEW CERTIFICATE REQUEST")),
    "another block first": fixed(wrapped(DER, "PRIVATE KEY") + wrapped(DER)),
    "other blocks behind": fixed(wrapped(DER) + wrapped(b"\0", "PRIVATE KEY")),
    "words around": fixed(b"words\n" + wrapped(DER) + b"words\n"),
    "spaces and CRLF": fixed(wrapped(DER).replace(b"\n", b" \r\n")),
    "after a malformed block": fixed(wrapped(DER)[:60] + b"\n" + wrapped(DER)),
    "headers": fixed(wrapped(DER).replace(b"REQUEST-----\n", b"REQUEST-----\nName: value\n\n", 1)),
    "no line end": fixed(wrapped(DER).rstrip()),
    "byte order mark": fixed(b"\xef\xbb\xbf" + wrapped(DER)),
    "trailing byte": fixed(wrapped(DER + b"\0")),
    "cut": fixed(wrapped(DER[:-1])),
    "no content": fixed(wrapped(b"")),
    "empty sequence": fixed(wrapped(b"\x30\x00")),
    "indefinite length": fixed(wrapped(b"\x30\x80")),
    "a certificate": fixed(good_bundle().anchors),
    "other signature": fixed(wrapped(DER[:-1] + bytes([DER[-1] ^ 1]))),
    "other subject": fixed(wrapped(DER.replace(b"app", b"bpp"))),
}

ALL = KEYS | CONTENTS | FORMS


SEEN: Seen = {
    "longest-rsa-key": ("rsa-8208",),
    "csr-parse-texts": (
        "P-256, parameters written out",
        "cut",
        "no content",
        "empty sequence",
        "indefinite length",
        "a certificate",
    ),
    "csr-extensions": (
        "SAN that cannot be parsed",
        "SAN with a malformed address",
        "SAN with a malformed URI",
    ),
}


@pytest.mark.parametrize("name", ALL)
def test_requests(both: Clients, tmp_path: Path, name: str) -> None:
    asked = request(certificate_signing_request=ALL[name](tmp_path))
    dapr, ours = (reply_fields(client.ask(asked), SKEW) for client in both)
    compare(dapr, ours, differs=shown_by(SEEN, name))


def test_pss_parameters_that_announce_another_salt(both: Clients, tmp_path: Path) -> None:
    options = ("-sha256", *PSS, "-sigopt", "rsa_pss_saltlen:digest")
    der = der_of(openssl_request(tmp_path, f"{RSA}1024", *options))
    changed = wrapped(der.replace(bytes.fromhex("a203020120"), bytes.fromhex("a203020121")))
    dapr, ours = (reply_fields(client.ask(request(certificate_signing_request=changed)), SKEW) for client in both)
    compare(dapr, ours)


def test_a_certificate_under_the_label_of_old_clients(both: Clients, tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    openssl("genpkey", "-quiet", "-algorithm", "ED25519", "-out", key)
    asked = request(certificate_signing_request=openssl("req", "-new", "-x509", "-key", key, "-subj", "/CN=app"))
    dapr, ours = (reply_fields(client.ask(asked), SKEW) for client in both)
    compare(dapr, ours, differs=("csr-parse-texts",))


@settings(max_examples=400, deadline=None, derandomize=True, database=None)
@given(at=st.integers(0, len(DER) - 1), value=st.integers(0, 255))
def test_changed_bytes(both: Clients, at: int, value: int) -> None:
    changed = request(certificate_signing_request=wrapped(DER[:at] + bytes([value]) + DER[at + 1 :]))
    dapr, ours = (client.ask(changed).status for client in both)
    assert dapr == ours

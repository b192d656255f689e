"""Certificate signing requests: accepted and refused as by Dapr Sentry."""

import base64
import gc
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from hypothesis import given, settings
from hypothesis import strategies as st

from sentry_trio.ca import asn1
from sentry_trio.ca.asn1 import (
    MalformedError,
    Reader,
    Tag,
    context,
    encode,
    encode_bit_string,
    encode_integer,
    encode_object_identifier,
)
from sentry_trio.ca.csr import read_csr
from sentry_trio.ca.keys import public_key_info
from sentry_trio.ca.pem import first_block, write_block
from sentry_trio.errors import InvalidCSRError
from testkit.ca.making import csr_pem, new_key, openssl, small_rsa

PARSE = "failed to parse certificate signing request: "
PSS = ("-sigopt", "rsa_padding_mode:pss")

ACCEPTED = ""
SIGNATURE = "invalid signature"
CURVE = f"{PARSE}x509: unsupported elliptic curve"


def request(directory: Path, key: str, *options: str) -> bytes:
    """Make a key and a request with the openssl tool; `key` is an algorithm, with its parameters after commas."""
    algorithm, *parameters = key.split(",")
    chosen = [argument for parameter in parameters for argument in ("-pkeyopt", parameter)]
    path = directory / "key.pem"
    openssl("genpkey", "-quiet", "-algorithm", algorithm, *chosen, "-out", path)
    return openssl("req", "-new", "-key", path, "-subj", "/CN=app", *options)


def info_of(csr: x509.CertificateSigningRequest) -> bytes:
    """Returns the SubjectPublicKeyInfo of a request, as `cryptography` encodes it."""
    return csr.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


RSA = "RSA,rsa_keygen_bits:"
EC = "EC,ec_paramgen_curve:"


@pytest.mark.parametrize(
    ("key", "options", "outcome"),
    [
        (f"{RSA}512", ("-sha256",), SIGNATURE),
        (f"{RSA}768", ("-sha256",), SIGNATURE),
        (f"{RSA}1024", ("-sha256",), ACCEPTED),
        (f"{RSA}1024", ("-sha384",), ACCEPTED),
        (f"{RSA}1024", ("-sha512",), ACCEPTED),
        (f"{RSA}1024", ("-sha1",), ACCEPTED),
        (f"{RSA}1024", ("-sha224",), SIGNATURE),
        (f"{RSA}1024", ("-md5",), SIGNATURE),
        (f"{RSA}1024,rsa_keygen_pubexp:4294967297", ("-sha256",), SIGNATURE),
        (f"{RSA}1024", ("-sha256", *PSS, "-sigopt", "rsa_pss_saltlen:digest"), ACCEPTED),
        (f"{RSA}1024", ("-sha256", *PSS, "-sigopt", "rsa_pss_saltlen:max"), SIGNATURE),
        (f"{RSA}1024", ("-sha1", *PSS, "-sigopt", "rsa_pss_saltlen:digest"), SIGNATURE),
        (f"{RSA}1024", ("-sha256", *PSS, "-sigopt", "rsa_mgf1_md:sha384"), SIGNATURE),
        (f"{RSA}1024", ("-sha512-256", *PSS), SIGNATURE),
        ("RSA-PSS,rsa_keygen_bits:1024", ("-sha256", *PSS, "-sigopt", "rsa_pss_saltlen:digest"), SIGNATURE),
        (f"{EC}P-224", ("-sha256",), ACCEPTED),
        (f"{EC}P-256", ("-sha256",), ACCEPTED),
        (f"{EC}P-256", ("-sha1",), ACCEPTED),
        (f"{EC}P-256", ("-sha224",), SIGNATURE),
        (f"{EC}P-384", ("-sha384",), ACCEPTED),
        (f"{EC}P-521", ("-sha512",), ACCEPTED),
        (f"{EC}P-192", ("-sha256",), CURVE),
        (f"{EC}secp256k1", ("-sha256",), CURVE),
        (f"{EC}brainpoolP256r1", ("-sha256",), CURVE),
        ("ED25519", (), ACCEPTED),
        ("ED448", (), SIGNATURE),
    ],
)
def test_keys_and_signatures(tmp_path: Path, key: str, options: tuple[str, ...], outcome: str) -> None:
    pem = request(tmp_path, key, *options)
    if not outcome:
        assert read_csr(pem) == info_of(x509.load_pem_x509_csr(pem))
        return
    with pytest.raises(InvalidCSRError) as refused:
        read_csr(pem)
    assert str(refused.value) == outcome


LONG_KEYS = Path(__file__).parent / "data" / "csrs"


def test_the_longest_rsa_keys_are_those_that_go_accepts() -> None:
    longest = (LONG_KEYS / "rsa-8192.csr").read_bytes()
    assert read_csr(longest) == info_of(x509.load_pem_x509_csr(longest))
    with pytest.raises(InvalidCSRError) as refused:
        read_csr((LONG_KEYS / "rsa-8208.csr").read_bytes())
    assert str(refused.value) == f"{PARSE}its RSA key has 8208 bits; at most 8192 are possible"


def wrapped(der: bytes, label: str = "CERTIFICATE REQUEST") -> bytes:
    return f"-----BEGIN {label}-----\n{base64.b64encode(der).decode()}\n-----END {label}-----\n".encode()


def good() -> bytes:
    block = first_block(csr_pem(new_key()))
    assert block
    return block.der


def with_other_signature(der: bytes) -> bytes:
    return der[:-1] + bytes([der[-1] ^ 1])


def with_other_subject(der: bytes) -> bytes:
    assert der.count(b"app") == 1
    return der.replace(b"app", b"bpp")


def with_algorithm_of_ecdsa(der: bytes) -> bytes:
    """The signature algorithm becomes an unknown neighbour of Ed25519; the key keeps its own."""
    at = der.rindex(bytes.fromhex("06032b6570"))
    return der[: at + 4] + b"\x7f" + der[at + 5 :]


def with_cut_key(der: bytes) -> bytes:
    """The key's bit string marks a bit of its last octet as unused."""
    at = der.index(bytes.fromhex("032100"))
    return der[: at + 2] + b"\x01" + der[at + 3 :]


def with_other_salt_length(der: bytes) -> bytes:
    """PSS parameters that announce another salt than was used; no signature covers them."""
    assert der.count(bytes.fromhex("a203020120")) == 1
    return der.replace(bytes.fromhex("a203020120"), bytes.fromhex("a203020121"))


DER = good()


@pytest.mark.parametrize(
    ("pem", "message"),
    [
        (b"", "invalid certificate signing request"),
        (b"words", "invalid certificate signing request"),
        (DER, "invalid certificate signing request"),
        (b" " + wrapped(DER), "invalid certificate signing request"),
        (wrapped(DER, "NEW CERTIFICATE REQUEST"), "invalid certificate signing request"),
        (wrapped(DER, "PRIVATE KEY") + wrapped(DER), "invalid certificate signing request"),
        (wrapped(DER + b"\0"), f"{PARSE}asn1: syntax error: trailing data"),
        (wrapped(DER[:-1]), f"{PARSE}the request is cut short"),
        (wrapped(b""), f"{PARSE}the request is missing"),
        (wrapped(b"\x30\x85\x01"), f"{PARSE}the request has a length that cannot be read"),
        (wrapped(b"\x30\x80"), f"{PARSE}the request has a length that cannot be read"),
        (wrapped(b"\x30\x00"), f"{PARSE}certificationRequestInfo is missing"),
        (wrapped(with_cut_key(DER)), PARSE),
        (wrapped(with_other_signature(DER)), SIGNATURE),
        (wrapped(with_other_subject(DER)), SIGNATURE),
        (wrapped(with_algorithm_of_ecdsa(DER)), SIGNATURE),
    ],
)
def test_invalid_requests_are_rejected(pem: bytes, message: str) -> None:
    with pytest.raises(InvalidCSRError) as refused:
        read_csr(pem)
    assert str(refused.value).startswith(message)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "pem",
    [
        wrapped(DER),
        wrapped(DER, "CERTIFICATE"),
        b"words\n" + wrapped(DER) + wrapped(b"\0", "PRIVATE KEY") + b"words",
        wrapped(DER).replace(b"\n", b" \r\n"),
        wrapped(DER)[:60] + b"\n" + wrapped(DER),
    ],
    ids=["plain", "old label", "surrounded", "spaces", "after a malformed one"],
)
def test_requests_are_read_from_any_good_pem(pem: bytes) -> None:
    assert read_csr(pem) == info_of(x509.load_der_x509_csr(DER))


def test_pss_parameters_are_taken_at_their_word(tmp_path: Path) -> None:
    options = ("-sha256", *PSS, "-sigopt", "rsa_pss_saltlen:digest")
    block = first_block(request(tmp_path, f"{RSA}1024", *options))
    assert block
    assert read_csr(wrapped(block.der)) == info_of(x509.load_der_x509_csr(block.der))
    with pytest.raises(InvalidCSRError, match=f"^{SIGNATURE}$"):
        read_csr(wrapped(with_other_salt_length(block.der)))


def test_nothing_but_the_key_is_looked_at(tmp_path: Path) -> None:
    garbled = ("-addext", "subjectAltName=DER:ffff", "-addext", "basicConstraints=critical,CA:TRUE")
    pem = request(tmp_path, "ED25519", *garbled)
    with pytest.raises(ValueError, match="parsing"):
        _ = x509.load_pem_x509_csr(pem).extensions
    assert read_csr(pem)


def algorithm(*fields: bytes) -> bytes:
    return encode(Tag.SEQUENCE, *fields)


def unsigned(key_info: bytes, signature_algorithm: bytes) -> bytes:
    fields = encode(Tag.SEQUENCE, encode_integer(0), encode(Tag.SEQUENCE), key_info)
    der = encode(Tag.SEQUENCE, fields, signature_algorithm, encode_bit_string(bytes(128)))
    return write_block("CERTIFICATE REQUEST", der)


def with_pss(hashing: bytes, mask: bytes) -> bytes:
    """A request whose signature algorithm is PSS with these identifiers."""
    parameters = [encode(context(0, constructed=True), hashing), encode(context(1, constructed=True), mask)]
    pss = algorithm(encode_object_identifier("1.2.840.113549.1.1.10"), encode(Tag.SEQUENCE, *parameters))
    return unsigned(public_key_info(small_rsa().public_key()), pss)


LONG_OID = encode(Tag.OBJECT_IDENTIFIER, b"\x01" * 11_000)
CUT_OID = encode(Tag.OBJECT_IDENTIFIER, b"\x01" * 11_000 + b"\x81")
ED25519 = algorithm(encode_object_identifier("1.3.101.112"))
EC_OID = encode_object_identifier("1.2.840.10045.2.1")
SHA256 = algorithm(encode_object_identifier("2.16.840.1.101.3.4.2.1"))


@pytest.mark.parametrize(
    ("pem", "message"),
    [
        (unsigned(encode(Tag.SEQUENCE, algorithm(LONG_OID), encode_bit_string(b"")), ED25519), SIGNATURE),
        (unsigned(encode(Tag.SEQUENCE, algorithm(EC_OID, LONG_OID), encode_bit_string(b"")), ED25519), CURVE),
        (unsigned(encode(Tag.SEQUENCE, algorithm(CUT_OID), encode_bit_string(b"")), ED25519), f"{PARSE}.* identifier"),
        (unsigned(public_key_info(new_key().public_key()), algorithm(LONG_OID)), SIGNATURE),
        (with_pss(algorithm(LONG_OID), SHA256), SIGNATURE),
        (with_pss(SHA256, algorithm(LONG_OID, SHA256)), SIGNATURE),
    ],
    ids=["key", "curve", "cut short", "signature", "PSS hash", "PSS mask"],
)
def test_thousands_of_arcs_are_not_written_out(pem: bytes, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would take longer than all other checks."""
    written, original = [], asn1._dotted

    def dotted(content: bytes, field: str) -> str:
        written.append(len(content))
        return original(content, field)

    monkeypatch.setattr("sentry_trio.ca.asn1._dotted", dotted)
    with pytest.raises(InvalidCSRError, match=f"^{message}$"):
        read_csr(pem)
    assert max(written, default=0) < 100


def refusal(read: Callable[[str], str]) -> str | None:
    try:
        read("x")
    except MalformedError as error:
        return str(error)
    return None


@given(st.lists(st.sampled_from([1, 0x7F, 0x80, 0x81, 0x87, 0x88, 0xFF]), max_size=9))
@settings(max_examples=500, deadline=None)
def test_arcs_that_are_not_written_out_are_checked(octets: list[int]) -> None:
    for content in (bytes(octets) + bytes(40), bytes(40) + bytes(octets)):
        der = encode(Tag.OBJECT_IDENTIFIER, content)
        assert refusal(Reader(der).algorithm) == refusal(Reader(der).object_identifier)


def test_identifiers_that_a_stranger_chooses_are_not_kept_in_memory() -> None:
    block = first_block(csr_pem())
    assert block is not None
    info = (
        x509.load_der_x509_csr(block.der)
        .public_key()
        .public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    fields = encode(Tag.SEQUENCE, encode_integer(0), encode(Tag.SEQUENCE), info)
    tracemalloc.start()
    try:
        for number in range(50):
            # Two thousand arcs, other ones in each request.
            oid = encode(Tag.OBJECT_IDENTIFIER, bytes((1, number)) + b"\x7f" * 2_000)
            algorithm = encode(Tag.SEQUENCE, oid)
            der = encode(Tag.SEQUENCE, fields, algorithm, encode_bit_string(b"\0"))
            with pytest.raises(InvalidCSRError, match="invalid signature"):
                read_csr(write_block("CERTIFICATE REQUEST", der))
        gc.collect()
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 100 * 1024

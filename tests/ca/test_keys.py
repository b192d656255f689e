"""Private keys: made, written and read."""

import base64

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa, x25519
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, NoEncryption, PrivateFormat

from sentry_trio.ca.keys import (
    KeyType,
    PrivateKey,
    generate_key,
    key_identifier,
    read_private_key,
    serving_key_type,
    write_private_key,
)
from sentry_trio.errors import InvalidBundleError
from testkit.ca.making import openssl, sha256, small_rsa

PEM, DER = serialization.Encoding.PEM, serialization.Encoding.DER

KINDS: dict[str, PrivateKey] = {
    "p224": ec.generate_private_key(ec.SECP224R1()),
    "p256": ec.generate_private_key(ec.SECP256R1()),
    "p384": ec.generate_private_key(ec.SECP384R1()),
    "p521": ec.generate_private_key(ec.SECP521R1()),
    "ed25519": ed25519.Ed25519PrivateKey.generate(),
    "rsa": small_rsa(),
}


@pytest.mark.parametrize("key", KINDS.values(), ids=KINDS)
def test_a_written_key_is_read_unchanged(key: PrivateKey) -> None:
    pem = write_private_key(key)
    assert pem.startswith(b"-----BEGIN PRIVATE KEY-----\n")
    assert write_private_key(read_private_key(pem)) == pem
    assert read_private_key(b"leading words\n" + pem + b"-----BEGIN").public_key() == key.public_key()


@pytest.mark.parametrize("kind", ["p224", "p256", "p384", "p521", "rsa"])
def test_keys_in_their_old_forms_are_read(kind: str) -> None:
    pem = KINDS[kind].private_bytes(PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    assert pem.startswith(b"-----BEGIN RSA" if kind == "rsa" else b"-----BEGIN EC")
    assert read_private_key(pem).public_key() == KINDS[kind].public_key()


@pytest.mark.parametrize("bits", ["1024", "3072"])
def test_rsa_keys_of_other_sizes_are_read(bits: str) -> None:
    pem = openssl("genpkey", "-quiet", "-algorithm", "RSA", "-pkeyopt", f"rsa_keygen_bits:{bits}")
    key = read_private_key(pem)
    assert isinstance(key, rsa.RSAPrivateKey)
    assert key.key_size == int(bits)


def test_only_the_first_block_counts() -> None:
    request = openssl("req", "-new", "-newkey", "ed25519", "-noenc", "-keyout", "/dev/null", "-subj", "/CN=app")
    with pytest.raises(InvalidBundleError, match=r"^unsupported block type CERTIFICATE REQUEST$"):
        read_private_key(request + write_private_key(KINDS["p256"]))


def test_parameters_before_a_key_are_passed_over() -> None:
    pem = openssl("ecparam", "-name", "prime256v1", "-genkey")
    assert pem.startswith(b"-----BEGIN EC PARAMETERS-----\n")
    key = read_private_key(pem)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert key.curve.name == "secp256r1"


def labelled(label: str, der: bytes) -> bytes:
    return f"-----BEGIN {label}-----\n{base64.b64encode(der).decode()}\n-----END {label}-----\n".encode()


def pkcs8(
    key: ed448.Ed448PrivateKey | x25519.X25519PrivateKey | ec.EllipticCurvePrivateKey | dsa.DSAPrivateKey,
) -> bytes:
    return key.private_bytes(PEM, PrivateFormat.PKCS8, NoEncryption())


SECRET = BestAvailableEncryption(b"secret")
ENCRYPTED = "the key is encrypted: decrypt it with `openssl pkey"
KIND_REFUSED = "block holds a key of an unsupported kind"


@pytest.mark.parametrize(
    ("pem", "message"),
    [
        (b"", "key is not PEM encoded"),
        (b"words", "key is not PEM encoded"),
        (KINDS["p256"].private_bytes(PEM, PrivateFormat.PKCS8, SECRET), ENCRYPTED),
        (KINDS["p256"].private_bytes(PEM, PrivateFormat.TraditionalOpenSSL, SECRET), ENCRYPTED),
        (KINDS["p256"].private_bytes(DER, PrivateFormat.PKCS8, NoEncryption()), "`openssl pkey -inform DER`"),
        (labelled("CERTIFICATE", b"\0"), "unsupported block type CERTIFICATE"),
        (labelled("PRIVATE KEY", b"\0"), 'the "PRIVATE KEY" block holds no key that can be read'),
        (labelled("PRIVATE KEY", b""), 'the "PRIVATE KEY" block holds no key that can be read'),
        (pkcs8(x25519.X25519PrivateKey.generate()), KIND_REFUSED),
        (pkcs8(ed448.Ed448PrivateKey.generate()), KIND_REFUSED),
        (pkcs8(dsa.generate_private_key(1024)), KIND_REFUSED),
        (pkcs8(ec.generate_private_key(ec.SECP256K1())), KIND_REFUSED),
        (
            labelled("RSA PRIVATE KEY", KINDS["p256"].private_bytes(DER, PrivateFormat.PKCS8, NoEncryption())),
            KIND_REFUSED,
        ),
    ],
)
def test_invalid_keys_are_rejected(pem: bytes, message: str) -> None:
    with pytest.raises(InvalidBundleError) as refused:
        read_private_key(pem)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("key_type", "serving"),
    [
        (KeyType.P256, KeyType.P256),
        (KeyType.P384, KeyType.P256),
        (KeyType.ED25519, KeyType.ED25519),
        (KeyType.RSA2048, KeyType.P256),
    ],
)
def test_kinds_that_are_made(key_type: KeyType, serving: KeyType) -> None:
    key = generate_key(key_type)
    match key:
        case ec.EllipticCurvePrivateKey():
            assert key_type.value == f"p{key.curve.key_size}"
        case rsa.RSAPrivateKey():
            assert key_type.value == f"rsa{key.key_size}"
            assert key.public_key().public_numbers().e == 65537
        case ed25519.Ed25519PrivateKey():
            assert key_type is KeyType.ED25519
    assert serving_key_type(key) is serving


@pytest.mark.parametrize("key", KINDS.values(), ids=KINDS)
def test_the_key_identifier_is_over_the_bit_string(key: PrivateKey) -> None:
    info = key.public_key().public_bytes(DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    identifier = key_identifier(info)
    # The bit string comes last and begins with a zero, its count of unused bits: a tail of the DER is what is hashed.
    assert len(identifier) == 20
    assert identifier in {sha256(info[start:])[:20] for start in range(len(info)) if info[start - 1] == 0}

"""Private and public keys of the kinds that Go's crypto/x509 uses: make, read, write (RFC 5280, 4.1.2.7)."""

import enum
import hashlib
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from typing import NamedTuple, TypeAlias, assert_never

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from sentry_trio.ca.asn1 import NULL, MalformedError, Reader, Tag, encode, encode_object_identifier
from sentry_trio.ca.parsing import parsing
from sentry_trio.ca.pem import Block, blocks, explain, is_encrypted, tidy
from sentry_trio.errors import InvalidBundleError

PrivateKey: TypeAlias = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

# The NIST curves that Go's crypto/x509 has, and so all Dapr components.
_P256_CURVE = "1.2.840.10045.3.1.7"
_CURVES: dict[str, ec.EllipticCurve] = {
    "1.3.132.0.33": ec.SECP224R1(),
    _P256_CURVE: ec.SECP256R1(),
    "1.3.132.0.34": ec.SECP384R1(),
    "1.3.132.0.35": ec.SECP521R1(),
}
_CURVE_NAMES = frozenset(curve.name for curve in _CURVES.values())

_LABELS: dict[str, tuple[type[PrivateKey], ...]] = {
    "EC PRIVATE KEY": (ec.EllipticCurvePrivateKey,),  # SEC 1
    "RSA PRIVATE KEY": (rsa.RSAPrivateKey,),  # PKCS#1
    "PRIVATE KEY": (ed25519.Ed25519PrivateKey, ec.EllipticCurvePrivateKey, rsa.RSAPrivateKey),  # PKCS#8
}


# The key that signs now, the next one and the one before, during a rotation.
_MOST_KEYS = 3


class KeyType(enum.Enum):
    """Kinds of keys that are generated; the values are those of the command line."""

    P256 = "p256"
    P384 = "p384"
    ED25519 = "ed25519"
    RSA2048 = "rsa2048"


def generate_key(key_type: KeyType) -> PrivateKey:
    """Makes a new private key."""
    match key_type:
        case KeyType.P256:
            return ec.generate_private_key(ec.SECP256R1())
        case KeyType.P384:
            return ec.generate_private_key(ec.SECP384R1())
        case KeyType.ED25519:
            return ed25519.Ed25519PrivateKey.generate()
        case KeyType.RSA2048:
            return rsa.generate_private_key(public_exponent=65537, key_size=2048)
        case _:
            assert_never(key_type)


def serving_key_type(issuer_key: PrivateKey) -> KeyType:
    """Returns the kind of key for this authority's own serving certificate.

    Ed25519 under an Ed25519 issuer, because verifiers of the chain know the algorithm. P-256 otherwise, which all TLS
    stacks accept; BoringSSL, for example, rejects Ed25519 serving certificates.
    """
    return KeyType.ED25519 if isinstance(issuer_key, ed25519.Ed25519PrivateKey) else KeyType.P256


def read_private_key(pem: bytes) -> PrivateKey:
    """Reads the issuer's private key from the first PEM block: SEC 1, PKCS#1 or PKCS#8, not encrypted.

    EC PARAMETERS before it, as `openssl ecparam -genkey` writes them, are skipped: the key names its curve itself.

    Raises:
        InvalidBundleError: there is no PEM block, its type is another one, or its key is not ECDSA on P-224, P-256,
            P-384 or P-521, RSA or Ed25519.
    """
    block = next(_key_blocks(pem), None)
    if block is None:
        raise InvalidBundleError(f"key is not PEM encoded: {explain(pem, convert='openssl pkey -inform DER')}")
    return _read_key(block)


def read_private_keys(pem: bytes) -> list[PrivateKey]:
    """Reads the first private key and up to two more; later blocks of other kinds are skipped.

    Raises:
        InvalidBundleError: the first block is not a private key; as `read_private_key`.
    """
    found = [read_private_key(pem)]
    for block in islice(_key_blocks(pem), 1, _MOST_KEYS):
        with suppress(InvalidBundleError):
            found.append(_read_key(block))
    return found


def _key_blocks(pem: bytes) -> Iterator[Block]:
    """Yields the blocks of a text that may contain keys.

    Raises:
        InvalidBundleError: the text has an encrypted key.
    """
    if is_encrypted(pem):
        raise InvalidBundleError("the key is encrypted: decrypt it with `openssl pkey -in KEY -out NEW`, mode 0600")
    return (block for block in blocks(tidy(pem)) if block.label != "EC PARAMETERS")


def _read_key(block: Block) -> PrivateKey:
    kinds = _LABELS.get(block.label)
    if kinds is None:
        raise InvalidBundleError(f"unsupported block type {block.shown}")
    with parsing(lambda why: InvalidBundleError(f'the "{block.label}" block holds no key that can be read: {why}')):
        key = serialization.load_der_private_key(block.der, password=None)
    return supported_key(key, block.label, kinds)


def supported_key(key: object, label: str, kinds: tuple[type[PrivateKey], ...] = _LABELS["PRIVATE KEY"]) -> PrivateKey:
    """Returns a private key of a supported kind.

    Args:
        key: key from a library.
        label: label of its PEM block.
        kinds: kinds that this block may contain.

    Raises:
        InvalidBundleError: its kind is another one.
    """
    if not isinstance(key, kinds) or (
        isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name not in _CURVE_NAMES
    ):
        raise InvalidBundleError(
            f'the "{label}" block holds a key of an unsupported kind; RSA, Ed25519 and the curves P-224, P-256, '
            "P-384 and P-521 are supported"
        )
    return key


def write_private_key(key: PrivateKey) -> bytes:
    """Returns a private key as PKCS#8 PEM, not encrypted."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


PublicKey: TypeAlias = ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey | rsa.RSAPublicKey

_RSA = "1.2.840.113549.1.1.1"
_EC = "1.2.840.10045.2.1"
ED25519 = "1.3.101.112"
_UNCOMPRESSED = 0x04
# The SubjectPublicKeyInfo of a key on P-256, up to the first octet of the point.
_P256 = (
    b"\x30\x59"
    + encode(Tag.SEQUENCE, encode_object_identifier(_EC), encode_object_identifier(_P256_CURVE))
    + b"\x03\x42\x00\x04"
)
_P256_LENGTH = len(_P256) + 64


class ReadKey(NamedTuple):
    """Key, and its SubjectPublicKeyInfo in the one encoding that DER has for it.

    Attributes:
        key: the key, or None if Go does not verify with keys of its kind: DSA, X25519, RSA bound to PSS and others.
        info: the structure with tag and length. Go ignores bytes behind the fields of a sequence. They are omitted,
            because a certificate must not carry arbitrary bytes of a client.
    """

    key: PublicKey | None
    info: bytes


def read_public_key(info: bytes) -> ReadKey:
    """Reads a SubjectPublicKeyInfo.

    Args:
        info: the structure with tag and length.

    Raises:
        MalformedError: it cannot be read, or is a key that Go rejects: on another curve, as a compressed point, RSA
            without the NULL parameter.
    """
    try:
        if info.startswith(_P256) and len(info) == _P256_LENGTH:
            # Fast path for the form that nearly all clients send, which is canonical.
            point = info[len(_P256) - 1 :]
            return ReadKey(ec.EllipticCurvePublicKey.from_encoded_point(_CURVES[_P256_CURVE], point), info)
        key, is_exact = _read(info)
    except MalformedError:
        raise
    except ValueError as error:
        raise MalformedError(f"the public key is not valid: {' '.join(str(error).split())}") from error
    return ReadKey(key, info if key is None or is_exact else public_key_info(key))


def _read(info: bytes) -> tuple[PublicKey | None, bool]:
    """Returns the key, and true if its structure has nothing else."""
    reader = Reader(info).inside("subjectPublicKeyInfo")
    algorithm = reader.inside("the algorithm of the public key")
    kind = algorithm.algorithm("the algorithm of the public key")
    parameters = algorithm.element("the parameters of the public key") if algorithm else b""
    bits, unused = reader.bit_string("the public key")
    if unused and kind in (_EC, _RSA, ED25519):
        # Go shifts these keys to the right, which no tool intends.
        raise MalformedError("the public key has unused bits")
    is_exact = not (algorithm or reader)
    if kind == _EC:
        return _read_ec(parameters, bits), is_exact
    if kind == _RSA:
        return _read_rsa(parameters, bits), False
    if kind == ED25519:
        return _read_ed25519(parameters, bits), is_exact
    return None, is_exact


def key_identifier(info: bytes) -> bytes:
    """Returns the leftmost 160 bits of the SHA-256 over the key's bit string (RFC 7093, 2, method 1), as Go 1.25 does.

    Args:
        info: a SubjectPublicKeyInfo with tag and length.
    """
    reader = Reader(info).inside("subjectPublicKeyInfo")
    reader.element("the algorithm of the public key")
    return hashlib.sha256(reader.octets_of_bits("the public key")).digest()[:20]


def _read_ec(parameters: bytes, point: bytes) -> PublicKey:
    curve = _CURVES.get(Reader(parameters).algorithm("the curve of the public key"))
    if curve is None:
        raise MalformedError("x509: unsupported elliptic curve")
    if not point or point[0] != _UNCOMPRESSED:
        raise MalformedError("the public key is not an uncompressed point")
    return ec.EllipticCurvePublicKey.from_encoded_point(curve, point)


def _read_rsa(parameters: bytes, content: bytes) -> PublicKey:
    if parameters != NULL:
        raise MalformedError("x509: RSA key missing NULL parameters")
    numbers = Reader(content).inside("the RSA key")
    modulus, exponent = numbers.integer("the RSA modulus"), numbers.integer("the RSA exponent")
    if modulus <= 0 or not 0 < exponent < 1 << 63:
        raise MalformedError("the RSA modulus or exponent is out of bounds")
    return rsa.RSAPublicNumbers(exponent, modulus).public_key()


def _read_ed25519(parameters: bytes, content: bytes) -> PublicKey:
    if parameters:
        raise MalformedError("x509: Ed25519 key encoded with illegal parameters")
    return ed25519.Ed25519PublicKey.from_public_bytes(content)


def public_key_info(key: PublicKey) -> bytes:
    """Returns the SubjectPublicKeyInfo of a key, with tag and length."""
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)

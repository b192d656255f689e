"""Private keys: which kinds there are, how they are made, read, written and what they sign with."""

import enum
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from typing import TypeAlias, assert_never

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from sentry_trio.ca.parsing import parsing
from sentry_trio.ca.pem import Block, blocks
from sentry_trio.ca.pem_text import explain, is_encrypted, tidy
from sentry_trio.errors import InvalidBundleError

PrivateKey: TypeAlias = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

# The NIST curves that Go's crypto/x509 has, and so all Dapr components.
_CURVES = (ec.SECP224R1, ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)

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
    """Make a new private key."""
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
    """The kind of key for this authority's own serving certificate.

    Ed25519 under an Ed25519 issuer: who verifies the chain knows the algorithm. P-256 otherwise, which all TLS stacks
    take; BoringSSL's, for one, refuses Ed25519 serving certificates.
    """
    return KeyType.ED25519 if isinstance(issuer_key, ed25519.Ed25519PrivateKey) else KeyType.P256


def read_private_key(pem: bytes) -> PrivateKey:
    """Reads the issuer's private key from the first PEM block: SEC 1, PKCS#1 or PKCS#8, not encrypted.

    EC PARAMETERS before it, as `openssl ecparam -genkey` writes them, are skipped: the key names its curve itself.

    Raises:
        InvalidBundleError: there is no PEM block, it is of another type, or it holds no key on P-224, P-256, P-384 or
            P-521, no RSA key and no Ed25519 key.
    """
    block = next(_key_blocks(pem), None)
    if block is None:
        raise InvalidBundleError(f"key is not PEM encoded: {explain(pem, convert='openssl pkey -inform DER')}")
    return _read_key(block)


def read_private_keys(pem: bytes) -> list[PrivateKey]:
    """Read the first private key and up to two more; later blocks of other kinds are skipped.

    Raises:
        InvalidBundleError: the first block is none; as `read_private_key`.
    """
    found = [read_private_key(pem)]
    for block in islice(_key_blocks(pem), 1, _MOST_KEYS):
        with suppress(InvalidBundleError):
            found.append(_read_key(block))
    return found


def _key_blocks(pem: bytes) -> Iterator[Block]:
    """Yields the blocks of a text that may hold keys.

    Raises:
        InvalidBundleError: the text holds an encrypted key.
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
    if not isinstance(key, kinds) or (
        isinstance(key, ec.EllipticCurvePrivateKey) and not isinstance(key.curve, _CURVES)
    ):
        raise InvalidBundleError(
            f'the "{block.label}" block holds a key of an unsupported kind; RSA, Ed25519 and the curves P-224, P-256, '
            "P-384 and P-521 are supported"
        )
    return key


def write_private_key(key: PrivateKey) -> bytes:
    """Write a private key as PKCS#8 PEM, not encrypted."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )

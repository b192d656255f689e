"""Private key of a root that is kept, for later issuers and cross-certificates. Pure.

The text before the PEM block names the root. So a key that nothing needs any more is recognized without its passphrase,
and a file of that name that others have written is not taken for one.
"""

import re
import secrets
from typing import Final

from cryptography.hazmat.primitives import padding, serialization
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from sentry_trio.ca.asn1 import Tag, encode, encode_integer, encode_object_identifier
from sentry_trio.ca.certificates import Certificate, fingerprint
from sentry_trio.ca.keys import PrivateKey, public_key_info, read_encrypted_key, read_private_key, write_private_key
from sentry_trio.ca.pem import is_encrypted, write_block
from sentry_trio.errors import InvalidBundleError, RootKeyError

_NAMED: Final = re.compile(rb"\A\s*root key of SHA-256 ([0-9a-f]{64})\r?\n")
_PBES2, _SCRYPT, _AES_256_CBC = "1.2.840.113549.1.5.13", "1.3.6.1.4.1.11591.4.11", "2.16.840.1.101.3.4.1.42"
_COST, _BLOCK_SIZE, _PARALLEL = 2**14, 8, 1  # 16 MiB for each guess; OpenSSL reads no more than that
_OCTETS: Final = 16  # of salt and initialization vector


def write_root_key(key: PrivateKey, root: Certificate, passphrase: bytes | None) -> bytes:
    """Returns a root's key as PEM: PKCS#8, encrypted if there is a passphrase (PBES2, RFC 8018; scrypt, RFC 7914).

    Args:
        key: the key.
        root: the root, which the text names.
        passphrase: encrypts the key; None to leave it unencrypted.
    """
    name = f"root key of SHA-256 {fingerprint(root)}\n".encode()
    if passphrase is None:
        return name + write_private_key(key)
    return name + write_block("ENCRYPTED PRIVATE KEY", _sealed(key, passphrase))


def named_root(content: bytes) -> str | None:
    """Returns the fingerprint of the root that a stored key names; None if it names none, as others have written it."""
    found = _NAMED.match(content)
    return None if found is None else found[1].decode()


def read_root_key(content: bytes, root: Certificate, passphrase: bytes | None) -> PrivateKey:
    """Reads the key of a root.

    Args:
        content: PEM, with or without a text before it.
        root: the root.
        passphrase: decrypts the key, if it is encrypted.

    Raises:
        RootKeyError: the key cannot be read or decrypted, or is not that of the root.
    """
    try:
        key = _read(content, passphrase)
    except InvalidBundleError as error:
        raise RootKeyError(f"the root key cannot be used: {error}") from error
    if public_key_info(key.public_key()) != root.public_key_info:
        raise RootKeyError(f"the root key is not that of the root with SHA-256 {fingerprint(root)}")
    return key


def _read(content: bytes, passphrase: bytes | None) -> PrivateKey:
    if not is_encrypted(content):
        return read_private_key(content)
    if passphrase is None:
        raise RootKeyError("the root key is encrypted: set --ca-root-key-passphrase-file")
    return read_encrypted_key(content, passphrase)


def _sealed(key: PrivateKey, passphrase: bytes) -> bytes:
    """Returns an EncryptedPrivateKeyInfo; cryptography writes these with PBKDF2 only."""
    salt, vector = secrets.token_bytes(_OCTETS), secrets.token_bytes(_OCTETS)
    derived = Scrypt(salt=salt, length=32, n=_COST, r=_BLOCK_SIZE, p=_PARALLEL).derive(passphrase)
    plain = key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    padder = padding.PKCS7(algorithms.AES.block_size).padder()
    encryptor = Cipher(algorithms.AES(derived), modes.CBC(vector)).encryptor()
    encrypted = encryptor.update(padder.update(plain) + padder.finalize()) + encryptor.finalize()
    numbers = (encode_integer(each) for each in (_COST, _BLOCK_SIZE, _PARALLEL))
    derivation = _algorithm(_SCRYPT, encode(Tag.SEQUENCE, encode(Tag.OCTET_STRING, salt), *numbers))
    encryption = _algorithm(_AES_256_CBC, encode(Tag.OCTET_STRING, vector))
    scheme = _algorithm(_PBES2, encode(Tag.SEQUENCE, derivation, encryption))
    return encode(Tag.SEQUENCE, scheme, encode(Tag.OCTET_STRING, encrypted))


def _algorithm(identifier: str, parameters: bytes) -> bytes:
    return encode(Tag.SEQUENCE, encode_object_identifier(identifier), parameters)

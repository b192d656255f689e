"""Private key of a root that is kept, for later issuers and cross-certificates. Pure.

The text before the PEM block names the root. So an unneeded key is recognized without its passphrase, and a file of
others with that name is not mistaken for one. Encrypted keys are PKCS#8: PBES2 (RFC 8018) with
scrypt (RFC 7914) and AES-256.
"""

import re
import secrets
from typing import Final

from cryptography.hazmat.primitives import padding, serialization
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from sentry_trio.ca.asn1 import Reader, Tag, encode, encode_integer, encode_object_identifier
from sentry_trio.ca.certificates import Certificate, fingerprint
from sentry_trio.ca.keys import PrivateKey, public_key_info, read_private_key, supported_key, write_private_key
from sentry_trio.ca.parsing import parsing
from sentry_trio.ca.pem import blocks, is_encrypted, tidy, write_block
from sentry_trio.errors import InvalidBundleError, RootKeyError

_NAMED: Final = re.compile(rb"\A\s*root key of SHA-256 ([0-9a-f]{64})\r?\n")
_LABEL: Final = "ENCRYPTED PRIVATE KEY"
_PBES2, _SCRYPT, _AES_256_CBC = "1.2.840.113549.1.5.13", "1.3.6.1.4.1.11591.4.11", "2.16.840.1.101.3.4.1.42"
_COST, _BLOCK_SIZE, _PARALLEL = 2**14, 8, 1  # 16 MiB for each guess; OpenSSL's commands read no more than 32 MiB
_OCTETS: Final = 16  # of salt and initialization vector
_MOST_MEMORY: Final = 32 * 1024 * 1024
_MOST_BLOCKS: Final = 2**20  # that scrypt mixes: about a second
_MOST_ITERATIONS: Final = 2_000_000  # of PBKDF2: about a second


def write_root_key(key: PrivateKey, root: Certificate, passphrase: bytes | None) -> bytes:
    """Returns a root's key as PEM: PKCS#8, encrypted if there is a passphrase.

    Args:
        key: the key.
        root: the root, which the text names.
        passphrase: encrypts the key; None to leave it unencrypted.
    """
    name = f"root key of SHA-256 {fingerprint(root)}\n".encode()
    return name + (write_private_key(key) if passphrase is None else _encrypt_key(key, passphrase))


def named_root(content: bytes) -> str | None:
    """Returns the fingerprint of the root that a stored key names; None if there is none, as in a key of others."""
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
    return _decrypt_key(content, passphrase)


def _encrypt_key(key: PrivateKey, passphrase: bytes) -> bytes:
    """Returns a private key as PEM, encrypted; cryptography writes these with PBKDF2 only."""
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
    return write_block(_LABEL, encode(Tag.SEQUENCE, scheme, encode(Tag.OCTET_STRING, encrypted)))


def _decrypt_key(pem: bytes, passphrase: bytes) -> PrivateKey:
    """Reads the first encrypted private key of a text: PKCS#8, or else OpenSSL's older form.

    Raises:
        InvalidBundleError: the passphrase is wrong, the key is damaged or of an unsupported kind, or it needs more than
            32 MiB or some seconds.
    """
    with parsing(lambda _why: InvalidBundleError("the passphrase is wrong, or the key is damaged")):
        if _LABEL.encode() not in pem:
            key = serialization.load_pem_private_key(pem, passphrase)
        else:
            der = next((each.der for each in blocks(tidy(pem)) if each.label == _LABEL), b"")
            _check_cost(der)
            key = serialization.load_der_private_key(der, passphrase)
    return supported_key(key, _LABEL)


def _check_cost(der: bytes) -> None:
    """Checks that a key can be decrypted with little memory and time, before decryption.

    Raises:
        InvalidBundleError: it needs more.
        MalformedError: it cannot be read.
    """
    scheme = Reader(der).inside("the encrypted key").inside("the encryption")
    kind, parameters = scheme.object_identifier("the encryption"), scheme.inside("the encryption's parameters")
    if kind == _PBES2:
        derivation = parameters.inside("the key derivation")
        kind, parameters = derivation.object_identifier("the derivation"), derivation.inside("its parameters")
    parameters.element("the salt")
    if kind == _SCRYPT:
        cost, size, parallel = (parameters.integer(f"scrypt's {name}") for name in ("cost", "block size", "parallel"))
        is_cheap = 128 * cost * size <= _MOST_MEMORY and 128 * size * parallel <= _MOST_MEMORY
        is_cheap = is_cheap and cost * size * parallel <= _MOST_BLOCKS
    else:
        is_cheap = parameters.integer("the number of iterations") <= _MOST_ITERATIONS
    if not is_cheap:
        raise InvalidBundleError(
            "it takes too much memory or time to decrypt: encrypt it again with `openssl pkcs8 -topk8 -scrypt`"
        )


def _algorithm(identifier: str, parameters: bytes) -> bytes:
    return encode(Tag.SEQUENCE, encode_object_identifier(identifier), parameters)

"""Private key of a root that is kept, for later issuers and cross-certificates. Pure.

The text before the PEM block names the root. So a key that nothing needs any more is recognized without its passphrase,
and a file of that name that others have written is not taken for one.
"""

import re
from typing import Final

from sentry_trio.ca.certificates import Certificate, fingerprint
from sentry_trio.ca.key_encryption import decrypt_key, encrypt_key
from sentry_trio.ca.keys import PrivateKey, public_key_info, read_private_key, write_private_key
from sentry_trio.ca.pem import is_encrypted
from sentry_trio.errors import InvalidBundleError, RootKeyError

_NAMED: Final = re.compile(rb"\A\s*root key of SHA-256 ([0-9a-f]{64})\r?\n")


def write_root_key(key: PrivateKey, root: Certificate, passphrase: bytes | None) -> bytes:
    """Returns a root's key as PEM: PKCS#8, encrypted if there is a passphrase; see `encrypt_key`.

    Args:
        key: the key.
        root: the root, which the text names.
        passphrase: encrypts the key; None to leave it unencrypted.
    """
    name = f"root key of SHA-256 {fingerprint(root)}\n".encode()
    return name + (write_private_key(key) if passphrase is None else encrypt_key(key, passphrase))


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
    return decrypt_key(content, passphrase)

"""Backups of a certificate authority: all stored parts in one file, encrypted by a passphrase."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from sentry_trio.discreet import Discreet
from sentry_trio.errors import Part, SentryError

LIMIT: Final = 16 * 1024 * 1024
"""Largest backup that is read, in bytes."""

_MAGIC: Final = b"sentry-trio-backup-1\n"
_SALT: Final = 16
_NONCE: Final = 12
_COST: Final = 2**15  # 32 MiB and about 0.1 s for each guess


class BackupError(SentryError):
    """A backup that cannot be written or read."""


class _Content(Discreet, frozen=True):
    """Decrypted content: parts by the names of `Part`."""

    UNSHOWN = frozenset({"parts"})

    parts: Mapping[str, bytes]
    version: Literal[1] = 1


def seal(parts: Mapping[Part, bytes], passphrase: bytes) -> bytes:
    """Encrypts parts: AES-256-GCM with a key that scrypt (RFC 7914) derives from the passphrase and a new salt."""
    salt, nonce = os.urandom(_SALT), os.urandom(_NONCE)
    content = msgspec.json.encode(_Content({part.name: content for part, content in parts.items()}))
    return _MAGIC + salt + nonce + AESGCM(_key(passphrase, salt)).encrypt(nonce, content, _MAGIC)


def unseal(sealed: bytes, passphrase: bytes) -> dict[Part, bytes]:
    """Decrypts parts.

    Raises:
        BackupError: the content is not a backup, it was changed, or the passphrase is wrong.
    """
    head = len(_MAGIC) + _SALT
    if not sealed.startswith(_MAGIC) or len(sealed) < head + _NONCE:
        raise BackupError("not a backup of sentry-trio")
    salt, nonce = sealed[len(_MAGIC) : head], sealed[head : head + _NONCE]
    try:
        content = AESGCM(_key(passphrase, salt)).decrypt(nonce, sealed[head + _NONCE :], _MAGIC)
        found = msgspec.json.decode(content, type=_Content)
        return {Part[name]: part for name, part in found.parts.items()}
    except InvalidTag as error:
        raise BackupError("the passphrase is wrong, or the file was changed") from error
    except (msgspec.MsgspecError, KeyError) as error:
        raise BackupError("the backup was written by a later release of sentry-trio") from error


def write_new(path: Path, content: bytes) -> None:
    """Writes a file with mode 0600 that must not exist yet.

    Raises:
        BackupError: it exists, or cannot be written.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise BackupError(f"cannot write {path}: {error.strerror}") from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise BackupError(f"cannot write {path}: {error.strerror}") from error


def read_limited(path: Path) -> bytes:
    """Returns the content of a backup, or of a root key.

    Raises:
        BackupError: it cannot be read, or is larger than `LIMIT`.
    """
    try:
        with path.open("rb") as file:
            content = file.read(LIMIT + 1)
    except OSError as error:
        raise BackupError(f"cannot read {path}: {error.strerror}") from error
    if len(content) > LIMIT:
        raise BackupError(f"cannot read {path}: larger than {LIMIT} bytes")
    return content


def _key(passphrase: bytes, salt: bytes) -> bytes:
    return Scrypt(salt=salt, length=32, n=_COST, r=8, p=1).derive(passphrase)

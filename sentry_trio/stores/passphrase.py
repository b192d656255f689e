"""Passphrases in files."""

from pathlib import Path
from typing import Final

from sentry_trio.errors import StoreError
from sentry_trio.stores.atomic_files import os_reason

_LEAST: Final = 8
_LONGEST: Final = 4096


def read_passphrase(path: Path) -> bytes:
    """Returns the first line of a file, which must have 8 characters or more. Blocks.

    Raises:
        StoreError: the file cannot be read, or the line is too short.
    """
    try:
        with path.open("rb") as file:
            line = file.readline(_LONGEST).rstrip(b"\r\n")
    except OSError as error:
        raise StoreError(f"cannot read the passphrase file {path}: {os_reason(error)}") from error
    if len(line) < _LEAST:
        raise StoreError(f"the passphrase, the first line of {path}, must have at least {_LEAST} characters")
    return line

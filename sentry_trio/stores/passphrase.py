"""Passphrases in files."""

from pathlib import Path
from typing import Final

from sentry_trio.errors import StoreError
from sentry_trio.stores.atomic_files import FileOperations, Unreadable, os_reason
from sentry_trio.stores.permissions import check_passphrase_file

_LEAST: Final = 8
_LONGEST: Final = 4096


def read_passphrase(path: Path) -> bytes:
    """Returns the first line of a file or pipe, which must have 8 characters or more. Blocks until it is written.

    A file that every user can read is used with a warning.

    Raises:
        StoreError: the file cannot be read, or the line is too short.
    """
    try:
        with path.open("rb") as file:
            line = file.readline(_LONGEST)
    except OSError as error:
        raise _unreadable(path, os_reason(error)) from error
    check_passphrase_file(path)
    return _checked(line, path)


def read_passphrase_file(path: Path) -> bytes:
    """Returns the same of a regular file; never waits for a pipe's writer, for which a server would not start.

    Raises:
        StoreError: as `read_passphrase`; also if it is a pipe, or larger than 1 MiB.
    """
    content = FileOperations().read(path)
    if isinstance(content, bytes):
        return _checked(content.partition(b"\n")[0][:_LONGEST], path)
    raise _unreadable(path, content.reason if isinstance(content, Unreadable) else "no such file or directory")


def _checked(line: bytes, path: Path) -> bytes:
    passphrase = line.rstrip(b"\r\n")
    if len(passphrase) < _LEAST:
        raise StoreError(f"the passphrase, the first line of {path}, must have at least {_LEAST} characters")
    return passphrase


def _unreadable(path: Path, reason: str) -> StoreError:
    return StoreError(f"cannot read the passphrase file {path}: {reason}")

"""Replaces files of a directory as one set."""

import errno
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path

import msgspec


class FileContent(msgspec.Struct, frozen=True):
    """New content of a file.

    Attributes:
        content: all bytes.
        mode: its permissions.
    """

    content: bytes
    mode: int

    def __repr__(self) -> str:
        return f"FileContent({len(self.content)} bytes, mode={self.mode:o})"


def replace_files(directory: Path, files: Mapping[str, FileContent], *, stale: re.Pattern[str]) -> None:
    """Writes a set of files and removes stale files of a former set; creates the directory if it is missing.

    The former set stays unchanged until all new files are on the disk under temporary names.

    Args:
        directory: directory of the files.
        files: contents by name; the files are replaced in this order.
        stale: names of files that are removed if they are not among `files`.

    Raises:
        OSError: names the file.
    """
    directory.mkdir(parents=True, exist_ok=True)
    staged: dict[Path, Path] = {}
    try:
        for name, file in files.items():
            target = directory / name
            if target.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(target))
            staged[target] = _stage(target, file)
        # First, so that credentials of two identities are never in the directory at once.
        for path in list(directory.iterdir()):
            if stale.fullmatch(path.name) and path not in staged:
                path.unlink()
        for target, temporary in staged.items():
            temporary.replace(target)
    finally:
        for temporary in staged.values():
            temporary.unlink(missing_ok=True)


def _stage(target: Path, file: FileContent) -> Path:
    """Writes a temporary file beside its target, readable for its owner only until it is complete."""
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(file.content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.chmod(file.mode)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    return temporary

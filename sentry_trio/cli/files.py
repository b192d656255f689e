"""Replaces files of a directory as one set."""

import errno
import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class FileContent:
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
    """Writes files, and removes others that belonged to a former set. The directory is made if it is not there.

    Nothing of the former set is touched before all files are on the medium under temporary names.

    Args:
        directory: where they are.
        files: by their names; they are put in place in this order.
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
        # First, so that at no time a credential of one identity lies beside those of another.
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

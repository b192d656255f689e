"""Warns of private keys and passphrases that every user of the machine can read."""

import hashlib
import stat
from pathlib import Path
from typing import Final

import trio

from sentry_trio.telemetry.logs import get_logger

_log: Final = get_logger("dapr.sentry.files")


class KeyPermissions:
    """Checks the permissions of private key files, and warns once for each content of a file."""

    def __init__(self) -> None:
        self._checked: dict[Path, bytes] = {}

    async def check(self, path: Path, content: bytes) -> None:
        """Warns if every user can read or replace a file. Reading by its group is fine: Kubernetes' fsGroup needs it.

        Args:
            path: path of the file; symbolic links, as in volumes of Kubernetes, are followed.
            content: its content.

        Cancellation: at once.
        """
        digest = hashlib.sha256(content).digest()
        if self._checked.get(path) == digest:
            return
        self._checked[path] = digest
        mode = await trio.to_thread.run_sync(_open_mode, path, abandon_on_cancel=True)
        _warn(path, mode, "private key")


def check_passphrase_file(path: Path) -> None:
    """Warns if every user can read or replace a file with a passphrase; blocks."""
    _warn(path, _open_mode(path), "passphrase file")


def _warn(path: Path, mode: int | None, secret: str) -> None:
    if mode is not None:
        _log.warning(
            f"every user of this machine can read or replace the {secret} {path} (mode {mode:04o}): "
            "give it mode 0600, or 'defaultMode: 0400' if it is in a volume of Kubernetes"
        )


def _open_mode(path: Path) -> int | None:
    """The mode of a file that every user can reach and then read or write, else None."""
    try:
        real = path.resolve()
        found = real.stat().st_mode
        mode = stat.S_IMODE(found)
        # A terminal, as which every user opens another one, stores nothing.
        if stat.S_ISCHR(found) or not mode & (stat.S_IROTH | stat.S_IWOTH):
            return None
        return mode if all(parent.stat().st_mode & stat.S_IXOTH for parent in real.parents) else None
    except OSError:
        return None  # it was replaced meanwhile, and is read and checked again

"""The JWT signing key and its key set in two files: where standalone mode keeps them."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Final

import trio

from sentry_trio.ca.jwt_key import StoredJwtKey
from sentry_trio.errors import StoreError
from sentry_trio.stores.disk import Disk, Lock, Trouble, reason_of
from sentry_trio.stores.exchange import PATIENCE

_PASSES: Final = 5


class JwtFileStore:
    """A signing key and its key set, beside the trust bundle, which is never touched for them.

    Dapr Sentry 1.18 makes both anew when either is missing, and writes the trust bundle again with them. Here a key
    without a key set keeps its key: the set is composed of it.

    Args:
        key: path of the private key, PEM.
        jwks: path of the JSON Web Key Set.
        disk: the file operations; for tests.
        patience: seconds that a replacement waits for another process that is writing there.
    """

    def __init__(self, key: Path, jwks: Path, *, disk: Disk | None = None, patience: float = PATIENCE) -> None:
        self.key = key
        self.jwks = jwks
        self._patience = patience
        self._disk = disk or Disk()

    async def load(self, compose: Callable[[bytes], bytes]) -> StoredJwtKey | None:
        """Both as they stand, read until two readings agree; None where neither is there. Nothing is verified.

        Args:
            compose: makes the key set of a key that has none; it is written beside the key.

        Raises:
            StoreError: there is a key set and no key, or a file cannot be read or written.

        Cancellation: the reading runs in a thread and is waited for.
        """
        return await trio.to_thread.run_sync(partial(self._load, compose), abandon_on_cancel=False)

    async def replace(self, stored: StoredJwtKey, *, expected: StoredJwtKey) -> bool:
        """Puts both in the place of others, the key set first: it knows the keys before they sign.

        Compare and swap, against whoever else uses this class: nothing is written unless the files hold `expected`.

        Args:
            stored: what is to be there.
            expected: what is to be there until then.

        Returns:
            Whether they did.

        Raises:
            StoreError: a file cannot be read or written; the key set may have been written by then.

        Cancellation: not abandoned half-way.
        """
        swap = partial(self._replace, stored, expected)
        return await trio.to_thread.run_sync(swap, abandon_on_cancel=False)

    async def save(self, stored: StoredJwtKey) -> None:
        """Writes both, mode 0600, where neither is there; the key first, of which the key set can be made again.

        Raises:
            StoreError: a file cannot be written, or is there by now.

        Cancellation: not abandoned half-way.
        """
        await trio.to_thread.run_sync(partial(self._save, stored), abandon_on_cancel=False)

    def contents(self, stored: StoredJwtKey) -> Mapping[Path, bytes]:
        """What the files hold, by path."""
        return {self.key: stored.key, self.jwks: stored.jwks}

    def _load(self, compose: Callable[[bytes], bytes]) -> StoredJwtKey | None:
        key, jwks = self._read()
        for _ in range(_PASSES):
            again = self._read()
            if again == (key, jwks):
                break
            key, jwks = again
        else:
            raise StoreError(f"the JWT signing key keeps changing while it is read: {self.key}, {self.jwks}")
        if key is None and jwks is None:
            return None
        if key is None:
            raise StoreError(
                f"there is a JWKS {self.jwks} and no JWT signing key {self.key}: put the key back, or remove the JWKS "
                "to have both generated"
            )
        if jwks is None:
            jwks = compose(key)
            self._write(self.jwks, jwks)
        return StoredJwtKey(key, jwks)

    def _read(self) -> tuple[bytes | None, bytes | None]:
        return self._content(self.key, "JWT signing key"), self._content(self.jwks, "JWKS")

    def _content(self, path: Path, what: str) -> bytes | None:
        content = self._disk.read(path)
        if isinstance(content, Trouble):
            raise StoreError(f"error reading {what}: {path}: {content.reason}")
        return content

    def _save(self, stored: StoredJwtKey) -> None:
        self._write(self.key, stored.key)
        self._write(self.jwks, stored.jwks)

    def _replace(self, stored: StoredJwtKey, expected: StoredJwtKey) -> bool:
        for path in (self.jwks, self.key):
            if self._disk.is_link(path):
                raise StoreError(
                    f"failed to write file {path}: it is a symbolic link, whose owner would put the old content back"
                )
        with self._disk.lock(self.key.parent, patience=self._patience) as lock:
            if lock is Lock.TAKEN:
                raise StoreError(f"failed to write file {self.key}: another process is writing to {self.key.parent}")
            if self._read() != (expected.key, expected.jwks):
                return False
            if stored.jwks != expected.jwks:
                self._put(self.jwks, stored.jwks)
            if stored.key != expected.key:
                self._put(self.key, stored.key)
        return True

    def _write(self, path: Path, content: bytes) -> None:
        """Makes a file that is not there, whole or not at all."""
        if self._disk.exists(path):
            raise StoreError(f"failed to write file {path}: it has just been made by somebody else; start again")
        self._put(path, content)

    def _put(self, path: Path, content: bytes) -> None:
        """Puts a file there, whole or not at all."""
        temporary = path.with_name(f".{path.name}.sentry-trio-new")
        try:
            self._disk.unlink(temporary)  # of a crash
            descriptor = self._disk.create(temporary)
            try:
                self._disk.write(descriptor, content)
                self._disk.sync(descriptor)
            finally:
                self._disk.close(descriptor)
            self._disk.rename(temporary, path)
            self._disk.sync_directory(path.parent)
        except OSError as error:
            raise StoreError(f"failed to write file {path}: {reason_of(error)}") from error

"""The trust bundle in three files: where standalone mode keeps it."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import trio

from sentry_trio.ca.bundle import StoredBundle
from sentry_trio.stores.disk import Disk
from sentry_trio.stores.exchange import Exchange


class FileStore:
    """Trust anchors, issuer chain and issuer key in a file each, read and replaced as one set.

    Dapr Sentry 1.18 regenerates the whole certificate authority when any one file is missing, and writes by
    truncating, unsynced and keeping wide modes; here only an empty store counts as absent, a set survives a crash
    at any moment as the old or the new one, and what is written has mode 0600.

    Beside the files lie, only while a set is being replaced or after a crash, `.<name>.sentry-trio-new` and
    `.<key name>.sentry-trio-commit`; see `exchange`.

    Args:
        anchors: path of the trust anchors, PEM.
        chain: path of the issuer chain, PEM, signing certificate first.
        key: path of the issuer key, PEM.
        disk: the file operations; for tests.
    """

    def __init__(self, anchors: Path, chain: Path, key: Path, *, disk: Disk | None = None) -> None:
        self._paths = (anchors, chain, key)
        self._exchange = Exchange(anchors, chain, key, disk or Disk())

    async def load(self) -> StoredBundle | None:
        """Read the set as it stands; nothing is verified. Completes first what a crash of `save` has left.

        The three files are read until two readings agree, so an atomic swap by another writer is seen as a whole.
        A file may be up to 1 MiB. An empty file is present, and fails verification.

        Returns:
            The raw bytes, or None when none of the three files exists.

        Raises:
            IncompleteBundleError: one or two of the files are missing.
            StoreError: a file cannot be read, is no regular file, is too large or a dangling link (the texts begin
                as Dapr Sentry's do, e.g. ``failed to read issuer key:``); the files keep changing for about 0.7 s;
                or a crash and later edits have left a mixture.

        Cancellation: the reading runs in a thread and is waited for (well below a second on a local disk).
        """
        return await trio.to_thread.run_sync(self._exchange.read, abandon_on_cancel=False)

    async def save(self, bundle: StoredBundle) -> None:
        """Replace the set: the new one is on the medium when this returns, and before that the old or the new, whole.

        Symbolic links are not written through or replaced: whoever keeps them would put the old content back.
        Directories are not created. Another process that writes the same files is waited for, up to 5 s.

        Args:
            bundle: the set to keep.

        Raises:
            StoreError: ``failed to store CA bundle: failed to write file <path>: <reason>``. The set is the old one,
                or, if the failure came after the commit, the new one: `load` tells.

        Cancellation: not abandoned half-way. Once begun it is finished, and returns normally even when cancelled
        meanwhile.
        """
        await trio.to_thread.run_sync(partial(self._exchange.write, bundle), abandon_on_cancel=False)

    def contents(self, bundle: StoredBundle) -> Mapping[Path, bytes]:
        """What the files hold once `bundle` is stored, by path: what a watcher of the files should take as known."""
        return dict(zip(self._paths, (bundle.anchors, bundle.chain, bundle.key), strict=True))

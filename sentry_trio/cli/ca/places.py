"""Places of a trust bundle: a directory, or the Secret of a cluster with its pods."""

from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, TypeAlias

import msgspec

from sentry_trio.ca.certificates import Certificate
from sentry_trio.ca.parts import BUNDLE_AND_RENEWAL, Changes, Parts
from sentry_trio.cli.ca.flags import CaOptions
from sentry_trio.errors import Fault, InvalidBundleError, Part, StoreError, UnreadablePartError
from sentry_trio.kube.uptake import Uptake
from sentry_trio.stores.directory import DirectoryStore
from sentry_trio.stores.part_store import PartStore, bundle_paths

HeldAnchors: TypeAlias = Mapping[frozenset[str], tuple[str, ...]]
"""Sets of roots that sidecars cannot exchange, by fingerprints, with the pods that hold each."""


_FAULTS_OF_TIME: Final = frozenset({Fault.EXPIRED, Fault.NOT_YET_VALID})
_REMEDY: Final = "put the previous content back, or restore a backup with 'sentry-trio ca restore --yes'"


class Sidecars(msgspec.Struct, frozen=True):
    """Sidecars of running pods.

    Attributes:
        uptake: the roots made here that they hold.
        held: the sets of roots that they hold.
        roots: certificates of these sets.
    """

    uptake: Uptake
    held: HeldAnchors
    roots: tuple[Certificate, ...]


class Place:
    """Place of a trust bundle and of the sidecars that use it: files on this machine by default.

    Args:
        store: the parts.

    Attributes:
        name: name for people.
    """

    def __init__(self, store: PartStore) -> None:
        self._store = store
        self.name = store.place

    async def read(self) -> Parts:
        """Returns the stored parts of the trust bundle and of its renewal, from one moment.

        Raises:
            SentryError: there is no trust bundle, or it cannot be read.
        """
        if stored := await self._store.read_bundle():
            return stored
        raise StoreError(f"there is no trust bundle in {self.name}")

    async def read_any(self) -> Parts:
        """Returns the stored parts, complete or not.

        Raises:
            SentryError: they cannot be read.
        """
        try:
            return await self._store.read(BUNDLE_AND_RENEWAL)
        except UnreadablePartError as error:
            raise StoreError(
                f"nothing was written: {error}; make it readable, or move it elsewhere, and try again"
            ) from error

    def unreadable(self) -> Collection[str]:
        """Returns the reasons why the last `read` left out parts of the renewal."""
        return ()

    def located(self, error: InvalidBundleError) -> InvalidBundleError:
        """Returns an error of the stored trust bundle with the places of the parts at fault, and the remedy."""
        if not error.parts:
            return error
        remedy = "" if error.fault in _FAULTS_OF_TIME else f"; {_REMEDY}"
        text = f"{error} ({self._store.locate(*error.parts)}){remedy}"
        return InvalidBundleError(text, *error.parts, fault=error.fault)

    async def write(self, changes: Changes, stored: Parts) -> bool:
        """Writes changes that were decided on `stored`; returns false if something else is stored now.

        Raises:
            SentryError: nothing could be written.
        """
        return await self._store.replace(changes, expected={part: stored.get(part) for part in BUNDLE_AND_RENEWAL})

    async def is_published(self, stored: Parts) -> bool:  # noqa: ARG002  # readers follow the file itself
        """Returns whether clients that follow the trust anchors get the stored ones."""
        return True

    async def managed_by(self) -> str | None:
        """Returns the name of a program that manages the trust bundle, e.g. `cert-manager`; None if there is none."""
        return None

    def clock_offset(self) -> timedelta | None:
        """Returns the lead of the relevant clock over this machine's; None if there is none."""
        return None

    async def sidecars(
        self,
        roots: Mapping[str, datetime],  # noqa: ARG002
        published_at: datetime | None,  # noqa: ARG002
        now: datetime,  # noqa: ARG002
    ) -> Sidecars | None:
        """Counts running sidecars by the roots that they hold; None if nothing is known of them. See `measure`."""
        return None


class _Directory(Place):
    """Files, of which some beside the trust bundle may be unreadable."""

    def __init__(self, store: DirectoryStore) -> None:
        super().__init__(store)
        self._files = store

    def unreadable(self) -> Collection[str]:
        return self._files.unreadable


@asynccontextmanager
async def open_place(options: CaOptions, environ: Mapping[str, str]) -> AsyncIterator[Place]:
    """Opens the place that the flags name; a session of the Kubernetes API lasts as long as the block.

    Raises:
        InvalidConfigurationError: there is no usable configuration for the Kubernetes API.
        InvalidBundleError: one in the block, with the places of the parts at fault.
    """
    async with _opened(options, environ) as place:
        try:
            yield place
        except InvalidBundleError as error:
            raise place.located(error) from error


@asynccontextmanager
async def _opened(options: CaOptions, environ: Mapping[str, str]) -> AsyncIterator[Place]:
    if not options.in_cluster:
        yield open_directory(options.issuer_credentials, options)
        return
    from sentry_trio.cli.ca.cluster import open_cluster

    async with open_cluster(options, _paths(options.issuer_credentials, options), environ) as place:
        yield place


def open_directory(directory: Path, options: CaOptions) -> Place:
    """Returns a directory as a place; the files in it have the names of the flags."""
    return _Directory(DirectoryStore(_paths(directory, options)))


def _paths(directory: Path, options: CaOptions) -> dict[Part, Path]:
    return bundle_paths(
        directory,
        anchors=options.issuer_ca_filename,
        chain=options.issuer_certificate_filename,
        key=options.issuer_key_filename,
    )

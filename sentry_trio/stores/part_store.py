"""Interface of the stores of named parts, and names that both have in common."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final, Protocol

import msgspec

from sentry_trio.ca.parts import BUNDLE, Changes, Parts
from sentry_trio.errors import Part

RENEWAL_NAMES: Final[Mapping[Part, str]] = {
    Part.NEXT_CHAIN: "issuer.next.crt",
    Part.NEXT_KEY: "issuer.next.key",
    Part.PREVIOUS_ANCHORS: "previous-ca.crt",
    Part.PREVIOUS_CHAIN: "previous-issuer.crt",
    Part.PREVIOUS_KEY: "previous-issuer.key",
    Part.REJECTED_CHAIN: "rejected-issuer.next.crt",
    Part.REJECTED_KEY: "rejected-issuer.next.key",
    Part.ROOT_KEY: "root.key",
    Part.NEXT_ROOT_KEY: "root.next.key",
    Part.PREVIOUS_ROOT_KEY: "previous-root.key",
    Part.RECORD: "sentry-trio-rotation.json",
}
"""Names in a Secret of the parts that a renewal keeps; see `bundle_paths` for files."""


class PartStore(Protocol):
    """Store of parts that are read, compared and replaced as one. It verifies nothing.

    Attributes:
        place: names the store for people, e.g. `Secret dapr-system/dapr-trust-bundle`.
    """

    @property
    def place(self) -> str:
        """See the class."""
        ...

    async def read(self, parts: Collection[Part]) -> Parts:
        """Returns those of the parts that are stored, all from one moment. An empty part is present.

        Raises:
            SentryError: a part cannot be read.
        """

    async def read_bundle(self) -> Parts:
        """Returns the parts of the trust bundle and of its renewal, or nothing if none of them is stored.

        Raises:
            IncompleteBundleError: some are stored, but not all parts of the trust bundle. What a renewal has left
                counts: it belongs to an earlier certificate authority, which a new one must not replace unnoticed.
            SentryError: a part cannot be read, or the store has contents that a new trust bundle must not replace.
        """

    async def replace(self, changes: Changes, *, expected: Changes) -> bool:
        """Replaces parts as one, if the store holds the expected ones; other parts stay as they are.

        Args:
            changes: contents to store.
            expected: contents that must be stored before; other parts are not compared.

        Returns:
            True if `changes` are stored now, by this call or before it.

        Raises:
            SentryError: the parts cannot be read or written; they are then the old ones or the new, as one.
        """

    def locate(self, *parts: Part) -> str:
        """Names parts and where each is stored, for error texts."""

    def sources(self, parts: Collection[Part]) -> tuple[str, ...]:
        """Names the files or objects that hold these parts, for the log of a reload."""

    async def read_only_reason(self) -> str | None:
        """Returns the reason why this process can never write the trust bundle, e.g. a mounted volume; None if it can.

        Raises:
            SentryError: the store cannot be read.
        """


class PublicParts(msgspec.Struct, frozen=True):
    """The public parts of a stored trust bundle: two PEM texts, unread.

    Attributes:
        anchors: the trust anchors.
        chain: the issuer chain, signing certificate first.
    """

    anchors: bytes
    chain: bytes


def bundle_paths(directory: Path, *, anchors: str, chain: str, key: str) -> dict[Part, Path]:
    """Returns the path of each part of a trust bundle and of its renewal; an absolute name is a path itself.

    What a renewal keeps has the names that it has in a Secret, in the key's directory; the record's begins with a dot.
    """
    beside = (directory / key).parent
    return {
        Part.ANCHORS: directory / anchors,
        Part.CHAIN: directory / chain,
        Part.KEY: directory / key,
        **{part: beside / name for part, name in RENEWAL_NAMES.items()},
        Part.RECORD: beside / f".{RENEWAL_NAMES[Part.RECORD]}",
    }


async def fill(store: PartStore, new: Parts) -> tuple[Parts, bool]:
    """Stores a new trust bundle, unless another process is first: then its trust bundle counts.

    Returns:
        What the store holds now, and whether that is `new`.

    Raises:
        SentryError: as `PartStore.read_bundle` and `PartStore.replace`.
    """
    while True:
        if await store.replace(new, expected=dict.fromkeys(BUNDLE)):
            return new, True
        if present := await store.read_bundle():
            return present, False

"""Parts of the stored credentials, and those that belong together."""

from collections.abc import Mapping
from typing import Final, TypeAlias

from sentry_trio.ca.bundle import StoredBundle
from sentry_trio.errors import Part

Parts: TypeAlias = Mapping[Part, bytes]
"""Contents by part; a part that is not stored is omitted."""

Changes: TypeAlias = Mapping[Part, bytes | None]
"""Contents by part; None for a part that is not stored, or is to be removed."""

BUNDLE: Final[tuple[Part, ...]] = (Part.ANCHORS, Part.CHAIN, Part.KEY)
"""The trust bundle: all of these parts or none."""

NEXT: Final = (Part.NEXT_CHAIN, Part.NEXT_KEY)
"""Issuer of the next generation; its root is among the trust anchors."""

PREVIOUS: Final = (Part.PREVIOUS_ANCHORS, Part.PREVIOUS_CHAIN, Part.PREVIOUS_KEY)
"""The trust bundle of the previous generation."""

REJECTED: Final = (Part.REJECTED_CHAIN, Part.REJECTED_KEY)
"""A next issuer that does not fit."""

ROOT_KEYS: Final = (Part.ROOT_KEY, Part.NEXT_ROOT_KEY, Part.PREVIOUS_ROOT_KEY)
"""Keys of the current, next and previous root, if they are kept."""

KEYS_BESIDE: Final = (Part.NEXT_KEY, Part.PREVIOUS_KEY, Part.REJECTED_KEY, *ROOT_KEYS)
"""Private keys beside that of the trust bundle."""

RENEWAL: Final[tuple[Part, ...]] = (*NEXT, *PREVIOUS, *REJECTED, *ROOT_KEYS, Part.RECORD)
"""Parts that a renewal of the trust bundle keeps beside it."""

BUNDLE_AND_RENEWAL: Final[tuple[Part, ...]] = (*BUNDLE, *RENEWAL)

JWT_KEYS: Final = (Part.JWKS, Part.JWT_KEY)
"""The signing key of JWTs and its key set."""

PUBLIC: Final = (Part.ANCHORS, Part.CHAIN, Part.JWKS)
"""Parts without secrets that other programs read."""


def merged(parts: Parts, changes: Changes) -> dict[Part, bytes]:
    """Returns the stored parts after these changes."""
    return {part: content for part, content in {**parts, **changes}.items() if content is not None}


def bundle_of(parts: Parts) -> StoredBundle:
    """Returns the trust bundle among these parts."""
    return StoredBundle(*(parts[part] for part in BUNDLE))


def bundle_parts(bundle: StoredBundle) -> dict[Part, bytes]:
    """Returns the parts of a trust bundle."""
    return {Part.ANCHORS: bundle.anchors, Part.CHAIN: bundle.chain, Part.KEY: bundle.key}

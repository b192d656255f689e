"""Trust bundles in stores of parts."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from sentry_trio.ca.bundle import StoredBundle
from sentry_trio.ca.parts import BUNDLE, bundle_of, bundle_parts
from sentry_trio.errors import Part
from sentry_trio.stores.part_store import PartStore, fill
from sentry_trio.stores.secret import SecretStore

NAMES: Final = {
    Part.ANCHORS: "ca.crt",
    Part.CHAIN: "issuer.crt",
    Part.KEY: "issuer.key",
    Part.JWT_KEY: "jwt.key",
    Part.JWKS: "jwks.json",
}
"""File names, and keys of the Secret, by default."""


def by_part(files: Sequence[Path]) -> dict[Part, Path]:
    """The files of the trust bundle."""
    return dict(zip(BUNDLE, files, strict=True))


async def load(store: PartStore) -> StoredBundle | None:
    """The trust bundle that a store holds."""
    parts = await store.read_bundle()
    return bundle_of(parts) if parts else None


async def save(store: PartStore, bundle: StoredBundle) -> None:
    """Replaces any trust bundle."""
    assert await store.replace(bundle_parts(bundle), expected={})


async def create(store: PartStore, bundle: StoredBundle) -> StoredBundle:
    """Fills an empty store; returns the trust bundle that it holds then."""
    stored, is_ours = await fill(store, bundle_parts(bundle))
    assert is_ours == (bundle_of(stored) == bundle)
    return bundle_of(stored)


async def publish(store: SecretStore, bundle: StoredBundle) -> bool:
    """Publishes the trust anchors; returns true if the ConfigMap was changed."""
    return await store.publish(Part.ANCHORS, bundle_parts(bundle))

"""Trust bundles that take turns, and the two ways in which others put them into the watched directory."""

import itertools
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import TypeAlias

from cryptography.hazmat.primitives.asymmetric import ec

from sentry_trio.ca.bundle import StoredBundle, TrustBundle, verify
from sentry_trio.ca.certificates import fingerprint
from sentry_trio.ca.generate import generate
from sentry_trio.ca.generation import next_bundle
from sentry_trio.ca.keys import KeyType
from testkit.authorities import SKEW, wall_clock
from testkit.ca.making import DAY, certificate, stored

ANCHORS, CHAIN, KEY = "ca.crt", "issuer.crt", "issuer.key"

Put: TypeAlias = Callable[[StoredBundle], None]
"""Puts a bundle in the place of the one before."""


def two_issuers() -> tuple[StoredBundle, StoredBundle]:
    """Two issuers under one root, so that a client trusts either, whichever run answers."""
    now = wall_clock()
    root_key, issuer_keys = _new_key(), (_new_key(), _new_key())
    root = certificate("root", root_key, not_before=now - timedelta(hours=1), not_after=now + timedelta(days=91))
    first, second = (
        stored(
            [root],
            [
                certificate(
                    f"issuer {number}",
                    key,
                    "root",
                    root_key,
                    path_length=0,
                    not_before=now - timedelta(hours=1),
                    not_after=now + timedelta(days=90),
                )
            ],
            key,
        )
        for number, key in enumerate(issuer_keys, start=1)
    )
    return first, second


def successor(bundle: StoredBundle) -> StoredBundle:
    """Another root and issuer, with the bridge: a bundle that is replaced by it cuts no client off."""
    return next_bundle(
        bundle,
        generate("localhost", "default", KeyType.P256, now=wall_clock(), allowed_clock_skew=SKEW, lifetime=365 * DAY),
        now=wall_clock(),
        allowed_clock_skew=SKEW,
        former_roots=(),
        anchors_kept=2,
    )


def _new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def verified(bundle: StoredBundle) -> TrustBundle:
    return verify(bundle, wall_clock())


def issuer_digest(bundle: StoredBundle) -> str:
    """The SHA-256 of the signing certificate."""
    return fingerprint(verified(bundle).issuer)


def contents(bundle: StoredBundle) -> dict[str, bytes]:
    return {ANCHORS: bundle.anchors, CHAIN: bundle.chain, KEY: bundle.key}


class KubeletVolume:
    """A mounted secret: the files are links through `..data`, which one rename turns to another directory."""

    def __init__(self, directory: Path, bundle: StoredBundle) -> None:
        self._directory = directory
        self._names = (directory / f"..{number}" for number in itertools.count())
        self(bundle)
        for name in contents(bundle):
            (directory / name).symlink_to(Path("..data", name))

    def __call__(self, bundle: StoredBundle) -> None:
        data, unborn, new = self._directory / "..data", self._directory / "..data_tmp", next(self._names)
        old = data.resolve() if data.is_symlink() else None
        new.mkdir()
        for name, content in contents(bundle).items():
            (new / name).write_bytes(content)
        unborn.symlink_to(new.name)
        unborn.rename(data)
        if old is not None:
            for name in contents(bundle):
                (old / name).unlink()
            old.rmdir()


class PlainFiles:
    """Three files, each replaced by a rename of its own: in between they do not belong together."""

    def __init__(self, directory: Path, bundle: StoredBundle) -> None:
        self._directory = directory
        self(bundle)

    def __call__(self, bundle: StoredBundle, *, meanwhile: Callable[[], None] = lambda: None) -> None:
        """Puts the bundle; calls `meanwhile` while chain and key do not match."""
        new = contents(bundle)
        for name in (ANCHORS, CHAIN):
            self._replace(name, new[name])
        meanwhile()
        self._replace(KEY, new[KEY])

    def _replace(self, name: str, content: bytes) -> None:
        unborn = self._directory / f".{name}.new"
        unborn.write_bytes(content)
        unborn.rename(self._directory / name)

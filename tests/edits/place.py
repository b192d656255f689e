"""Places of an authority's files, and edits of them."""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TypeAlias

from sentry_trio.ca.bundle import StoredBundle
from sentry_trio.telemetry.metrics import RestartFailure
from tests.edits.bundles import BETTER, GOOD

ANCHORS, CHAIN, KEY, CONFIG = "ca.crt", "issuer.crt", "issuer.key", "config.yaml"
CREDENTIALS = (ANCHORS, CHAIN, KEY)
GOOD_TTL, BETTER_TTL = timedelta(hours=2), timedelta(minutes=30)

BINARY = bytes(range(256)) * 8
HUGE = b"# comment\n" * (2 * 1024 * 1024 // 10)


def configuration(ttl: timedelta) -> bytes:
    return b"spec:\n  mtls:\n    workloadCertTTL: %ds\n" % ttl.total_seconds()


@dataclass(frozen=True)
class Place:
    """Files of one authority: a directory of credentials, and a configuration file beside it."""

    root: Path

    @property
    def credentials(self) -> Path:
        return self.root / "credentials"

    def path(self, name: str) -> Path:
        return self.root / name if name == CONFIG else self.credentials / name

    def clear(self, name: str) -> Path:
        """Removes everything there."""
        _remove(path := self.path(name))
        return path

    def put(self, bundle: StoredBundle, ttl: timedelta) -> None:
        """Makes everything good, whatever it was."""
        if self.credentials.is_symlink() or not self.credentials.is_dir():
            _remove(self.credentials)
            self.credentials.mkdir()
        self.credentials.chmod(0o700)
        contents = dict(zip(CREDENTIALS, (bundle.anchors, bundle.chain, bundle.key), strict=True))
        for name, content in (contents | {CONFIG: configuration(ttl)}).items():
            self.clear(name).write_bytes(content)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


Edit: TypeAlias = Callable[[Place], object]


def put_back(place: Place) -> None:
    place.put(GOOD, GOOD_TTL)


def put_better(place: Place) -> None:
    place.put(BETTER, BETTER_TTL)


@dataclass(frozen=True)
class BadEdit:
    """An edit that must change nothing.

    Attributes:
        name: the test's name.
        edit: what is done.
        error: expected part of the error; `{credentials}` means their directory.
        blames: the files that the error must name, and no others.
        cause: what it is counted under.
        unprivileged: the edit needs a user other than root, so that file permissions apply.
        recovery: the good edit after it.
    """

    name: str
    edit: Edit
    error: str
    blames: tuple[str, ...]
    cause: RestartFailure = RestartFailure.BUNDLE
    unprivileged: bool = False
    recovery: Edit = put_back


# --- kinds of edits


def write(contents: dict[str, bytes]) -> Edit:
    """Written in place, as an editor or a shell does."""

    def edit(place: Place) -> None:
        for name, content in contents.items():
            place.path(name).write_bytes(content)

    return edit


def instead(make: Callable[[Path], object]) -> Edit:
    """Something else in the place of the directory of credentials."""

    def edit(place: Place) -> None:
        shutil.rmtree(place.credentials)
        make(place.credentials)

    return edit


def gone(*names: str) -> Edit:
    def edit(place: Place) -> None:
        for name in names:
            place.path(name).unlink()

    return edit


def _halved(name: str) -> Edit:
    return lambda place: os.truncate(place.path(name), place.path(name).stat().st_size // 2)


def replaced(name: str, make: Callable[[Path], object]) -> Edit:
    """Something else than a file in a file's place."""
    return lambda place: make(place.clear(name))


def link(target: str) -> Callable[[Path], object]:
    return lambda path: path.symlink_to(target)


def mode(name: str, mode: int) -> Edit:
    return lambda place: place.path(name).chmod(mode)

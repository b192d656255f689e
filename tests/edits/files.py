"""Edits after which the store cannot be read."""

import os
import shutil
import socket
from dataclasses import replace
from pathlib import Path

from sentry_trio.telemetry.metrics import RestartFailure
from tests.edits.bundles import GOOD
from tests.edits.place import (
    ANCHORS,
    CHAIN,
    CREDENTIALS,
    HUGE,
    KEY,
    BadEdit,
    gone,
    instead,
    link,
    mode,
    replaced,
)


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as unbound:
        # By way of the directory: the names of sockets are short.
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            unbound.bind(f"/proc/self/fd/{directory}/{path.name}")
        finally:
            os.close(directory)


_ALL = CREDENTIALS
_READ = {ANCHORS: "failed to read root certificate", CHAIN: "failed to read issuer certificate"} | {
    KEY: "failed to read issuer key"
}

_MISSING = [
    BadEdit("anchors missing", gone(ANCHORS), "ca.crt missing while", _ALL),
    BadEdit("chain missing", gone(CHAIN), "issuer.crt missing while", _ALL),
    BadEdit("key missing", gone(KEY), "issuer.key missing while", _ALL),
    BadEdit("all but the key missing", gone(ANCHORS, CHAIN), "issuer.crt missing while", _ALL),
    BadEdit("all missing", gone(*_ALL), "the trust bundle is missing from {credentials}", ()),
    BadEdit(
        "directory missing",
        lambda place: shutil.rmtree(place.credentials),
        "failed to add target {credentials}: no such file or directory",
        (),
    ),
    BadEdit(
        "directory renamed",
        lambda place: place.credentials.rename(place.root / "elsewhere"),
        "failed to add target {credentials}: no such file or directory",
        (),
        recovery=lambda place: (place.root / "elsewhere").rename(place.credentials),
    ),
    BadEdit(
        "directory is a file",
        instead(lambda path: path.write_bytes(GOOD.key)),
        "failed to add target {credentials}: not a directory",
        (),
    ),
    BadEdit(
        "directory is a dangling link",
        instead(link("nowhere")),
        "failed to add target {credentials}: no such file or directory",
        (),
    ),
    BadEdit(
        "directory is a link to itself",
        instead(link("credentials")),
        "failed to add target {credentials}: too many levels of symbolic links",
        (),
    ),
]
_NOT_TO_BE_READ = [
    *(
        BadEdit(f"{name} {what}", replaced(name, make), f"{_READ[name]}: {{credentials}}/{name}: {error}", (name,))
        for name, what, make, error in [
            (ANCHORS, "is a directory", Path.mkdir, "is a directory"),
            (CHAIN, "is a directory", Path.mkdir, "is a directory"),
            (KEY, "is a directory", Path.mkdir, "is a directory"),
            (ANCHORS, "is a dangling link", link("nowhere"), "dangling symbolic link"),
            (CHAIN, "is a dangling link", link("nowhere"), "dangling symbolic link"),
            (KEY, "is a dangling link", link("nowhere"), "dangling symbolic link"),
            (KEY, "is a link to itself", link(KEY), "too many levels of symbolic links"),
            (ANCHORS, "is a FIFO", os.mkfifo, "not a regular file"),
            (KEY, "is a FIFO", os.mkfifo, "not a regular file"),
            (CHAIN, "is a socket", _socket, "no such device or address"),
            (KEY, "is a device", link("/dev/zero"), "not a regular file"),
            (KEY, "fails to be read", link("/proc/self/mem"), "input/output error"),
            (ANCHORS, "is huge", lambda path: path.write_bytes(HUGE + GOOD.anchors), "larger than 1048576 bytes"),
            (CHAIN, "is huge", lambda path: path.write_bytes(HUGE + GOOD.chain), "larger than 1048576 bytes"),
            (KEY, "is huge", lambda path: path.write_bytes(HUGE + GOOD.key), "larger than 1048576 bytes"),
        ]
    ),
    *(
        BadEdit(
            f"{name} unreadable",
            mode(name, 0),
            f"{_READ[name]}: {{credentials}}/{name}: permission denied",
            (name,),
            unprivileged=True,
            recovery=mode(name, 0o600),
        )
        for name in CREDENTIALS
    ),
    BadEdit(
        "directory unreadable",
        lambda place: place.credentials.chmod(0),
        f"{_READ[ANCHORS]}: {{credentials}}/{ANCHORS}: permission denied",
        (ANCHORS,),
        unprivileged=True,
        recovery=lambda place: place.credentials.chmod(0o700),
    ),
    BadEdit(
        "directory of the directory unreadable",
        lambda place: place.root.chmod(0),
        "failed to add target {credentials}: permission denied",
        (),
        unprivileged=True,
        recovery=lambda place: place.root.chmod(0o700),
    ),
]
EDITS = [replace(each, cause=RestartFailure.STORE) for each in (*_MISSING, *_NOT_TO_BE_READ)]

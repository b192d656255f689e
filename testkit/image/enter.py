"""Becomes a container's process 1: run by `unshare` in namespaces of its own, described by a JSON document.

A container runtime's steps for a pod with a read-only root, without privileges and without capabilities; the network
is this machine's. It imports nothing of the tests.
"""

import ctypes
import json
import os
import sys
from pathlib import Path

_READ_ONLY, _NO_SETUID, _NO_DEVICES, _REMOUNT, _BIND = 0x1, 0x2, 0x4, 0x20, 0x1000
_DROP_FROM_BOUNDING_SET, _NO_NEW_PRIVILEGES = 24, 38
_LIBC = ctypes.CDLL(None, use_errno=True)


def _mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    words = [word.encode() for word in (source, target, kind)]
    if _LIBC.mount(*words, ctypes.c_ulong(flags), options.encode()) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), target)


def _bind(source: Path, target: Path, *, is_writable: bool = False) -> None:
    if source.is_dir():
        target.mkdir(parents=True, exist_ok=True)
    else:
        target.touch()
    _mount(str(source), str(target), "none", _BIND)
    if not is_writable:
        _mount("none", str(target), "none", _REMOUNT | _BIND | _READ_ONLY | _NO_SETUID | _NO_DEVICES)


def _main() -> None:
    asked = json.loads(sys.argv[1])
    # A runtime's own layer, for mount points. It is in a place that no image uses.
    root = Path(asked["root"]) / "dev"
    _mount("tmpfs", str(root), "tmpfs", 0, "mode=755")
    for path in root.parent.iterdir():
        if path.name in {"dev", "proc", "sys"}:
            (root / path.name).mkdir()
        else:
            _bind(path, root / path.name)
    for source, target, is_writable in asked["mounts"]:
        _bind(Path(source), root / target.lstrip("/"), is_writable=is_writable)
    _mount("proc", str(root / "proc"), "proc", _NO_SETUID | _NO_DEVICES)
    _mount("none", str(root), "none", _REMOUNT | _READ_ONLY | _NO_SETUID | _NO_DEVICES)
    os.chroot(root)
    os.chdir("/")
    capability = 0
    while _LIBC.prctl(_DROP_FROM_BOUNDING_SET, capability, 0, 0, 0) == 0:
        capability += 1
    os.setgroups([])
    os.setgid(asked["group"])
    os.setuid(asked["user"])
    _LIBC.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    os.execve(asked["command"][0], asked["command"], asked["environ"])


if __name__ == "__main__":
    _main()

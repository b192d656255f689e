"""System files that programs read: users' names, the order of look-ups, the authorities that HTTPS trusts."""

import os
import shutil
import ssl
from pathlib import Path
from typing import Final

from image.errors import ImageError

USER: Final = 65532  # Dapr's images have it, and those that its charts are made for
CREDENTIALS: Final = "var/run/secrets/dapr.io/credentials"
_NOWHERE: Final = "/nonexistent:/nonexistent"  # neither a home nor a shell
_FILES: Final = {
    "etc/passwd": f"root:x:0:0:root:{_NOWHERE}\nnonroot:x:{USER}:{USER}:nonroot:{_NOWHERE}\n",
    "etc/group": f"root:x:0:\nnonroot:x:{USER}:\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}
# Where runtimes mount things: not all of them make a directory for it on a read-only root.
_MOUNTS: Final = ("dev", "proc", "sys", "var/run/secrets/kubernetes.io/serviceaccount", CREDENTIALS)
_AUTHORITIES: Final = ("etc/ssl/certs/ca-certificates.crt", "etc/pki/tls/certs/ca-bundle.crt", "etc/ssl/cert.pem")


def write(tree: Path) -> None:
    """Writes them.

    Raises:
        ImageError: this machine trusts no certificate authorities that could be copied.
    """
    for name, content in _FILES.items():
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    for name in _MOUNTS:
        (tree / name).mkdir(parents=True, exist_ok=True)
    _write_authorities(tree)


def _write_authorities(tree: Path) -> None:
    asked = ssl.get_default_verify_paths().openssl_cafile
    known = (asked, *(f"/{name}" for name in _AUTHORITIES))
    source = next((path for path in map(Path, known) if path.is_file()), None)
    if source is None:
        raise ImageError(f"no certificate authorities on this machine: looked for {', '.join(known)}")
    target = tree / _AUTHORITIES[0]
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)
    there = tree / asked.lstrip("/")  # where this interpreter's OpenSSL looks
    if there != target:
        there.parent.mkdir(parents=True, exist_ok=True)
        there.symlink_to(os.path.relpath(target, there.parent))

"""kube-apiserver and etcd, built from the module beside this file into Go's own cache.

The first build takes some five minutes of a processor and 2 GB of that cache; later ones a second or two.
"""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_MODULE: Final = Path(__file__).parent


class UnavailableError(Exception):
    """A control plane cannot be built on this machine, through no fault of its own."""


@dataclass(frozen=True, slots=True)
class Binaries:
    """Where the executables are."""

    etcd: Path
    kube_apiserver: Path


def build() -> Binaries:
    """Builds both.

    Raises:
        UnavailableError: there is no Go here, or its modules cannot be had.
    """
    go = shutil.which("go")
    if go is None:
        raise UnavailableError("there is no Go on this machine to build kube-apiserver and etcd with")
    fetched = subprocess.run([go, "mod", "download"], cwd=_MODULE, capture_output=True, text=True, check=False)
    if fetched.returncode != 0:
        raise UnavailableError(f"the modules of kube-apiserver and etcd cannot be had: {fetched.stderr.strip()}")
    return Binaries(
        etcd=_tool(go, "go.etcd.io/etcd/server/v3"), kube_apiserver=_tool(go, "k8s.io/kubernetes/cmd/kube-apiserver")
    )


def _tool(go: str, package: str) -> Path:
    built = subprocess.run([go, "tool", "-n", package], cwd=_MODULE, stdout=subprocess.PIPE, text=True, check=True)
    return Path(built.stdout.strip())

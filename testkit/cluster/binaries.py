"""kube-apiserver and etcd, built from the module beside this file.

The first build takes some five minutes of a processor and 2 GB of Go's cache; later ones a second or two.
"""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from testkit.go_modules import GoModule


@dataclass(frozen=True, slots=True)
class Binaries:
    """Paths of the executables."""

    etcd: Path
    kube_apiserver: Path


_DIRECTORY: Final = Path(__file__).parent
_VERSION: Final = re.findall(r"^\tk8s\.io/kubernetes (\S+)", (_DIRECTORY / "go.mod").read_text(), re.MULTILINE)[0]
_MODULE: Final = GoModule(
    _DIRECTORY,
    "kube-apiserver, etcd and kubectl",
    # Built from source, the API server reports no version number, and helm rejects a chart that requires one.
    variables={"GOFLAGS": f"-ldflags=-X=k8s.io/component-base/version.gitVersion={_VERSION}"},
)


def build() -> Binaries:
    """Builds kube-apiserver and etcd.

    Raises:
        UnavailableError: there is no Go here, or its modules cannot be had.
    """
    module = _MODULE.fetched()
    return Binaries(
        etcd=module.build("go.etcd.io/etcd/server/v3"),
        kube_apiserver=module.build("k8s.io/kubernetes/cmd/kube-apiserver"),
    )


def with_old_etcd(binaries: Binaries) -> Binaries:
    """The same with an etcd 3.5.7, which cannot report how far a watch has come (RequestWatchProgress).

    Clusters still run such releases, e.g. the 3.4.23 of Debian 12.

    Raises:
        UnavailableError: as `build`.
    """
    module = GoModule(Path(__file__).with_name("old_etcd"), "etcd 3.5.7").fetched()
    return replace(binaries, etcd=module.build("go.etcd.io/etcd/server/v3"))


def build_kubectl() -> Path:
    """Builds kubectl; most of it is kube-apiserver's, too.

    Raises:
        UnavailableError: there is no Go here, or its modules cannot be had.
    """
    return _MODULE.fetched().build("k8s.io/kubernetes/cmd/kubectl")

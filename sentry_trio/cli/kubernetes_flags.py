"""Flags by which several commands name a cluster, and their defaults."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from sentry_trio.settings import checks
from sentry_trio.settings.flags import CommandLine, Kind, UsageError, declare

_NAMESPACE: Final = "dapr-system"
_GROUP: Final = "Kubernetes"
_SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_LABEL: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


def declare_kubernetes(help: str) -> Any:  # noqa: A002 - as `declare`
    """Declares `--kubernetes`."""
    return declare(Kind.BOOL, default=False, help=help, group=_GROUP)


def declare_kubeconfig() -> Any:
    """Declares `--kubeconfig`."""
    return declare(
        Kind.STRING,
        None,
        "path of the kubeconfig file; implies --kubernetes (default: $KUBECONFIG, ~/.kube/config)",
        metavar="FILE",
        check=checks.path,
        group=_GROUP,
    )


def declare_namespace() -> Any:
    """Declares `--namespace`."""
    return declare(
        Kind.STRING,
        None,
        f"namespace of the authority; implies --kubernetes (default: the pod's own, or {_NAMESPACE})",
        metavar="NAME",
        group=_GROUP,
    )


def with_defaults(values: Mapping[str, Any], line: CommandLine, environ: Mapping[str, str]) -> dict[str, Any]:
    """Returns checked values with the defaults of the flags above, and `in_pod`.

    `in_pod` is true if a pod's own credentials lead to the Kubernetes API, and no flag names another place.

    Raises:
        UsageError: they exclude each other, or the namespace is invalid.
    """
    asks_for_cluster = values["kubernetes"] or bool(line.given & {"kubeconfig", "namespace"})
    if asks_for_cluster and "issuer-credentials" in line.given:
        raise UsageError(
            "--issuer-credentials and --kubernetes exclude each other: the trust bundle is either in files or in a "
            "Secret"
        )
    in_pod = not line.given & {"issuer-credentials", "kubeconfig"} and _is_in_pod(environ)
    return {
        **values,
        "kubernetes": asks_for_cluster,
        "in_pod": in_pod,
        "namespace": _namespace_of(values["namespace"], environ, in_pod=in_pod),
        "kubeconfig": values["kubeconfig"] or _default_kubeconfig(environ),
    }


def _is_in_pod(environ: Mapping[str, str]) -> bool:
    """Returns whether a service account's own credentials lead to the Kubernetes API."""
    return bool(environ.get("KUBERNETES_SERVICE_HOST")) and os.access(_SERVICE_ACCOUNT / "token", os.R_OK)


def _namespace_of(given: str | None, environ: Mapping[str, str], *, in_pod: bool) -> str:
    """Returns the namespace that was given, else a pod's own, else `_NAMESPACE`.

    Raises:
        UsageError: the text is not a valid namespace.
    """
    namespace = given or (_own_namespace(environ) if in_pod else _NAMESPACE)
    if not _LABEL.fullmatch(namespace):
        raise UsageError(f"--namespace must be the name of a namespace, got {namespace!r}")
    return namespace


def _default_kubeconfig(environ: Mapping[str, str]) -> Path:
    """Returns the kubeconfig that kubectl would use; of several in $KUBECONFIG the first, without merging."""
    named = [path for path in environ.get("KUBECONFIG", "").split(":") if path]
    return Path(named[0]) if named else Path(environ.get("HOME", "/")) / ".kube" / "config"


def _own_namespace(environ: Mapping[str, str]) -> str:
    if environ.get("NAMESPACE"):
        return environ["NAMESPACE"]
    try:
        return (_SERVICE_ACCOUNT / "namespace").read_text().strip()
    except OSError:
        return _NAMESPACE

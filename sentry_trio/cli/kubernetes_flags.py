"""Defaults of the flags that name a cluster: the authority's namespace and the kubeconfig."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from sentry_trio.settings.flags import UsageError

NAMESPACE: Final = "dapr-system"
"""Namespace of the authority if nothing else is known."""

_SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_LABEL: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


def is_in_pod(environ: Mapping[str, str]) -> bool:
    """Returns whether a service account's own credentials lead to the Kubernetes API."""
    return bool(environ.get("KUBERNETES_SERVICE_HOST")) and os.access(_SERVICE_ACCOUNT / "token", os.R_OK)


def namespace_of(given: str | None, environ: Mapping[str, str], *, in_pod: bool) -> str:
    """Returns the namespace that was given, else a pod's own, else `NAMESPACE`.

    Raises:
        UsageError: it is no name of a namespace.
    """
    namespace = given or (_own_namespace(environ) if in_pod else NAMESPACE)
    if not _LABEL.fullmatch(namespace):
        raise UsageError(f"--namespace must be the name of a namespace, got {namespace!r}")
    return namespace


def default_kubeconfig(environ: Mapping[str, str]) -> Path:
    """Returns the kubeconfig that kubectl would use; of several in $KUBECONFIG the first, without merging."""
    named = [path for path in environ.get("KUBECONFIG", "").split(":") if path]
    return Path(named[0]) if named else Path(environ.get("HOME", "/")) / ".kube" / "config"


def _own_namespace(environ: Mapping[str, str]) -> str:
    if environ.get("NAMESPACE"):
        return environ["NAMESPACE"]
    try:
        return (_SERVICE_ACCOUNT / "namespace").read_text().strip()
    except OSError:
        return NAMESPACE

"""The command line of `sentry-trio status`, read and checked once."""

import argparse
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from sentry_trio.errors import InvalidOptionsError
from sentry_trio.settings import checks
from sentry_trio.status.collect import Place
from sentry_trio.status.http import fetch, place

_NAMESPACE: Final = "dapr-system"
_SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_LABEL: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_REPLICA: Final = re.compile(
    r"(?P<host>\[[^\[\]]+\]|[^\s:/?#@\[\]]+):(?P<health>[0-9]{1,5})(?::(?P<metrics>[0-9]{1,5}))?"
)
_HERE: Final = "127.0.0.1:8080:9090"
_LONGEST: Final = 3600.0
_EXAMPLES: Final = """\
examples:
  beside `make run`, without flags: ports 8080 and 9090 of this machine, files in .sentry
    sentry-trio status
  every replica in a cluster, with your kubeconfig; a pod is asked through the API server
    sentry-trio status --kubernetes --watch
  or from within a pod, with its own service account
    kubectl -n dapr-system exec deploy/dapr-sentry -- /sentry status
  for a script
    sentry-trio status --json

Of the trust bundle only certificates are read, never the key. Exit codes: 0 all is well, 1 no replica was reached,
2 not understood, 3 shown, but something needs attention; docs/status.md lists what.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the command line says.

    Attributes:
        replicas: those that were named.
        here: who is asked where none are named or found.
        credentials: directory of the credential files; None where none is named.
        anchors_name: of the trust anchors, in it or in the Secret.
        chain_name: of the issuer chain.
        kubernetes: whether the Kubernetes API was asked for.
        in_pod: whether a pod's own credentials lead to it; it is then looked at without being asked for.
        kubeconfig: where this is no pod.
        namespace: of the authority.
        timeout: seconds for each answer.
        every: seconds between two looks; None for one look.
        as_json: whether a script reads it.
    """

    replicas: tuple[Place, ...]
    here: Place
    credentials: Path | None
    anchors_name: str
    chain_name: str
    kubernetes: bool
    in_pod: bool
    kubeconfig: Path
    namespace: str
    timeout: float
    every: float | None
    as_json: bool


def parser() -> argparse.ArgumentParser:
    """The parser of the command's arguments."""
    made = argparse.ArgumentParser(
        prog="sentry-trio status",
        description="Show what running certificate authorities say of themselves, and whether they agree.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = made.add_argument
    add(
        "--replica",
        action="append",
        default=[],
        metavar="HOST:PORT[:PORT]",
        help="a process to ask, by the ports of its health and its metrics; may be repeated (default: those that "
        "Kubernetes names, else 127.0.0.1:8080:9090)",
    )
    add(
        "--issuer-credentials",
        type=Path,
        metavar="DIR",
        help="directory of the credential files (default: .sentry, where there is one)",
    )
    add("--issuer-ca-filename", default="ca.crt", metavar="NAME", help="of the trust anchors (default: %(default)s)")
    add(
        "--issuer-certificate-filename",
        default="issuer.crt",
        metavar="NAME",
        help="of the issuer chain; in Kubernetes both are keys of the Secret (default: %(default)s)",
    )
    add(
        "--kubernetes",
        action="store_true",
        help="find replicas, Secret and ConfigMap by the Kubernetes API (default: in a pod)",
    )
    add("--kubeconfig", type=Path, metavar="FILE", help="implies --kubernetes (default: $KUBECONFIG, ~/.kube/config)")
    add(
        "--namespace",
        metavar="NAME",
        help=f"of the authority; implies --kubernetes (default: a pod's own, {_NAMESPACE})",
    )
    add("--timeout", type=_seconds, default=5.0, metavar="SECONDS", help="for each answer (default: %(default)g)")
    output = made.add_mutually_exclusive_group()
    output.add_argument(
        "--watch",
        type=_seconds,
        nargs="?",
        const=2.0,
        metavar="SECONDS",
        help="look again every so many seconds, until interrupted (default: 2)",
    )
    output.add_argument("--json", action="store_true", help="one JSON document, for scripts")
    return made


def parse(arguments: Sequence[str], environ: Mapping[str, str]) -> Asked:
    """Reads a command line; what is not understood ends the process with exit code 2, as argparse does."""
    parsing = parser()
    given = parsing.parse_args(arguments)
    kubernetes = given.kubernetes or given.kubeconfig is not None or given.namespace is not None
    if kubernetes and given.issuer_credentials is not None:
        parsing.error("--issuer-credentials names files, and --kubernetes a Secret: the trust bundle is in one of them")
    in_pod = (
        given.issuer_credentials is None
        and given.kubeconfig is None
        and bool(environ.get("KUBERNETES_SERVICE_HOST"))
        and os.access(_SERVICE_ACCOUNT / "token", os.R_OK)
    )
    namespace = given.namespace or _own_namespace(environ, in_pod=in_pod)
    if not _LABEL.fullmatch(namespace):
        parsing.error(f"--namespace must be the name of a namespace, got {namespace!r}")
    try:
        replicas = tuple(_replica(text, given.timeout, asked=True) for text in given.replica)
    except (ValueError, InvalidOptionsError) as error:
        parsing.error(str(error))
    return Asked(
        replicas=replicas,
        here=_replica(_HERE, given.timeout, asked=False),
        credentials=given.issuer_credentials,
        anchors_name=given.issuer_ca_filename,
        chain_name=given.issuer_certificate_filename,
        kubernetes=kubernetes,
        in_pod=in_pod,
        kubeconfig=given.kubeconfig or _default_kubeconfig(environ),
        namespace=namespace,
        timeout=given.timeout,
        every=given.watch,
        as_json=given.json,
    )


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0.1 <= seconds <= _LONGEST:
        raise argparse.ArgumentTypeError(f"must be seconds, from 0.1 to {_LONGEST:g}, got {text!r}")
    return seconds


def _replica(text: str, timeout: float, *, asked: bool) -> Place:
    found = _REPLICA.fullmatch(text)
    ports = [int(port) for port in found.group("health", "metrics") if port] if found else []
    if found is None or not all(0 < port <= 65535 for port in ports):
        raise ValueError(f"--replica must be host:port or host:port:port (health, metrics), got {text!r}")
    host = checks.host("replica", found["host"])
    return Place(
        name=place(host, ports[0]),
        get=partial(fetch, host, timeout=timeout),
        health_port=ports[0],
        metrics_port=ports[1] if len(ports) > 1 else None,
        metrics_asked=asked,
    )


def _own_namespace(environ: Mapping[str, str], *, in_pod: bool) -> str:
    if not in_pod:
        return _NAMESPACE
    if environ.get("NAMESPACE"):
        return environ["NAMESPACE"]
    try:
        return (_SERVICE_ACCOUNT / "namespace").read_text().strip()
    except OSError:
        return _NAMESPACE


def _default_kubeconfig(environ: Mapping[str, str]) -> Path:
    """As kubectl has it, but for files that are to be merged: of several the first."""
    named = [path for path in environ.get("KUBECONFIG", "").split(":") if path]
    return Path(named[0]) if named else Path(environ.get("HOME", "/")) / ".kube" / "config"

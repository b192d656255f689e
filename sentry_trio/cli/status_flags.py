"""The flags of `sentry-trio status`."""

import math
import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from sentry_trio import listener
from sentry_trio.cli.kubernetes_flags import (
    declare_kubeconfig,
    declare_kubernetes,
    declare_namespace,
    with_defaults,
)
from sentry_trio.errors import InvalidOptionsError
from sentry_trio.settings import checks
from sentry_trio.settings.flags import Kind, UsageError, checked, declare, flags_of, parse_arguments
from sentry_trio.status.collect import ReplicaPlace, fetch

_REPLICA: Final = re.compile(
    r"(?P<host>\[[^\[\]]+\]|[^\s:/?#@\[\]]+):(?P<health>[0-9]{1,5})(?::(?P<metrics>[0-9]{1,5}))?"
)
_LONGEST: Final = 3600.0
EXAMPLES: Final = """\
Examples:
  show the authority of `make run`: ports 8080 and 9090 of this machine, files in .sentry
    sentry-trio status
  show every replica in a cluster, with your kubeconfig, through the API server
    sentry-trio status --kubernetes --watch
  show every replica from within a pod, with its own service account
    kubectl -n dapr-system exec deploy/dapr-sentry -- /sentry status
  print JSON for a script
    sentry-trio status --json

Only certificates of the trust bundle are read, never the key. Exit codes: 0 all is well, 1 no replica was reached,
2 the command line is wrong, 3 there are findings; docs/status.md lists them.
"""


class ReplicaAddress(msgspec.Struct, frozen=True):
    """Host and ports of a replica; `metrics` is None if unknown."""

    host: str
    health: int
    metrics: int | None


_HERE: Final = ReplicaAddress("127.0.0.1", 8080, 9090)


def _addresses(flag: str, texts: Sequence[str]) -> tuple[ReplicaAddress, ...]:
    return tuple(_address(flag, text) for text in texts)


def _address(flag: str, text: str) -> ReplicaAddress:
    found = _REPLICA.fullmatch(text)
    ports = [int(port) for port in found.group("health", "metrics") if port] if found else []
    if found is None or not all(0 < port <= checks.LAST_PORT for port in ports):
        raise InvalidOptionsError(f"--{flag} must be host:port or host:port:port (health, metrics), got {text!r}")
    return ReplicaAddress(checks.host(flag, found["host"]), ports[0], ports[1] if len(ports) > 1 else None)


def _seconds(flag: str, text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0.1 <= seconds <= _LONGEST:
        raise InvalidOptionsError(f"--{flag} must be seconds, from 0.1 to {_LONGEST:g}, got {text!r}")
    return seconds


_replicas = partial(declare, group="Replicas")
_bundle = partial(declare, Kind.STRING, group="Trust bundle")
_output = partial(declare, group="Output")


class StatusOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Flags of `status`.

    Attributes:
        kubernetes: True if a flag requests the Kubernetes API.
        in_pod: True if a pod's own credentials lead to it; it is then used without a flag.
    """

    replica: tuple[ReplicaAddress, ...] = _replicas(
        Kind.REPEATED,
        (),
        "replica to read, by its health port and metrics port; may be repeated (default: the pods in Kubernetes, "
        "else 127.0.0.1:8080:9090)",
        metavar="HOST:PORT[:PORT]",
        check=_addresses,
    )
    timeout: float = _replicas(
        Kind.STRING, "5", "timeout of each request, in seconds", metavar="SECONDS", check=_seconds
    )
    issuer_credentials: Path | None = _bundle(
        None, "directory of the credential files (default: .sentry, if it exists)", metavar="DIR", check=checks.path
    )
    issuer_ca_filename: str = _bundle("ca.crt", "file of the trust anchors", metavar="NAME")
    issuer_certificate_filename: str = _bundle(
        "issuer.crt", "file of the issuer chain; in Kubernetes both are keys of the Secret", metavar="NAME"
    )
    kubernetes: bool = declare_kubernetes(
        "find replicas, Secret and ConfigMap through the Kubernetes API (default in a pod)"
    )
    kubeconfig: Path = declare_kubeconfig()
    namespace: str = declare_namespace()
    watch: float | None = _output(
        Kind.STRING,
        None,
        "repeat at this interval, until interrupted (default: 2)",
        metavar="SECONDS",
        check=_seconds,
        implied="2",
    )
    json: bool = _output(Kind.BOOL, default=False, help="print one JSON document")
    in_pod: bool

    @property
    def replicas(self) -> tuple[ReplicaPlace, ...]:
        """Replicas that were named."""
        return tuple(_place(address, self.timeout, asked=True) for address in self.replica)

    @property
    def here(self) -> ReplicaPlace:
        """Replica that is used if none is named or found."""
        return _place(_HERE, self.timeout, asked=False)


OPTIONS: Final = StatusOptions


def parse(arguments: Sequence[str], environ: Mapping[str, str]) -> StatusOptions:
    """Parses and checks the command line.

    Raises:
        InvalidOptionsError: the first mistake.
        HelpRequested: help was requested before any mistake.
    """
    flags = flags_of(StatusOptions)
    line = parse_arguments(flags, arguments)
    values = with_defaults(checked(flags, line.values), line, environ)
    if values["watch"] is not None and values["json"]:
        raise UsageError("--watch and --json exclude each other")
    return StatusOptions(**values)


def _place(address: ReplicaAddress, timeout: float, *, asked: bool) -> ReplicaPlace:
    return ReplicaPlace(
        name=str(listener.Address(address.host, address.health)),
        get=partial(fetch, address.host, timeout=timeout),
        health_port=address.health,
        metrics_port=address.metrics,
        metrics_asked=asked,
    )

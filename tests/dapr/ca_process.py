"""Both CAs as processes with the same command line: sentry-trio and Dapr Sentry."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from testkit.cluster.child import Child
from testkit.ports import free_port

from .sidecars import is_healthy

OURS: Final = (sys.executable, "-m", "sentry_trio")


@dataclass(frozen=True, slots=True)
class RunningCA:
    """A CA that is ready.

    Attributes:
        port: the port of its gRPC server.
        log: the file that it logs to.
    """

    port: int
    log: Path


@contextmanager
def running_ca(
    command: tuple[str, ...],
    directory: Path,
    *flags: str,
    namespace: str,
    port: int | None = None,
    environ: Mapping[str, str] | None = None,
) -> Iterator[RunningCA]:
    """Starts a CA on loopback, yields it when it is ready, and kills it at the end.

    Args:
        command: the program.
        directory: for the log.
        flags: of the command line, beside those of addresses and ports.
        namespace: of the control plane.
        port: of the gRPC server; any free one if not given.
        environ: more variables.
    """
    port, health = port or free_port(), free_port()
    listening = (
        *("--listen-address=127.0.0.1", f"--port={port}"),
        *("--healthz-listen-address=127.0.0.1", f"--healthz-port={health}"),
        *("--metrics-listen-address=127.0.0.1", f"--metrics-port={free_port()}"),
    )
    log = directory / "ca.log"
    # The second variable lets the tests run as root in Kubernetes mode.
    variables = {"NAMESPACE": namespace, "DAPR_UNSAFE_SKIP_CONTAINER_UID_GID_CHECK": "true", **(environ or {})}
    process = Child([*command, *flags, *listening, "--log-level=debug"], log, variables)
    try:
        process.wait_until(lambda _: is_healthy(health))
        yield RunningCA(port, log)
    finally:
        process.kill()

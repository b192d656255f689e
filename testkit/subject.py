"""Process under restart, observed from outside."""

import json
import signal
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from sentry_trio.ca.bundle import StoredBundle
from testkit.credentials import verified
from testkit.processes import Process, sentry_process

SPIFFE_ID = "spiffe://localhost/ns/default/dapr-sentry"
SERVING = "Running gRPC server on port "


class Subject:
    """A certificate authority in a process of its own, up and serving.

    Attributes:
        process: where its log is read and signals are sent.
        grpc_port: where CSRs are answered.
        health_port: where health is answered.
        metrics_port: where Prometheus scrapes.
    """

    def __init__(self, process: Process) -> None:
        self.process = process
        self.health_port = process.health_port()
        self.metrics_port = process.metrics_port()
        self.grpc_port = int(process.log_until(SERVING))

    def state(self) -> dict[str, Any]:
        """Returns the answer of `/readyz?verbose`, which must be ready."""
        state: dict[str, Any] = json.loads(_get(self.health_port, "/readyz?verbose"))
        assert state["ready"], state
        return state

    def metric(self, series: str) -> float:
        lines = _get(self.metrics_port, "/").splitlines()
        return next(float(line.split()[-1]) for line in lines if line.startswith(series))

    def wait_for_run(self, number: int, bundle: StoredBundle) -> None:
        """Waits for the next run, which must be the one given, with that bundle."""
        self.process.log_until(SERVING)
        # The line is written a moment before the run counts as begun.
        while (state := self.state())["run"] < number:
            pass
        assert (state["run"], state["bundle"]) == (number, verified(bundle).fingerprint)
        assert state["degraded"] is None

    def stop(self) -> None:
        self.process.send(signal.SIGTERM)
        assert self.process.exit_code() == 0
        assert self.process.messages()[-1] == "Sentry shut down gracefully"

    def complaints(self) -> list[str]:
        """Lines logged as warning or worse, except those that announce a restart."""
        harmless = "Issuer credentials changed; reloading"
        return [
            str(record["msg"])
            for record in self.process.records
            if record["level"] not in {"debug", "info"} and record["msg"] != harmless
        ]


def _get(port: int, path: str) -> str:
    with closing(HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        connection.request("GET", path)
        return connection.getresponse().read().decode()


@contextmanager
def subject(
    credentials: Path, *flags: str, module: str = "sentry_trio", open_files: int | None = None
) -> Iterator[Subject]:
    """Starts the process as `sentry_process` does; it is killed in the end if it is still there."""
    with sentry_process(credentials, *flags, module=module, open_files=open_files) as process:
        yield Subject(process)

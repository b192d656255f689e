"""Process under demonstration, and a supervisor that starts it again when it ends."""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

OURS: Final = (sys.executable, "-m", "sentry_trio")
HOST: Final = "127.0.0.1"
RESTART_DELAY: Final = 1.0
"""Seconds after which a process that ended is started again; kubelet waits 10 s after the second time."""
_STOP_TIMEOUT: Final = 15.0
_PORTS: Final = ("port", "healthz-port", "metrics-port")


class Server:
    """Certificate authority in a directory of its own, kept running.

    Attributes:
        credentials: directory of its files.
        port: its gRPC port.
        exits: number of times that it exited.
    """

    def __init__(self, command: Sequence[str], directory: Path, files: Mapping[str, bytes]) -> None:
        self.credentials = directory / "credentials"
        self.credentials.mkdir(mode=0o700)
        self._configuration = directory / "config.yaml"
        self._log = directory / "log"
        ports = _free_ports(len(_PORTS))
        self.port = ports[0]
        self.exits = 0
        self._command = [
            *command,
            "--mode=standalone",
            f"--issuer-credentials={self.credentials}",
            f"--config={self._configuration}",
            f"--listen-address={HOST}",
            f"--healthz-listen-address={HOST}",
            f"--metrics-listen-address={HOST}",
            *(f"--{name}={port}" for name, port in zip(_PORTS, ports, strict=True)),
        ]
        self._stopping = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self.write(files)
        self.configure("1h")

    def write(self, files: Mapping[str, bytes]) -> None:
        """Replaces credential files, each by a rename."""
        for name, content in files.items():
            _replace(self.credentials / name, content)

    def read(self, name: str) -> bytes:
        """Returns the content of a credential file."""
        return (self.credentials / name).read_bytes()

    def configure(self, workload_cert_ttl: str) -> None:
        """Writes the configuration file."""
        mtls = f"mtls: {{workloadCertTTL: {workload_cert_ttl}}}"
        text = f"apiVersion: dapr.io/v1alpha1\nkind: Configuration\nspec: {{{mtls}}}\n"
        _replace(self._configuration, text.encode())

    def last_lines(self, number: int = 5) -> str:
        """The last lines that the process logged."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-number:])

    @contextmanager
    def running(self) -> Iterator[None]:
        """Keeps the process running during the block."""
        supervisor = threading.Thread(target=self._supervise)
        supervisor.start()
        try:
            yield
        finally:
            self._stopping.set()
            if self._process is not None:
                self._process.terminate()
            supervisor.join()

    def _supervise(self) -> None:
        environment = {name: value for name, value in os.environ.items() if name != "NAMESPACE"}
        with self._log.open("ab") as log:
            while not self._stopping.is_set():
                # In a process group of its own: the signals of a terminal are for the demonstration, which stops it.
                with subprocess.Popen(
                    self._command, stdout=log, stderr=log, env=environment, process_group=0
                ) as process:
                    self._process = process
                    self._wait(process)
                if not self._stopping.is_set():
                    self.exits += 1
                    self._stopping.wait(RESTART_DELAY)

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        """Waits for the end of the process; kills it if it does not stop in time."""
        while process.poll() is None and not self._stopping.is_set():
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.2)
        if self._stopping.is_set():
            process.terminate()
            try:
                process.wait(_STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                process.kill()


def _replace(path: Path, content: bytes) -> None:
    unfinished = path.with_name(f".{path.name}.new")
    unfinished.write_bytes(content)
    unfinished.chmod(0o600)
    unfinished.rename(path)


def _free_ports(number: int) -> list[int]:
    sockets = [socket.create_server((HOST, 0)) for _ in range(number)]
    ports: list[int] = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports

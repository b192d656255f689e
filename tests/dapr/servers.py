"""Dapr Sentry and sentry-trio, each started with the same files, flags and environment."""

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from testkit.ports import free_ports

_PATIENCE: Final = 60.0  # seconds until a process counts as hanging
_SERVING: Final = "Running gRPC server on port"
_WAITING: Final = "cannot serve yet, waiting for a certificate to become valid"
_FATAL: Final = re.compile(r'level=fatal msg=("(?:[^"\\]|\\.)*"|\S+)')
_PORTS: Final = ("port", "healthz-port", "metrics-port", "oidc-server-listen-port")


@dataclass(frozen=True, slots=True)
class Program:
    """A certificate authority to start.

    Attributes:
        name: for messages.
        command: starts it, without flags.
    """

    name: str
    command: tuple[str, ...]

    @property
    def is_dapr(self) -> bool:
        """True for the oracle."""
        return self.name == "Dapr Sentry"


def both(dapr_sentry: Path) -> tuple[Program, Program]:
    """The oracle and the program under test."""
    ours = Program("sentry-trio", (sys.executable, "-m", "sentry_trio"))
    return Program("Dapr Sentry", (str(dapr_sentry),)), ours


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """The input that both programs get.

    Attributes:
        files: of the credentials directory, by path; None as content makes a directory.
        configuration: content of the file that `--config` names; None to leave the flag out.
        flags: beside those for ports, addresses, credentials and configuration.
        environment: variables beside those of this process; NAMESPACE is removed from these.
    """

    files: Mapping[str, bytes] = field(default_factory=dict)
    configuration: bytes | None = b""
    flags: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Started:
    """A process that serves, waits for a certificate to become valid, or has ended without serving.

    Attributes:
        program: the one that was started.
        directory: its working directory, with `credentials` below.
        ports: by the flag's name.
        popen: the process.
        lines: its output up to now.
        serving: True once it accepted gRPC connections.
        waiting: True once it waited for a certificate.
        settled: set when it serves, waits or has ended.
    """

    program: Program
    directory: Path
    ports: Mapping[str, int]
    popen: subprocess.Popen[str]
    lines: list[str]
    serving: bool = False
    waiting: bool = False
    settled: threading.Event = field(default_factory=threading.Event)

    @property
    def credentials(self) -> Path:
        """The directory of the credential files."""
        return self.directory / "credentials"

    def outcome(self) -> dict[str, str]:
        """`serves`, `waits`, or the exit code and the text of the fatal line."""
        if self.serving and self.popen.poll() is None:
            return {"status": "serves"}
        if self.waiting:
            return {"status": "waits"}
        text = fatal_text(self.output()).replace(str(self.directory), "")
        return {"status": f"exit code {self.popen.returncode}", "text": text}

    def output(self) -> str:
        """Everything written to stdout and stderr up to now."""
        return "".join(self.lines)


@contextmanager
def started(program: Program, setting: Setting, directory: Path) -> Iterator[Started]:
    """Starts a program and waits until it serves gRPC, waits or has ended; it is killed in the end."""
    with _spawned(program, setting, directory) as process:
        _wait(process)
        yield process


@contextmanager
def pair(dapr_sentry: Path, setting: Setting, directory: Path) -> Iterator[tuple[Started, Started]]:
    """Starts both programs with the same setting, each in a directory of its own."""
    with ExitStack() as stack:
        dapr, ours = (
            stack.enter_context(_spawned(program, setting, directory / program.name.replace(" ", "-")))
            for program in both(dapr_sentry)
        )
        _wait(dapr)
        _wait(ours)
        yield dapr, ours


@contextmanager
def _spawned(program: Program, setting: Setting, directory: Path) -> Iterator[Started]:
    ports = dict(zip(_PORTS, free_ports(len(_PORTS)), strict=True))
    inherited = {name: value for name, value in os.environ.items() if name != "NAMESPACE"}
    popen = subprocess.Popen(
        [*program.command, *_flags(setting, directory, ports)],
        cwd=_filled(directory, setting),
        env={**inherited, **setting.environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    process = Started(program, directory, ports, popen, [])
    reader = threading.Thread(target=_read, args=(process,))
    reader.start()
    try:
        yield process
    finally:
        popen.kill()
        popen.wait()
        reader.join()


def _filled(directory: Path, setting: Setting) -> Path:
    credentials = directory / "credentials"
    credentials.mkdir(parents=True)
    for name, content in setting.files.items():
        path = credentials / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_bytes(content)
        path.chmod(0o600)
    if setting.configuration is not None:
        (directory / "config.yaml").write_bytes(setting.configuration)
    return directory


def _flags(setting: Setting, directory: Path, ports: Mapping[str, int]) -> list[str]:
    flags = ["--issuer-credentials", str(directory / "credentials"), "--listen-address", "127.0.0.1"]
    flags += ["--healthz-listen-address", "127.0.0.1", "--oidc-server-listen-address", "127.0.0.1", "--log-as-json"]
    flags += [f"--{name}={port}" for name, port in ports.items()]
    flags += [] if "--mode" in setting.flags else ["--mode", "standalone"]
    flags += [] if setting.configuration is None else ["--config", "config.yaml"]
    return [*flags, *setting.flags]


def _wait(process: Started) -> None:
    assert process.settled.wait(_PATIENCE), f"{process.program.name} neither serves nor ends: {process.output()}"
    if not (process.serving or process.waiting):
        process.popen.wait(_PATIENCE)


def _read(process: Started) -> None:
    """Reads the output all the time, so that the process never waits for its reader."""
    assert process.popen.stdout is not None
    with process.popen.stdout as lines:
        for line in lines:
            process.lines.append(line)
            process.serving |= _SERVING in line
            process.waiting |= _WAITING in line
            if process.serving or process.waiting:
                process.settled.set()
    process.settled.set()


def fatal_text(output: str) -> str:
    """The message of the last fatal line of a log, of JSON or text; empty if there is none."""
    found = ""
    for line in output.splitlines():
        if line.startswith("{"):
            record = json.loads(line)
            found = str(record["msg"]) if record["level"] == "fatal" else found
        elif match := _FATAL.search(line):
            found = str(json.loads(match[1])) if match[1].startswith('"') else match[1]
    return found

"""`sentry-trio`: signals and exit codes of a process, and errors when it does not start."""

import os
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from testkit.command_line import run_command
from tests.cli.conftest import Start

# A container of root is refused in Kubernetes mode unless a flag allows it; and HOME leads to a kubeconfig.
UNSAFE = {"DAPR_UNSAFE_SKIP_CONTAINER_UID_GID_CHECK": "true", "HOME": "/nowhere"}


def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sentry_trio", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **environ},
    )


def run_in(
    monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], *arguments: str
) -> subprocess.CompletedProcess[str]:
    """Runs a start that fails, in this process."""
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    return run_command(*arguments)


@pytest.mark.parametrize(
    ("number", "spelling"), [(signal.SIGTERM, "terminated"), (signal.SIGINT, "interrupt")], ids=["TERM", "INT"]
)
def test_a_signal_ends_it_gracefully(start: Start, number: signal.Signals, spelling: str) -> None:
    process = start()
    process.log_until("Running gRPC server on port ")
    process.send(number)
    assert process.exit_code() == 0
    assert process.messages()[-1] == "Sentry shut down gracefully"
    assert f"Received signal '{spelling}'; beginning shutdown" in process.messages()


@pytest.mark.covered_processes
def test_a_second_signal_ends_it_at_once(start: Start) -> None:
    process = start()
    port = int(process.log_until("Running gRPC server on port "))
    # A peer in the middle of its handshake is given its time: the shutdown waits, and can be cut short.
    with socket.create_connection(("127.0.0.1", port)) as peer:
        peer.sendall(b"\x16\x03\x01")
        process.send(signal.SIGHUP)
        process.log_until("Running gRPC server on port ")  # by now the peer has been accepted
        process.send(signal.SIGTERM)
        process.log_until("Received signal 'terminated'; beginning shutdown")
        process.send(signal.SIGTERM)
        assert process.exit_code() == 1
    assert process.messages()[-1] == "Received signal 'terminated' during shutdown; exiting immediately"


@pytest.mark.covered_processes
def test_hangup_restarts_it(start: Start) -> None:
    process = start()
    port = process.log_until("Running gRPC server on port ")
    process.send(signal.SIGHUP)
    assert process.log_until("Running gRPC server on port ") == port
    process.send(signal.SIGTERM)
    assert process.exit_code() == 0


def test_the_log_may_go_to_a_file(start: Start, tmp_path: Path) -> None:
    log = tmp_path / "sentry.log"
    process = start("--log-file", str(log), "--config", "/nowhere.yaml")
    assert process.exit_code() == 1
    assert "nowhere.yaml" in log.read_text()
    assert stat.S_IMODE(log.stat().st_mode) & 0o077 == 0o044 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.covered_processes
def test_a_log_file_that_cannot_be_opened_is_named(start: Start, tmp_path: Path) -> None:
    result = run("--mode=standalone", f"--log-file={tmp_path}")
    assert result.returncode == 1
    assert f'failed to open log file \\"{tmp_path}\\": is a directory' in result.stdout.lower()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--nope"], "unknown flag: --nope"),
        (["-port=abc"], 'invalid --port: expected an integer, got "abc"'),
    ],
)
def test_a_command_line_that_is_not_understood(arguments: list[str], line: str) -> None:
    result = run_command(*arguments)
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr == f"usage: sentry-trio [serve] [FLAGS]\nsentry-trio serve: error: {line}\n"


@pytest.mark.parametrize(
    ("arguments", "environ", "message"),
    [
        (["--mode=kubernetes"], UNSAFE, "/nowhere/.kube/config"),
        ([], {**UNSAFE, "KUBERNETES_SERVICE_HOST": "10.0.0.1"}, "cannot use"),
        (["--mode=standalone", "--issuer-credentials=/nowhere"], {}, "failed to add target /nowhere: no such file"),
    ],
)
def test_a_start_error_is_one_fatal_line(
    arguments: list[str], environ: dict[str, str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ports = ("--healthz-port=0", "--metrics-port=0", "--port=0", "--listen-address=127.0.0.1")
    result = run_in(monkeypatch, environ, *arguments, *ports)
    assert result.returncode == 1
    fatal = [line for line in result.stdout.splitlines() if "level=fatal" in line]
    assert len(fatal) == 1
    assert message in fatal[0]
    assert result.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "environ", "message"),
    [
        (["--mode=nope"], {}, "invalid mode: nope: expected one of auto, standalone, kubernetes"),
        (["--mode=standalone"], {"NAMESPACE": ""}, "the environment variable NAMESPACE is empty"),
        (
            ["--trust-domain=UPPER", "--metrics-port=0", "--healthz-port=0"],
            {},
            "invalid --trust-domain 'UPPER': trust domain characters are",
        ),
    ],
)
def test_an_invalid_value_is_a_mistake_of_the_command_line(
    arguments: list[str], environ: dict[str, str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = (f"--issuer-credentials={tmp_path}", "--listen-address=127.0.0.1", "--port=0")
    result = run_in(monkeypatch, environ, *place, *arguments)
    assert result.returncode == 2
    (fatal,) = [line for line in result.stdout.splitlines() if "level=fatal" in line]
    assert f"Invalid options: {message}" in fatal
    assert result.stderr == ""


def test_a_trust_domain_may_be_written_as_a_spiffe_id(start: Start, tmp_path: Path) -> None:
    """Observed with Dapr Sentry 1.18: its identity is then spiffe://cluster.local/ns/default/dapr-sentry."""
    port = start("--trust-domain", "spiffe://cluster.local").log_until("Running gRPC server on port ")
    authority = (f"--address=127.0.0.1:{port}", "--trust-anchors", str(tmp_path / "ca.crt"))
    flags = (*authority, "--sentry-trust-domain", "cluster.local", f"--out={tmp_path / 'out'}")
    obtained = run_command("request", "--id=myapp", *flags)
    assert (obtained.returncode, obtained.stderr) == (0, "")
    assert "O=spiffe://cluster.local/ns/default/dapr-sentry" in obtained.stdout


def test_arguments_without_effect_are_a_warning(start: Start) -> None:
    process = start("--jwt-key-rotation=720h", "--log-as-json", "true")
    process.log_until("Running gRPC server on port ")
    warnings = [record["msg"] for record in process.records if record["level"] == "warning"]
    assert [str(text).partition(":")[0] for text in warnings] == [
        "no effect without --jwt-enabled",
        "arguments without effect",
    ]


def test_the_console_script_is_the_module(tmp_path: Path) -> None:
    script = Path(sys.executable).with_name("sentry-trio")
    result = subprocess.run([script, "serve", "--nope"], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (result.returncode, result.stderr.splitlines()[-1]) == (2, "sentry-trio serve: error: unknown flag: --nope")

"""The log of a process: readers that stop, files that are renamed, closed standard output, warnings of libraries."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from http.client import HTTPConnection
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from testkit.authorities import LOOPBACK, wall_clock
from testkit.processes import killed_at_end
from tests.cli.conftest import Start

PATIENCE = 60.0  # seconds for an exit that takes a few


class Unread:
    """A process whose log is read up to "Running", and then no more: its pipe is full."""

    def __init__(self, popen: subprocess.Popen[bytes], reading: int, writing: int) -> None:
        self.popen = popen
        started = b""
        while b"Running gRPC server on port" not in started:
            started += os.read(reading, 65536)
        found = re.search(rb"ealthz[ -]server is listening on 127\.0\.0\.1:(\d+)", started, re.IGNORECASE)
        assert found is not None
        self.health_port = int(found[1])
        # A description of its own, which does not wait: to change that of the process would change what it sees.
        other = os.open(f"/proc/self/fd/{writing}", os.O_WRONLY | os.O_NONBLOCK)
        try:
            while True:
                os.write(other, b"x" * 4096)
        except BlockingIOError:
            os.close(other)

    def healthy(self) -> bool:
        connection = HTTPConnection("127.0.0.1", self.health_port, timeout=PATIENCE)
        connection.request("GET", "/readyz")
        response = connection.getresponse()
        response.read()
        connection.close()
        return response.status == 200


@contextmanager
def unread(credentials: Path, *flags: str) -> Iterator[Unread]:
    standalone = ("--mode", "standalone", "--issuer-credentials", str(credentials), "--log-as-json")
    command = [sys.executable, "-m", "sentry_trio", *standalone, *LOOPBACK, *flags]
    reading, writing = os.pipe()
    with ExitStack() as outer:
        outer.callback(os.close, writing)
        outer.callback(os.close, reading)
        popen = subprocess.Popen(command, stdout=writing, stderr=subprocess.STDOUT)
        outer.enter_context(killed_at_end(popen))
        yield Unread(popen, reading, writing)


@pytest.mark.covered_processes
@pytest.mark.parametrize("flags", [[], ["--audit-log=stdout"]], ids=["log", "audit"])
def test_a_reader_that_stops_blocks_neither_health_nor_shutdown(flags: list[str], tmp_path: Path) -> None:
    with unread(tmp_path, *flags) as process:
        process.popen.send_signal(signal.SIGHUP)  # logs a dozen lines, and writes a line of the audit log
        assert process.healthy()
        process.popen.send_signal(signal.SIGTERM)
        assert process.popen.wait(PATIENCE) == 0


@pytest.mark.covered_processes
def test_a_second_signal_ends_it_without_a_reader(tmp_path: Path) -> None:
    with unread(tmp_path, "--audit-log=stdout") as process:
        process.popen.send_signal(signal.SIGTERM)
        process.popen.send_signal(signal.SIGINT)
        assert process.popen.wait(PATIENCE) in {0, 1}


@pytest.mark.covered_processes
def test_hangup_reopens_the_log_file(start: Start, tmp_path: Path) -> None:
    log = tmp_path / "sentry.log"
    process = start("--log-file", str(log))
    _until(log, "Running gRPC server on port")
    log.rename(tmp_path / "sentry.log.1")
    process.send(signal.SIGHUP)
    _until(log, "Running gRPC server on port")
    process.send(signal.SIGTERM)
    assert process.exit_code() == 0
    messages = [json.loads(line)["msg"] for line in log.read_text().splitlines()]
    assert messages[-1] == "Sentry shut down gracefully"
    before = [json.loads(line)["msg"] for line in (tmp_path / "sentry.log.1").read_text().splitlines()]
    assert before[0].startswith("Starting Dapr Sentry")
    assert not any("beginning shutdown" in message for message in before)


def _until(log: Path, text: str) -> None:
    """Waits until a file has a text, by `tail`, which is notified of changes."""
    command = ["timeout", str(PATIENCE), "tail", "--retry", "-n", "+1", "-F", str(log)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as tail:
        assert tail.stdout is not None
        found = any(text in line for line in tail.stdout)
        tail.kill()
    assert found


@pytest.mark.parametrize("redirection", [">&-", ">&- 2>&- <&-"])
def test_it_starts_with_closed_standard_streams(tmp_path: Path, redirection: str) -> None:
    log = tmp_path / "sentry.log"
    flags = [f"--issuer-credentials={tmp_path}", "--mode=standalone", *LOOPBACK, f"--log-file={log}", "--log-as-json"]
    command = ["bash", "-c", f'exec "$0" -m sentry_trio "$@" {redirection}', sys.executable, *flags]
    with killed_at_end(subprocess.Popen(command)) as process:
        _until(log, "Running gRPC server on port")
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0


@pytest.mark.covered_processes
def test_an_audit_log_needs_a_standard_output_that_is_open(tmp_path: Path) -> None:
    log = tmp_path / "sentry.log"
    flags = [f"--issuer-credentials={tmp_path}", "--mode=standalone", *LOOPBACK, f"--log-file={log}"]
    command = ["bash", "-c", 'exec "$0" -m sentry_trio "$@" >&-', sys.executable, *flags, "--audit-log=stdout"]
    assert subprocess.run(command, timeout=PATIENCE, check=False).returncode == 1
    assert "the audit log cannot be opened: standard output is closed" in log.read_text()


def test_remarks_of_libraries_on_certificates_are_no_raw_lines(start: Start, tmp_path: Path) -> None:
    _write_bundle_with_a_long_country(tmp_path)
    process = start("--log-level=debug")  # every line is parsed as JSON, from standard error too
    process.log_until("Running gRPC server on port ")
    assert {record["level"] for record in process.records if "it was 7" in str(record["msg"])} <= {"debug"}
    process.send(signal.SIGTERM)
    assert process.exit_code() == 0
    status = [sys.executable, "-m", "sentry_trio", "status", "--issuer-credentials", str(tmp_path)]
    shown = subprocess.run(status, capture_output=True, text=True, timeout=PATIENCE, check=False, cwd=tmp_path)
    assert "C=Germany" in shown.stdout
    assert shown.stderr == ""


def _write_bundle_with_a_long_country(directory: Path) -> None:
    now = wall_clock()
    with pytest.warns(UserWarning, match="it was 7"):
        root_name = x509.Name([x509.NameAttribute(NameOID.COUNTRY_NAME, "Germany", _validate=False)])
    root_key, issuer_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())

    def made(name: x509.Name, key: ec.EllipticCurvePrivateKey) -> bytes:
        builder = x509.CertificateBuilder(
            issuer_name=root_name,
            subject_name=name,
            public_key=key.public_key(),
            serial_number=7,
            not_valid_before=now - timedelta(days=1),
            not_valid_after=now + timedelta(days=365),
        )
        usage = x509.KeyUsage(
            digital_signature=False,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            key_cert_sign=True,
            crl_sign=True,
            encipher_only=False,
            decipher_only=False,
        )
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        builder = builder.add_extension(usage, critical=True)
        return builder.sign(root_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    (directory / "ca.crt").write_bytes(made(root_name, root_key))
    issuer_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "issuer")])
    (directory / "issuer.crt").write_bytes(made(issuer_name, issuer_key))
    (directory / "issuer.key").write_bytes(
        issuer_key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )

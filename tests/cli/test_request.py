"""`sentry-trio request` against a real process, and its files against OpenSSL."""

import shutil
import signal
import socket
import ssl
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from testkit.authorities import made_bundle
from testkit.command_line import run_command
from testkit.processes import killed_at_end, sentry_process

_PEM = b"-----BEGIN CERTIFICATE-----\n%s\n-----END CERTIFICATE-----\n"


def request(*arguments: str) -> subprocess.CompletedProcess[str]:
    return run_command("request", *arguments)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A process that serves; the directory of its credentials, and its port."""
    directory = tmp_path_factory.mktemp("authority")
    with sentry_process(directory) as process:
        yield directory, process.log_until("Running gRPC server on port ")


@pytest.fixture
def running(authority: tuple[Path, str], tmp_path: Path) -> tuple[str, ...]:
    """The flags by which a request finds the authority, whose trust anchors are in a directory of the test's own."""
    directory, port = authority
    shutil.copy(directory / "ca.crt", tmp_path)
    return ("--address", f"127.0.0.1:{port}", "--trust-anchors", str(tmp_path / "ca.crt"))


def openssl(*arguments: object) -> str:
    command = ["openssl", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("key_type", ["p256", "p384", "ed25519", "rsa2048"])
def test_a_first_certificate(running: tuple[str, ...], tmp_path: Path, key_type: str) -> None:
    out = tmp_path / "made" / "certs"
    result = request(*running, "--id", "myapp", "--namespace", "shop", "--key-type", key_type, "--out", str(out))
    assert (result.returncode, result.stderr) == (0, "")
    assert "spiffe://public/ns/shop/myapp" in result.stdout
    assert "23 h 59 min from now" in result.stdout
    verified = openssl(
        "verify", "-x509_strict", "-CAfile", out / "ca.crt", "-untrusted", out / "tls.crt", out / "tls.crt"
    )
    assert verified.endswith(": OK\n")
    assert openssl("pkey", "-in", out / "tls.key", "-pubout") == openssl(
        "x509", "-in", out / "tls.crt", "-pubkey", "-noout"
    )
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in out.iterdir()}
    assert modes == {"tls.key": 0o600, "tls.crt": 0o644, "ca.crt": 0o644}


def test_a_control_plane_service_shows_its_names(running: tuple[str, ...], tmp_path: Path) -> None:
    result = request(*running, "--id=dapr-injector", "--trust-domain=example.org", f"--out={tmp_path / 'out'}")
    assert "spiffe://example.org/ns/default/dapr-injector" in result.stdout
    assert "dapr-sidecar-injector.default.svc" in result.stdout


def fails(*arguments: str) -> str:
    result = request(*arguments)
    assert result.returncode == 1
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    return line


def test_a_rejection_is_reported(running: tuple[str, ...], tmp_path: Path) -> None:
    line = fails(*running, "--id=my.app", f"--out={tmp_path / 'out'}")
    assert "answered PermissionDenied: invalid request: parameter app-id cannot contain dots" in line
    assert not (tmp_path / "out").exists()


def test_another_authority_is_not_trusted(running: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "other.crt").write_bytes(made_bundle().anchors_pem)
    line = fails(*running, "--id=myapp", "--trust-anchors", str(tmp_path / "other.crt"))
    assert "does not verify against the trust anchors" in line
    assert line.endswith("; do they belong to another certificate authority?")


def test_another_identity_is_not_accepted(running: tuple[str, ...], tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("secret")
    line = fails(*running, "--id=myapp", "--sentry-namespace=dapr-system", "--token-file", str(token))
    assert "is spiffe://localhost/ns/default/dapr-sentry, not spiffe://localhost/ns/dapr-system/dapr-sentry" in line


def test_an_unreachable_peer(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_bytes(made_bundle().anchors_pem)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    line = fails("--id=myapp", f"--address=127.0.0.1:{port}", f"--trust-anchors={tmp_path / 'ca.crt'}")
    assert line.endswith(f"cannot reach 127.0.0.1:{port}: connection refused: is the CA running?")
    line = fails("--id=myapp", f"--address=localhost:{port}", f"--trust-anchors={tmp_path / 'ca.crt'}")
    assert line.endswith(f"cannot reach localhost:{port}: connection refused: is the CA running?")


def test_a_client_that_does_not_speak_grpc(tmp_path: Path) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("spiffe.invalid").configure_cert(context)
    (tmp_path / "ca.crt").write_bytes(authority.cert_pem.bytes())
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def hang_up() -> None:
            connection, _ = listener.accept()
            with connection, context.wrap_socket(connection, server_side=True):
                pass

        thread = threading.Thread(target=hang_up, daemon=True)
        thread.start()
        port = listener.getsockname()[1]
        line = fails("--id=myapp", f"--address=127.0.0.1:{port}", f"--trust-anchors={tmp_path / 'ca.crt'}")
        thread.join(10)
    assert "is a server without SPIFFE ID, not spiffe://localhost/ns/default/dapr-sentry" in line


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "No such file or directory"),
        (b"", "no certificates found: it is empty"),
        (b" \n", "no certificates found: it is empty"),
        (b"junk", "no certificates found: it is not PEM text"),
        (b"\x30\x82", "it is DER, not PEM; convert it with `openssl x509 -inform DER`"),
        (_PEM % "ü".encode(), "no certificates found: its BEGIN and END lines, or what is between them, are damaged"),
        (_PEM % b"AAAA", "certificate 1 of the trust anchors cannot be read"),
    ],
)
def test_anchors_that_cannot_be_read(tmp_path: Path, content: bytes | None, reason: str) -> None:
    anchors = tmp_path / "anchors.crt"
    if content is not None:
        anchors.write_bytes(content)
    line = fails("--id=myapp", f"--trust-anchors={anchors}")
    assert reason in line
    assert str(anchors) in line


def test_anchors_are_read_by_the_rules_of_the_authority(running: tuple[str, ...], tmp_path: Path) -> None:
    anchors = tmp_path / "anchors.crt"
    anchors.write_bytes(b"\xef\xbb\xbf" + (tmp_path / "ca.crt").read_bytes() + "# über alle\n".encode())
    result = request(*running, "--id=myapp", f"--trust-anchors={anchors}", f"--out={tmp_path / 'out'}")
    assert (result.returncode, result.stderr) == (0, "")


def test_a_port_without_tls(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_bytes(trustme.CA().cert_pem.bytes())
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            for _ in range(5):
                connection, _address = listener.accept()
                with connection:
                    connection.recv(4096)
                    connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

        threading.Thread(target=answer, daemon=True).start()
        port = listener.getsockname()[1]
        line = fails("--id=myapp", f"--address=127.0.0.1:{port}", f"--trust-anchors={tmp_path / 'ca.crt'}")
    assert "the TLS handshake failed (" in line
    assert line.endswith("): is this the gRPC port of the CA?")
    assert "_ssl.c" not in line


def test_a_directory_that_cannot_be_written_to(running: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert f"cannot write to {tmp_path / 'file'}" in fails(*running, "--id=myapp", f"--out={tmp_path / 'file'}")


def test_a_directory_of_another_identity(running: tuple[str, ...], tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    for name in ("jwt.txt", "jwt-1.txt", "jwt-23.txt", "jwt-x.txt", "notes.txt", "tls.key"):
        (out / name).write_text("of another")
    result = request(*running, "--id=myapp", f"--out={out}")
    assert (result.returncode, result.stderr) == (0, "")
    assert sorted(path.name for path in out.iterdir()) == ["ca.crt", "jwt-x.txt", "notes.txt", "tls.crt", "tls.key"]
    assert "PRIVATE KEY" in (out / "tls.key").read_text()


def test_all_files_are_replaced_or_none(running: tuple[str, ...], tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "ca.crt").mkdir(parents=True)
    (out / "tls.key").write_text("former key")
    (out / "jwt.txt").write_text("former token")
    assert f"cannot write to {out / 'ca.crt'}: Is a directory" in fails(*running, "--id=myapp", f"--out={out}")
    assert sorted(path.name for path in out.iterdir()) == ["ca.crt", "jwt.txt", "tls.key"]
    assert (out / "tls.key").read_text() == "former key"


def test_a_trust_domain_may_be_written_as_a_spiffe_id(running: tuple[str, ...], tmp_path: Path) -> None:
    result = request(*running, "--id=myapp", "--sentry-trust-domain=spiffe://localhost", f"--out={tmp_path / 'out'}")
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize(
    "arguments",
    [
        *([], ["--id=x", "--address=nowhere"], ["--id=x", "--key-type=rsa1"], ["--id=x", "--sentry-trust-domain=A"]),
        *(
            ["--id=x", f"--address={address}"]
            for address in ("x:0", "x:65536", f"{'a' * 300}:1", "a:b:1", f"x:{'9' * 5000}")
        ),
        # Bytes that are not UTF-8, as Python hands them on.
        ["--id=\udcff"],
        *(["--id=x", f"{flag}=\udcff"] for flag in ("--namespace", "--trust-domain", "--jwt-audience")),
    ],
    ids=lambda arguments: ascii(" ".join(arguments)[:40]),
)
def test_a_command_line_that_is_not_understood(arguments: list[str]) -> None:
    result = request(*arguments)
    assert result.returncode == 2
    assert result.stderr.startswith("usage: sentry-trio request")


def test_help_needs_no_page() -> None:
    result = request("--help")
    assert result.returncode == 0
    assert "openssl verify" in result.stdout


@pytest.mark.covered_processes
def test_an_interrupt_is_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_bytes(made_bundle().anchors_pem)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        where = f"127.0.0.1:{listener.getsockname()[1]}"
        command = [sys.executable, "-m", "sentry_trio", "request", "--id=x", f"--trust-anchors={tmp_path / 'ca.crt'}"]
        popen = subprocess.Popen(
            [*command, f"--address={where}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            # A shell ignores this signal in what it runs in the background, and children inherit that.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509  # one call
        )
        with killed_at_end(popen), listener.accept()[0]:
            popen.send_signal(signal.SIGINT)
            assert popen.communicate(timeout=60) == (b"", b"")
    assert popen.returncode == 130

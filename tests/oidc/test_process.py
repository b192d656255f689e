"""Conditions under which a process has an OIDC server, and errors that prevent its start."""

import socket
from pathlib import Path

import pytest

from testkit.oidc.served import write_pair
from testkit.processes import sentry_process

ON = ("--jwt-enabled", "--jwt-signing-algorithm=ES256", "--oidc-enabled", "--oidc-server-listen-address=127.0.0.1")
PLAIN = "--oidc-server-tls-enabled=false"


@pytest.mark.parametrize("flags", [["--oidc-enabled", PLAIN], ["--jwt-enabled", "--jwt-signing-algorithm=ES256"]])
def test_with_one_of_both_flags_nothing_listens(tmp_path: Path, flags: list[str]) -> None:
    with sentry_process(tmp_path, *flags) as process:
        process.log_until("OIDC HTTP server is disabled")
        process.log_until("Running gRPC server on port ")
        assert not any("Starting OIDC HTTP server" in message for message in process.messages())


def last_words(directory: Path, *flags: str, code: int = 1) -> str:
    with sentry_process(directory, *ON, *flags) as process:
        assert process.exit_code() == code
        assert process.records[-1]["level"] == "fatal"
        return process.messages()[-1]


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        reported = last_words(tmp_path, PLAIN, f"--oidc-server-listen-port={port}")
    assert f"could not listen on 127.0.0.1:{port}: Address already in use" in reported


@pytest.mark.parametrize(
    ("flag", "reported"),
    [
        ("--jwt-issuer=https://[", "invalid JWT issuer URI: "),
        ("--oidc-jwks-uri=https://iss/%zz", "invalid JWKS URI: "),
    ],
)
def test_urls_that_are_none(tmp_path: Path, flag: str, reported: str) -> None:
    assert reported in last_words(tmp_path, PLAIN, "--oidc-server-listen-port=0", flag, code=2)


def test_a_pair_that_does_not_belong_together(tmp_path: Path) -> None:
    write_pair(tmp_path)
    kept = (tmp_path / "tls.key").read_bytes()
    write_pair(tmp_path)
    (tmp_path / "tls.key").write_bytes(kept)
    files = (f"--oidc-server-tls-cert-file={tmp_path}/tls.crt", f"--oidc-server-tls-key-file={tmp_path}/tls.key")
    reported = last_words(tmp_path, "--oidc-server-listen-port=0", *files)
    assert "failed to load TLS certificate and key: " in reported
    assert "key values mismatch" in reported

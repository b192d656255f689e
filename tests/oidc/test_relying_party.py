"""Tokens of every algorithm, verified by a relying party that is given an issuer, an authority and the token."""

import socket
import subprocess
import sys
from functools import partial
from pathlib import Path

import jwt
import pytest
import trio

from tests.oidc.relying_party import verified
from tests.oidc.served import AUTHORITY, made_key, made_token, published, serving, write_pair
from tests.web.test_discovery import ALGORITHMS


@pytest.fixture
def ca_file(tmp_path: Path) -> str:
    write_pair(tmp_path)
    path = str(tmp_path / "ca.pem")
    AUTHORITY.cert_pem.write_to_path(path)
    return path


@pytest.fixture
def port() -> int:
    """The issuer names its port, so it is chosen before the server starts; nobody else here takes a port by number."""
    with socket.create_server(("127.0.0.1", 0)) as chosen:
        return int(chosen.getsockname()[1])


@pytest.mark.parametrize("path", ["", "/oidc"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_every_algorithm(tmp_path: Path, ca_file: str, port: int, algorithm: str, path: str) -> None:
    issuer = f"https://localhost:{port}{path}"
    flags = ("--oidc-server-listen-port", str(port), f"--oidc-path-prefix={path}")
    key, other = made_key(algorithm), made_key(algorithm)
    verify = partial(verified, issuer, ca_file, "public")
    async with serving(tmp_path, *flags, jwt_issuer=issuer) as served:
        served.server.publish(published(key, algorithm, "one"))
        claims = await trio.to_thread.run_sync(verify, made_token(key, algorithm, "one", issuer))
        assert claims["sub"] == "spiffe://public/ns/default/myapp"
        with pytest.raises(jwt.InvalidSignatureError):
            await trio.to_thread.run_sync(verify, made_token(other, algorithm, "one", issuer))
        with pytest.raises(jwt.PyJWKClientError):
            await trio.to_thread.run_sync(verify, made_token(key, algorithm, "two", issuer))
        with pytest.raises(jwt.InvalidIssuerError):
            await trio.to_thread.run_sync(verify, made_token(key, algorithm, "one", "https://elsewhere"))


async def test_as_a_process(tmp_path: Path, ca_file: str, port: int) -> None:
    issuer = f"https://localhost:{port}"
    key = made_key("ES256")
    command = [sys.executable, "-m", "tests.oidc.relying_party", issuer, ca_file, "public"]
    async with serving(tmp_path, "--oidc-server-listen-port", str(port), jwt_issuer=issuer) as served:
        served.server.publish(published(key, "ES256", "one"))
        token = made_token(key, "ES256", "one", issuer).encode()
        done = await trio.run_process(command, stdin=token, capture_stdout=True)
        assert done.stdout == b"spiffe://public/ns/default/myapp\n"
        with pytest.raises(subprocess.CalledProcessError):
            await trio.run_process(command, stdin=token[:-8], capture_stdout=True, capture_stderr=True)

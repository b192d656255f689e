"""Tokens of every algorithm, verified by a relying party that is given an issuer, an authority and the token."""

import re
import socket
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from urllib.error import URLError

import jwt
import pytest
import trio
import trustme

from sentry_trio.client import Workload, obtain
from testkit.authorities import serving as authority
from testkit.hostile_tokens import sealed
from testkit.oidc.relying_party import verified
from testkit.oidc.served import AUTHORITY, made_key, made_token, published, serving, write_pair
from tests.oidc.test_discovery import ALGORITHMS


@pytest.fixture
def ca_file(tmp_path: Path) -> str:
    write_pair(tmp_path)
    path = str(tmp_path / "ca.pem")
    AUTHORITY.cert_pem.write_to_path(path)
    return path


@pytest.fixture
def port() -> int:
    """The issuer names its port, so it is chosen before the server starts; no other test here uses a port by number."""
    with socket.create_server(("127.0.0.1", 0)) as chosen:
        return int(chosen.getsockname()[1])


@pytest.mark.parametrize(("algorithm", "path"), [*((each, "") for each in ALGORITHMS), ("ES256", "/oidc")])
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


NOW = int(time.time())


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"iss": "https://elsewhere"}, jwt.InvalidIssuerError),
        ({"iss": None}, jwt.MissingRequiredClaimError),
        ({"aud": ["other"]}, jwt.InvalidAudienceError),
        ({"aud": None}, jwt.MissingRequiredClaimError),
        ({"exp": NOW - 60}, jwt.ExpiredSignatureError),
        ({"exp": None}, jwt.MissingRequiredClaimError),
        ({"nbf": NOW + 3600}, jwt.ImmatureSignatureError),
        ({"sub": None}, jwt.MissingRequiredClaimError),
    ],
    ids=range(8),  # its own would have the time
)
async def test_relying_parties_reject_wrong_claims(
    tmp_path: Path, ca_file: str, port: int, changes: dict[str, object], error: type[Exception]
) -> None:
    """Against the relying party as well: what it would not refuse it would not show either."""
    issuer = f"https://localhost:{port}"
    key = made_key("ES256")
    verify = partial(verified, issuer, ca_file, "public")
    async with serving(tmp_path, "--oidc-server-listen-port", str(port), jwt_issuer=issuer) as served:
        served.server.publish(published(key, "ES256", "one"))
        await trio.to_thread.run_sync(verify, made_token(key, "ES256", "one", issuer))
        with pytest.raises(error):
            await trio.to_thread.run_sync(verify, made_token(key, "ES256", "one", issuer, **changes))


async def test_algorithms_that_are_not_named(tmp_path: Path, ca_file: str, port: int) -> None:
    issuer = f"https://localhost:{port}"
    key = made_key("RS256")
    claims = jwt.decode(made_token(key, "RS256", "one", issuer), options={"verify_signature": False})
    own = published(key, "RS256", "one")
    forged = [
        sealed({"alg": "none", "kid": "one"}, claims, None, "none"),
        sealed({"alg": "HS256", "kid": "one"}, claims, own.jwks, "HS256"),
        sealed({"alg": "RS512", "kid": "one"}, claims, key, "RS512"),
        sealed({"alg": "RS256", "kid": "one"}, claims, key, "PS256"),
    ]
    async with serving(tmp_path, "--oidc-server-listen-port", str(port), jwt_issuer=issuer) as served:
        served.server.publish(own)
        for token in forged:
            with pytest.raises(jwt.InvalidTokenError):
                await trio.to_thread.run_sync(verified, issuer, ca_file, "public", token)


async def test_a_document_that_is_not_the_issuers(tmp_path: Path, ca_file: str, port: int) -> None:
    issuer = f"https://localhost:{port}"
    key = made_key("ES256")
    flags = ("--oidc-server-listen-port", str(port))
    for reported, asked, breaks in (
        ("https://elsewhere", issuer, "says that it is https://elsewhere"),
        (issuer, f"{issuer}/", f"{issuer}/ says that it is {issuer}"),
        (issuer, f"{issuer}?tenant=1", "is not an https URL without query and fragment"),
        (issuer, issuer.replace("https", "http"), "is not an https URL without query and fragment"),
    ):
        async with serving(tmp_path, *flags, jwt_issuer=reported) as served:
            served.server.publish(published(key, "ES256", "one"))
            token = made_token(key, "ES256", "one", asked)
            with pytest.raises(ValueError, match=re.escape(breaks)):
                await trio.to_thread.run_sync(verified, asked, ca_file, "public", token)
    async with serving(tmp_path, *flags, "--oidc-jwks-uri=http://localhost/jwks.json", jwt_issuer=issuer) as served:
        served.server.publish(published(key, "ES256", "one"))
        with pytest.raises(ValueError, match="are not to be trusted"):
            await trio.to_thread.run_sync(verified, issuer, ca_file, "public", token)


async def test_a_server_that_another_authority_vouches_for(tmp_path: Path, ca_file: str, port: int) -> None:
    issuer = f"https://localhost:{port}"
    key = made_key("ES256")
    write_pair(tmp_path, trustme.CA())
    async with serving(tmp_path, "--oidc-server-listen-port", str(port), jwt_issuer=issuer) as served:
        served.server.publish(published(key, "ES256", "one"))
        with pytest.raises(URLError, match="CERTIFICATE_VERIFY_FAILED"):
            await trio.to_thread.run_sync(verified, issuer, ca_file, "public", made_token(key, "ES256", "one", issuer))


@pytest.mark.parametrize(("algorithm", "path"), [*((each, "") for each in ALGORITHMS), ("ES256", "/tenant")])
async def test_an_authority_of_every_algorithm(
    tmp_path: Path, ca_file: str, port: int, algorithm: str, path: str
) -> None:
    """From a workload's request to a relying party that knows the issuer and is shown the token."""
    issuer = f"https://localhost:{port}{path}"
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    flags = (
        *("--jwt-enabled", f"--jwt-signing-algorithm={algorithm}", f"--jwt-issuer={issuer}"),
        *("--oidc-enabled", "--oidc-server-listen-address=127.0.0.1", f"--oidc-server-listen-port={port}"),
        *(f"--oidc-server-tls-cert-file={tmp_path}/tls.crt", f"--oidc-server-tls-key-file={tmp_path}/tls.key"),
        f"--oidc-path-prefix={path}",
    )
    workload = Workload(app_id="myapp", namespace="shop", audiences=("cloud", "other"))
    async with authority(credentials, *flags) as running:
        obtained = await trio.to_thread.run_sync(obtain, running.authority(), workload)
        token = obtained.audience_jwts["cloud"]
        claims = await trio.to_thread.run_sync(verified, issuer, ca_file, "cloud", token)
        assert (claims["sub"], claims["aud"]) == ("spiffe://public/ns/shop/myapp", ["cloud"])
        assert obtained.jwt is not None
        claims = await trio.to_thread.run_sync(verified, issuer, ca_file, "cloud", obtained.jwt)
        assert claims["aud"] == ["public", "cloud", "other"]
        with pytest.raises(jwt.InvalidAudienceError):
            await trio.to_thread.run_sync(verified, issuer, ca_file, "cloud", obtained.audience_jwts["other"])


async def test_as_a_process(tmp_path: Path, ca_file: str, port: int) -> None:
    issuer = f"https://localhost:{port}"
    key = made_key("ES256")
    command = [sys.executable, "-m", "testkit.oidc.relying_party", issuer, ca_file, "public"]
    async with serving(tmp_path, "--oidc-server-listen-port", str(port), jwt_issuer=issuer) as served:
        served.server.publish(published(key, "ES256", "one"))
        token = made_token(key, "ES256", "one", issuer).encode()
        done = await trio.run_process(command, stdin=token, capture_stdout=True)
        assert done.stdout == b"spiffe://public/ns/default/myapp\n"
        with pytest.raises(subprocess.CalledProcessError):
            await trio.run_process(command, stdin=token[:-8], capture_stdout=True, capture_stderr=True)

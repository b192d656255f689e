"""JWTs in standalone mode, from the files to a relying party that knows nothing but the issuer."""

import json
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import jwt
import pytest
import trio
import trio.testing
import trustme
from grpclib.const import Status
from msgspec.structs import replace

from sentry_trio import app
from sentry_trio.errors import InvalidBundleError, StoreError
from sentry_trio.grpc.framing import frame_message
from sentry_trio.proto.sentry_pb2 import SignCertificateRequest, SignCertificateResponse
from sentry_trio.settings.command_line import parse_options
from sentry_trio.settings.options import Options
from testkit.authorities import LOOPBACK, made_csr
from testkit.grpc.raw import peering, request_head
from testkit.oidc.relying_party import verified

CSR = made_csr()


def options_in(directory: Path, *flags: str) -> Options:
    directory.mkdir(exist_ok=True)
    return parse_options(
        ["--mode=standalone", f"--issuer-credentials={directory}", *LOOPBACK, "--jwt-enabled", *flags], {}
    )


@asynccontextmanager
async def serving(options: Options) -> AsyncIterator[app.Application]:
    async with trio.open_nursery() as nursery:
        yield await nursery.start(partial(app.serve, options, environ={}))
        nursery.cancel_scope.cancel()


class RefusedError(Exception):
    """The status and its text."""


async def signed(application: app.Application, directory: Path, **fields: Any) -> SignCertificateResponse:
    """Response to a caller.

    Raises:
        RefusedError: it is refused.
    """
    request = SignCertificateRequest(id="myapp", namespace="shop", certificate_signing_request=CSR, **fields)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # the authority's certificate has a SPIFFE ID and no other name
    context.load_verify_locations(directory / "ca.crt")
    context.set_alpn_protocols(["h2"])
    async with peering(application.grpc_port, context=context) as peer:
        head = request_head(path="/dapr.proto.sentry.v1.CA/SignCertificate")
        peer.compose(1, head, frame_message(request.SerializeToString()))
        await peer.flush()
        answer = await peer.answer(1)
    if answer.status != Status.OK.value:
        raise RefusedError(answer.status, answer.message)
    return SignCertificateResponse.FromString(answer.data[5:])


def verified_by(
    directory: Path, token: str, audience: str, algorithm: str = "RS256", *, verify_iat: bool = True
) -> dict[str, Any]:
    keys = jwt.PyJWKSet.from_json((directory / "jwks.json").read_text())
    key = keys[jwt.get_unverified_header(token)["kid"]]
    claims: dict[str, Any] = jwt.decode(
        token, key, algorithms=[algorithm], audience=audience, options={"verify_iat": verify_iat}
    )
    return claims


async def test_tokens_come_with_a_certificate(tmp_path: Path) -> None:
    options = options_in(tmp_path, "--jwt-issuer=https://issuer.example", "--trust-domain=acme")
    async with serving(options) as application:
        answer = await signed(application, tmp_path, trust_domain="acme", jwt_audiences=["b", "a", "b"])
        claims = verified_by(tmp_path, answer.jwt.value, "acme")
        assert claims["aud"] == ["acme", "b", "a", "b"]
        assert claims["sub"] == "spiffe://acme/ns/shop/myapp"
        assert claims["iss"] == "https://issuer.example"
        assert claims["exp"] == answer.valid_until.seconds
        assert set(answer.per_audience_jwts) == {"acme", "a", "b"}
        for audience, token in answer.per_audience_jwts.items():
            assert verified_by(tmp_path, token.value, audience)["aud"] == [audience]
        assert (tmp_path / "jwt.key").stat().st_mode & 0o777 == 0o600


async def test_without_jwt_none_is_made_or_looked_at(tmp_path: Path) -> None:
    (tmp_path / "jwt.key").write_text("no key")
    (tmp_path / "jwks.json").write_text("no set")
    async with serving(replace(options_in(tmp_path), jwt_enabled=False)) as application:
        answer = await signed(application, tmp_path, jwt_audiences=["a"])
        assert not answer.HasField("jwt")
        assert not answer.per_audience_jwts


async def test_too_many_audiences(tmp_path: Path) -> None:
    async with serving(options_in(tmp_path, "--jwt-signing-algorithm=ES256")) as application:
        most = [str(number) for number in range(16)]
        answer = await signed(application, tmp_path, jwt_audiences=most)
        assert set(answer.per_audience_jwts) == {"public", *most}
        with pytest.raises(RefusedError) as caught:
            await signed(application, tmp_path, jwt_audiences=[*most, "one more"])
        message = "jwt_audiences has more than 16 values"
        assert caught.value.args == (Status.INVALID_ARGUMENT.value, message)


@pytest.mark.parametrize("flags", [["--jwt-key-id=mine", "--jwt-signing-algorithm=ES384"], []])
async def test_the_key_stays_over_restarts_and_starts(tmp_path: Path, flags: list[str]) -> None:
    options = options_in(tmp_path, *flags)
    async with serving(options) as application:
        before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
        await application.authority.restart()
        token = (await signed(application, tmp_path)).jwt.value
    async with serving(options):
        after = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    assert after == before
    verified_by(tmp_path, token, "public", options.jwt_signing_algorithm)
    if options.jwt_key_id:
        assert jwt.get_unverified_header(token)["kid"] == "mine"


async def test_turning_it_on_leaves_the_trust_bundle_alone(tmp_path: Path) -> None:
    options = options_in(tmp_path)
    names = ("ca.crt", "issuer.crt", "issuer.key")
    async with serving(replace(options, jwt_enabled=False)):
        commented = b"# mine\n" + (tmp_path / "ca.crt").read_bytes()
    (tmp_path / "ca.crt").write_bytes(commented)
    before = [((tmp_path / name).read_bytes(), (tmp_path / name).stat().st_mtime_ns) for name in names]
    async with serving(options):
        pass
    assert [((tmp_path / name).read_bytes(), (tmp_path / name).stat().st_mtime_ns) for name in names] == before


async def test_a_new_pair_is_in_use_at_the_next_run_and_a_lost_one_changes_nothing(tmp_path: Path) -> None:
    other = tmp_path / "other"
    async with serving(options_in(other)):
        pass
    directory = tmp_path / "own"
    async with serving(options_in(directory)) as application:
        for name in ("jwt.key", "jwks.json"):
            (other / name).replace(directory / name)
        await application.authority.restart()
        verified_by(directory, (await signed(application, directory)).jwt.value, "public")
        kept = (directory / "jwks.json").read_bytes()
        for name in ("jwt.key", "jwks.json"):
            (directory / name).unlink()
        with pytest.raises(StoreError, match="the JWT signing key is missing"):
            await application.authority.restart()
        token = (await signed(application, directory)).jwt.value
        (directory / "jwks.json").write_bytes(kept)
        verified_by(directory, token, "public")


async def test_unusable_jwt_settings_and_files_prevent_the_start(tmp_path: Path) -> None:
    with pytest.RaisesGroup(pytest.RaisesExc(InvalidBundleError, match="unsupported"), flatten_subgroups=True):
        async with serving(replace(options_in(tmp_path), jwt_signing_algorithm="x")):
            pass
    (tmp_path / "jwks.json").write_text("{}")
    with pytest.RaisesGroup(pytest.RaisesExc(StoreError, match="restore the key"), flatten_subgroups=True):
        async with serving(options_in(tmp_path)):
            pass
    async with serving(options_in(tmp_path / "there")):
        pass
    (tmp_path / "there" / "jwks.json").write_text("{}")
    with pytest.RaisesGroup(pytest.RaisesExc(InvalidBundleError, match=r"jwks\.json\)"), flatten_subgroups=True):
        async with serving(options_in(tmp_path / "there")):
            pass


async def test_a_relying_party_verifies_a_token_of_ours(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "web.pem")
    web = authority.issue_cert("localhost")
    web.cert_chain_pems[0].write_to_path(tmp_path / "tls.crt")
    web.private_key_pem.write_to_path(tmp_path / "tls.key")
    with socket.create_server(("127.0.0.1", 0)) as free:  # the issuer names its port
        port = free.getsockname()[1]
    issuer = f"https://localhost:{port}"
    options = options_in(
        tmp_path / "credentials",
        f"--jwt-issuer={issuer}",
        "--oidc-enabled",
        "--oidc-server-listen-address=127.0.0.1",
        f"--oidc-server-listen-port={port}",
        f"--oidc-server-tls-cert-file={tmp_path}/tls.crt",
        f"--oidc-server-tls-key-file={tmp_path}/tls.key",
    )
    async with serving(options) as application:
        answer = await signed(application, tmp_path / "credentials", jwt_audiences=["cloud"])
        token = answer.per_audience_jwts["cloud"].value
        for _ in range(2):
            claims = await trio.to_thread.run_sync(verified, issuer, str(tmp_path / "web.pem"), "cloud", token)
            assert claims["sub"] == "spiffe://public/ns/shop/myapp"
            await application.authority.restart()


async def until(is_so: Callable[[], bool]) -> None:
    with trio.fail_after(60):
        while not is_so():
            await trio.testing.wait_all_tasks_blocked(0.01)


async def test_keys_are_rotated_while_it_serves(tmp_path: Path) -> None:
    """Files are written by the process itself; each change is a hot restart, and tokens go on to verify."""
    passed = timedelta()

    def now() -> datetime:
        return datetime.now(UTC) + passed

    def names() -> list[str]:
        return [member["kid"] for member in json.loads((tmp_path / "jwks.json").read_text())["keys"]]

    def private_keys() -> int:
        return (tmp_path / "jwt.key").read_bytes().count(b"-----BEGIN")

    def stands(public: int, private: int) -> bool:
        return (len(names()), private_keys()) == (public, private)

    async def kid() -> str:
        token = (await signed(application, tmp_path)).jwt.value
        verified_by(tmp_path, token, "public", verify_iat=False)
        return str(jwt.get_unverified_header(token)["kid"])

    # The authority's clock runs ahead of the clients'.
    (tmp_path / "sentry.yaml").write_text("spec: {mtls: {allowedClockSkew: 100h}}")
    options = options_in(tmp_path, "--jwt-key-rotation=48h", f"--config={tmp_path}/sentry.yaml")
    async with trio.open_nursery() as nursery:
        application = await nursery.start(partial(app.serve, options, environ={}, now=now))
        await until(lambda: b"sentry-trio/rotation" in (tmp_path / "jwks.json").read_bytes())
        [first] = names()
        for hours, keys, private in ((47, 2, 2), (2, 2, 1), (27, 1, 1)):
            # Instead of days of waiting, the clock is set, and a restart reads it.
            passed += timedelta(hours=hours)
            await application.authority.restart()
            await until(partial(stands, keys, private))
            with trio.fail_after(60):  # the run that uses the files begins after they are written
                while (await kid() == first) != (private == 2):
                    await trio.testing.wait_all_tasks_blocked(0.01)
        assert first not in names()
        assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
        assert (tmp_path / "jwt.key").stat().st_mode & 0o777 == 0o600
        nursery.cancel_scope.cancel()

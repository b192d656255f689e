"""The OIDC server in a process: real TLS from real files, and what it does when they change."""

import json
import ssl
from functools import partial
from pathlib import Path

import pytest
import trio
import trustme
from msgspec.structs import replace
from trio.testing import MockClock

from sentry_trio import app
from sentry_trio.ca.published import PublishedKeys
from sentry_trio.component_settings import make_oidc_server
from sentry_trio.errors import InvalidOptionsError, ServerTLSError
from sentry_trio.listener import Address
from sentry_trio.oidc import server
from sentry_trio.settings.command_line import parse_options
from sentry_trio.telemetry.metrics import Metrics
from sentry_trio.web.health import Target
from testkit.authorities import LOOPBACK
from testkit.http_client import ask
from testkit.log_capture import capture_logs
from testkit.oidc.served import AUTHORITY, Served, serving, write_pair

KEYS = PublishedKeys(jwks=b'{"keys":[]}', algorithm="RS256")
REQUEST = b"HEAD /jwks.json HTTP/1.1\r\nhost: x\r\n\r\n"
OTHER = trustme.CA()


async def connected(served: Served, authority: trustme.CA = AUTHORITY) -> trio.SSLStream[trio.SocketStream]:
    tls = ssl.create_default_context()
    authority.configure_trust(tls)
    tcp = await trio.open_tcp_stream(served.address.host, served.address.port)
    stream = trio.SSLStream(tcp, tls, server_hostname="localhost", https_compatible=True)
    try:
        await stream.do_handshake()
    except trio.BrokenResourceError:
        await stream.aclose()
        raise
    return stream


async def status(stream: trio.SSLStream[trio.SocketStream]) -> int:
    await stream.send_all(REQUEST)
    return int((await stream.receive_some()).split()[1])


async def trusted_by(served: Served, authority: trustme.CA) -> None:
    """Waits until the server shows a certificate of that authority."""
    with trio.fail_after(60):
        while True:
            try:
                async with await connected(served, authority):
                    return
            except trio.BrokenResourceError:
                await trio.sleep(0.02)  # between two questions


def reloads(served: Served, outcome: str) -> float:
    line = f'sentry_oidc_tls_reloads_total{{outcome="{outcome}"}} '
    (found,) = (each for each in served.metrics.exposition()[0].decode().splitlines() if each.startswith(line))
    return float(found.removeprefix(line))


async def test_a_new_pair_is_for_new_connections(tmp_path: Path) -> None:
    write_pair(tmp_path)
    async with serving(tmp_path) as served:
        assert served.health.is_ready
        served.server.publish(KEYS)
        async with await connected(served) as old:
            assert await status(old) == 200
            write_pair(tmp_path, OTHER)
            await trusted_by(served, OTHER)
            assert await status(old) == 200
            served.server.publish(None)
            assert await status(old) == 404
        with pytest.raises(trio.BrokenResourceError):
            await connected(served, AUTHORITY)
        assert reloads(served, "success") >= 1


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("tls.crt", b"", "tls.crt: it has no PEM block CERTIFICATE"),
        ("tls.key", b"nonsense", "tls.key: it has no PEM block PRIVATE KEY"),
        ("tls.key", b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n", "tls.key: the key is encrypted"),
        ("tls.key", OTHER.issue_cert("x").private_key_pem.bytes(), "key values mismatch"),
        ("tls.key", None, "tls.key"),
    ],
)
async def test_a_bad_pair_changes_nothing(tmp_path: Path, name: str, content: bytes | None, says: str) -> None:
    write_pair(tmp_path)
    with capture_logs() as lines:
        async with serving(tmp_path) as served:
            if content is None:
                (tmp_path / name).unlink()
            else:
                (tmp_path / name).write_bytes(content)
            with trio.fail_after(60):
                while not reloads(served, "failure"):  # noqa: ASYNC110  # asked as a scraper asks
                    await trio.sleep(0.02)
            errors = [line["event"] for line in lines if line["log_level"] == "error"]
            assert says in errors[0]
            assert errors[0].endswith("; still using the previous certificate and key")
            assert served.health.is_ready
            async with await connected(served):
                pass
            write_pair(tmp_path, OTHER)
            await trusted_by(served, OTHER)


async def test_files_that_are_not_there_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "REMINDER", 0.001)
    with capture_logs() as lines:
        async with serving(tmp_path) as served:
            assert served.health.unready == ("oidc-server",)
            with pytest.raises(trio.BrokenResourceError):
                await connected(served)
            write_pair(tmp_path)
            await trusted_by(served, AUTHORITY)
            assert served.health.is_ready
            said = len(lines)
            for _ in range(10):  # each takes longer than a reminder would
                async with await connected(served):
                    pass
            assert len(lines) == said, "nobody waits any more"
    warnings = [line["event"] for line in lines if line["log_level"] == "warning"]
    assert warnings[0] == (
        f"Waiting for TLS certificate and key files to be available: {tmp_path}/tls.crt, {tmp_path}/tls.key"
    )


async def test_the_reminder_comes_every_five_seconds(autojump_clock: MockClock) -> None:
    with capture_logs() as lines:
        await server._remind((Path("a"), Path("b")), trio.CancelScope(deadline=trio.current_time() + 12))
    assert len(lines) == 3


@pytest.mark.parametrize("name", ["tls.crt", "tls.key"])
async def test_a_bad_pair_at_the_start_is_an_error(tmp_path: Path, name: str) -> None:
    write_pair(tmp_path)
    (tmp_path / name).unlink()
    (tmp_path / name).mkdir()
    with pytest.RaisesGroup(
        pytest.RaisesExc(ServerTLSError, match=f"^failed to load TLS certificate and key: .*{name}: is a directory$"),
        flatten_subgroups=True,
    ):
        async with serving(tmp_path):
            pytest.fail("it serves")


async def test_no_tls_is_no_tls(tmp_path: Path) -> None:
    write_pair(tmp_path)
    async with serving(tmp_path, "--oidc-server-tls-enabled=false") as served:
        served.server.publish(KEYS)
        assert served.health.is_ready
        assert (await ask(served.address, "/jwks.json")).body == KEYS.jwks


async def test_an_issuer_that_is_derived_over_tls(tmp_path: Path) -> None:
    write_pair(tmp_path)
    async with serving(tmp_path) as served:
        served.server.publish(KEYS)
        async with await connected(served) as stream:
            head = b"GET /.well-known/openid-configuration HTTP/1.1\r\nhost: h:1\r\nconnection: close\r\n\r\n"
            await stream.send_all(head)
            answer = b"".join([part async for part in stream])
    document = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert (document["issuer"], document["jwks_uri"]) == ("https://h:1", "https://h:1/jwks.json")


@pytest.mark.parametrize(("issuer", "warns"), [("https://iss", 0), ("dapr.io", 1), ("", 0)])
async def test_an_issuer_that_no_client_would_accept_is_logged(tmp_path: Path, issuer: str, warns: int) -> None:
    write_pair(tmp_path)
    with capture_logs() as lines:
        async with serving(tmp_path, jwt_issuer=issuer):
            pass
    assert sum("relying parties" in line["event"] for line in lines) == warns


def test_options_that_make_no_server() -> None:
    options = parse_options([], {})
    for wrong, says in (
        (replace(options, oidc_enabled=True), "the OIDC server needs certificate and key"),
        (replace(options, jwt_issuer="https://[", oidc_server_tls_enabled=False), "invalid JWT issuer URI"),
        (replace(options, oidc_jwks_uri="%", oidc_server_tls_enabled=False), "invalid JWKS URI"),
    ):
        with pytest.raises(InvalidOptionsError, match=says):
            make_oidc_server(wrong, metrics=Metrics(), ready=Target())


async def test_in_the_application(tmp_path: Path) -> None:
    (tmp_path / "credentials").mkdir()
    flags = ("--mode=standalone", f"--issuer-credentials={tmp_path}/credentials", *LOOPBACK)
    oidc = ("--oidc-enabled", "--oidc-server-tls-enabled=false", "--oidc-server-listen-port=0")
    options = parse_options([*flags, *oidc], {})
    with capture_logs() as lines:
        async with trio.open_nursery() as nursery:
            application = await nursery.start(partial(app.serve, replace(options, jwt_enabled=True), environ={}))
            assert application.oidc_port is not None
            port = application.oidc_port
            before = await ask(Address("127.0.0.1", port), "/nowhere")
            await application.authority.restart()
            assert (await ask(Address("127.0.0.1", port), "/nowhere")).status == before.status == 404
            assert (await ask(Address("127.0.0.1", application.health_port), "/healthz")).status == 200
            nursery.cancel_scope.cancel()
        async with trio.open_nursery() as nursery:
            application = await nursery.start(partial(app.serve, options, environ={}))
            assert application.oidc_port is None
            nursery.cancel_scope.cancel()
    said = [line["event"] for line in lines if line["scope"] in {"dapr.sentry", "dapr.sentry.server.oidc.http"}]
    assert f"Starting OIDC HTTP server (insecure) on 127.0.0.1:{port}" in said
    assert "OIDC HTTP server is disabled" in said
    assert any(line.startswith("--oidc-enabled has no effect") for line in said)

"""The OIDC app over real sockets: paths, hosts, methods, answers, caches."""

import hashlib
import http.client
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from ipaddress import ip_network

import pytest
import trio
from trio.testing import MockClock

from sentry_trio.ca.published import PublishedKeys
from sentry_trio.listener import Address
from sentry_trio.oidc import pages
from sentry_trio.oidc.hosts import Hosts
from sentry_trio.oidc.pages import OidcPages, OidcRules
from sentry_trio.telemetry.metrics import Metrics
from sentry_trio.web.exchanges import BODY_TIMEOUT, MAX_BODY_BYTES
from sentry_trio.web.messages import Request
from sentry_trio.web.server import serve_http
from testkit.cpu_time import cpu_seconds
from testkit.http_client import Answer, ask, connect

KEYS = PublishedKeys(jwks=b'{"keys":[{"kid":"1"}]}', algorithm="ES256")
DISCOVERY, JWKS = "/.well-known/openid-configuration", "/jwks.json"
LOOPBACK = ip_network("127.0.0.0/8")
TEXT = {"content-type": "text/plain; charset=utf-8", "x-content-type-options": "nosniff", "cache-control": "no-store"}


@asynccontextmanager
async def serving(
    issuer: str | None = "https://iss",
    *,
    keys: PublishedKeys | None = KEYS,
    jwks_uri: str | None = None,
    prefix: str = "",
    hosts: Hosts | None = None,
    metrics: Metrics | None = None,
) -> AsyncIterator[tuple[Address, OidcPages]]:
    rules = OidcRules(issuer=issuer, jwks_uri=jwks_uri, prefix=prefix, hosts=hosts or Hosts((), ()))
    app = OidcPages(rules, metrics or Metrics())
    app.keys = keys
    async with trio.open_nursery() as nursery:
        yield await nursery.start(partial(serve_http, app.answer, host="127.0.0.1", port=0)), app
        nursery.cancel_scope.cancel()


def without_date(answer: Answer) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name != "date"}


async def raw(address: Address, request: bytes) -> tuple[int, bytes, bytes]:
    """Status, head and body of the answer to any bytes; the server has closed then."""
    async with await trio.open_tcp_stream(address.host, address.port) as stream:
        await stream.send_all(request)
        head, _, body = b"".join([part async for part in stream]).partition(b"\r\n\r\n")
    return int(head.split()[1]), head.lower(), body


# --- what is there


async def test_the_key_set() -> None:
    async with serving() as (address, _):
        answer = await ask(address, JWKS)
    assert (answer.status, answer.body) == (200, KEYS.jwks)
    assert without_date(answer) == {
        "content-type": "application/json",
        "content-length": str(len(KEYS.jwks)),
        "cache-control": "public, max-age=3600",
        "etag": f'"{hashlib.sha256(KEYS.jwks).hexdigest()}"',
    }


async def test_discovery() -> None:
    async with serving() as (address, _):
        answer = await ask(address, DISCOVERY)
    assert answer.status == 200
    document = json.loads(answer.body)
    assert document["issuer"] == "https://iss"
    assert document["jwks_uri"] == "https://iss/jwks.json"
    assert document["id_token_signing_alg_values_supported"] == ["ES256"]
    assert without_date(answer) == {
        "content-type": "application/json",
        "content-length": str(len(answer.body)),
        "cache-control": "public, max-age=3600",
        "etag": f'"{hashlib.sha256(answer.body).hexdigest()}"',
    }


async def test_a_foreign_client_uses_one_connection_for_all() -> None:
    def fetch(port: int) -> list[int]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.connect()
        sock, statuses = connection.sock, []
        for method, path, body in (
            ("GET", JWKS, None),
            ("HEAD", DISCOVERY, None),
            ("GET", "/nowhere", None),
            ("POST", JWKS, b"x" * MAX_BODY_BYTES),
            ("GET", JWKS, b"a body that nobody needs"),
        ):
            connection.request(method, path, body)
            response = connection.getresponse()
            response.read()
            statuses.append(response.status)
            assert connection.sock is sock
        connection.close()
        return statuses

    async with serving() as (address, _):
        assert await trio.to_thread.run_sync(fetch, address.port) == [200, 200, 404, 405, 200]


async def test_another_key_set_is_served_over_open_connections() -> None:
    async with serving(keys=None) as (address, app):
        client = await connect(address)
        async with client.stream:
            assert (await client.ask(JWKS)).status == 404
            app.keys = KEYS
            first = await client.ask(JWKS)
            app.keys = PublishedKeys(jwks=b'{"keys":[]}', algorithm="RS256")
            second = await client.ask(JWKS, headers={"if-none-match": first.headers["etag"]})
            assert (first.body, second.status, second.body) == (KEYS.jwks, 200, b'{"keys":[]}')
            document = json.loads((await client.ask(DISCOVERY)).body)
            assert document["id_token_signing_alg_values_supported"] == ["RS256"]
            app.keys = None
            assert (await client.ask(JWKS)).status == 404


@pytest.mark.parametrize(
    ("path", "text"), [(JWKS, b"JWKS not available\n"), (DISCOVERY, b"OIDC configuration not available\n")]
)
async def test_without_keys(path: str, text: bytes) -> None:
    async with serving(keys=None) as (address, _):
        answer = await ask(address, path)
    assert (answer.status, answer.body) == (404, text)
    assert without_date(answer) == {**TEXT, "content-length": str(len(text))}


# --- paths


@pytest.mark.parametrize(
    ("prefix", "path", "status"),
    [
        ("", JWKS, 200),
        ("", DISCOVERY, 200),
        ("", JWKS + "?any=query", 200),
        ("", "/%6awks.json", 200),
        ("", "/.well-known%2Fopenid-configuration", 404),
        ("", "/", 404),
        ("", JWKS + "/", 404),
        ("", "/JWKS.json", 404),
        ("", "/oidc" + JWKS, 404),
        ("", "*", 404),
        ("/oidc", "/oidc" + JWKS, 200),
        ("/oidc", "/oidc" + DISCOVERY, 200),
        ("/oidc", JWKS, 404),
        ("/oidc", "/oidc", 404),
        ("/a%20b", "/a%20b" + JWKS, 200),
        ("", "//jwks.json", 307),
        ("", "/a/../jwks.json", 307),
        ("", "//nowhere", 307),
    ],
)
async def test_paths(prefix: str, path: str, status: int) -> None:
    async with serving(prefix=prefix) as (address, _):
        answer = await ask(address, path)
    assert answer.status == status
    if status == 404:
        assert answer.body == b"404 page not found\n"
        assert without_date(answer) == {**TEXT, "content-length": "19"}


async def test_an_unclean_path_is_sent_on() -> None:
    async with serving() as (address, _):
        answer = await ask(address, "/a/..//jwks.json?b=c")
        assert answer.headers["location"] == "/jwks.json?b=c"
        assert answer.body == b'<a href="/jwks.json?b=c">Temporary Redirect</a>.\n\n'
        assert (await ask(address, "//evil.example/..//x")).headers["location"] == "/x"
        assert b'"><script' not in (await ask(address, '//x?"><script')).body


# --- methods


@pytest.mark.parametrize("path", [JWKS, DISCOVERY])
async def test_head_is_get_without_a_body(path: str) -> None:
    async with serving() as (address, _):
        got = await ask(address, path)
        _, head, body = await raw(address, f"HEAD {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
    assert body == b""
    for name in ("content-length", "etag", "content-type", "cache-control"):
        assert f"{name}: {got.headers[name]}".lower().encode() in head


@pytest.mark.parametrize("keys", [KEYS, None], ids=["keys", "none"])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "BREW"])
@pytest.mark.parametrize("path", [JWKS, DISCOVERY])
async def test_other_methods(method: str, path: str, keys: PublishedKeys | None) -> None:
    async with serving(keys=keys) as (address, _):
        answer = await ask(address, path, method)
        assert (await ask(address, "/nowhere", method)).status == 404
    assert (answer.status, answer.body) == (405, b"Method not allowed\n")
    assert without_date(answer) == {**TEXT, "allow": "GET, HEAD", "content-length": "19"}


# --- hosts


@pytest.mark.parametrize("path", [JWKS, DISCOVERY])
async def test_a_host_that_is_not_allowed(path: str) -> None:
    async with serving(hosts=Hosts(("good",), ())) as (address, _):
        assert (await ask(address, path, headers={"host": "good:1"})).status == 200
        assert (await ask(address, "/nowhere", headers={"host": "bad"})).status == 404
        assert (await ask(address, path, headers={"host": "bad", "x-forwarded-host": "good:1"})).status == 200
        assert (await ask(address, path, headers={"host": "good", "x-forwarded-host": "bad"})).status == 403
        answer = await ask(address, path, "POST", headers={"host": "bad"})
    assert (answer.status, answer.body) == (403, b"Forbidden: unauthorized domain\n")
    assert without_date(answer) == {**TEXT, "content-length": "31"}


async def test_a_trusted_proxy_replaces_the_host() -> None:
    async with serving(None, hosts=Hosts(("good",), [LOOPBACK])) as (address, _):
        answer = await ask(address, DISCOVERY, headers={"host": "inner", "x-forwarded-host": "evil, good"})
        assert json.loads(answer.body)["issuer"] == "http://good"
        assert answer.headers["vary"] == "x-forwarded-host"
        assert (await ask(address, DISCOVERY, headers={"host": "good", "x-forwarded-host": "evil"})).status == 403


@pytest.mark.parametrize("host", ["h/path", "u@h", "a b", 'h"', "h?q", "h#f", "h\\x", "h:port", "\u00e4"])
async def test_a_trusted_proxys_word_that_makes_no_issuer(host: str) -> None:
    async with serving(None, hosts=Hosts((), [LOOPBACK])) as (address, _):
        head = f"GET {DISCOVERY} HTTP/1.1\r\nhost: inner\r\nx-forwarded-host: {host}\r\nconnection: close\r\n\r\n"
        status, _, body = await raw(address, head.encode("latin-1"))
    assert (status, body) == (400, b"Invalid host\n")


@pytest.mark.parametrize(
    ("host", "status", "text"),
    [
        ("x:notaport", 400, b"Invalid host\n"),
        ("::1", 400, b"Invalid host\n"),
        ("", 400, b"Invalid host\n"),
        ("a b", 400, b"400 Bad Request: malformed Host header"),
        ("a@b", 400, b"400 Bad Request: malformed Host header"),
    ],
)
async def test_a_host_that_makes_no_issuer(host: str, status: int, text: bytes) -> None:
    async with serving(None) as (address, _):
        answer = await ask(address, DISCOVERY, headers={"host": host})
        assert (answer.status, answer.body) == (status, text)
    async with serving() as (address, _):
        assert (await ask(address, DISCOVERY, headers={"host": "x:notaport"})).status == 200


async def test_http_1_0_needs_no_host() -> None:
    async with serving() as (address, _):
        status, _, body = await raw(address, b"GET /jwks.json HTTP/1.0\r\n\r\n")
        assert (status, body) == (200, KEYS.jwks)
        status, _, body = await raw(address, b"GET /jwks.json HTTP/1.1\r\n\r\n")
        assert (status, body) == (400, b"400 Bad Request: missing required Host header")
        status, head, _ = await raw(address, b"GET /jwks.json HTTP/2.0\r\nhost: x\r\n\r\n")
        assert status == 505
        assert b"connection: close" in head


# --- issuer and jwks_uri


@pytest.mark.parametrize(
    ("issuer", "jwks_uri", "prefix", "target", "reported"),
    [
        ("https://iss", None, "", DISCOVERY, ("https://iss", "https://iss/jwks.json")),
        ("https://iss/p", None, "", DISCOVERY, ("https://iss/p", "https://iss/p/jwks.json")),
        ("https://iss", None, "/o", "/o" + DISCOVERY, ("https://iss", "https://iss/o/jwks.json")),
        ("https://iss", "https://keys/", "", DISCOVERY, ("https://iss", "https://keys/")),
        ("dapr.io", None, "", DISCOVERY, ("dapr.io", "/jwks.json")),
        (None, None, "", DISCOVERY, ("http://h:1", "http://h:1/jwks.json")),
        (None, None, "/o", "/o" + DISCOVERY, ("http://h:1", "http://h:1/o/jwks.json")),
        (None, None, "", "https://other" + DISCOVERY, ("https://other", "https://other/jwks.json")),
        (None, None, "", "gopher://other" + DISCOVERY, ("http://other", "http://other/jwks.json")),
    ],
)
async def test_discovery_names_issuer_and_jwks_uri(
    issuer: str | None, jwks_uri: str | None, prefix: str, target: str, reported: tuple[str, str]
) -> None:
    async with serving(issuer, jwks_uri=jwks_uri, prefix=prefix) as (address, _):
        document = json.loads((await ask(address, target, headers={"host": "h:1"})).body)
    assert (document["issuer"], document["jwks_uri"]) == reported


# --- caches


@pytest.mark.parametrize(
    ("issuer", "allowed", "proxies", "control", "vary"),
    [
        ("https://iss", (), (), "public, max-age=3600", None),
        ("https://iss", (), (LOOPBACK,), "public, max-age=3600", None),
        (None, (), (), "no-store", None),
        (None, ("h", "*"), (), "no-store", None),
        (None, (), (LOOPBACK,), "no-store", "x-forwarded-host"),
        (None, ("h",), (), "public, max-age=3600", "x-forwarded-host"),
        (None, ("h",), (LOOPBACK,), "public, max-age=3600", "x-forwarded-host"),
    ],
)
async def test_discovery_is_cached_only_if_the_client_cannot_choose_the_issuer(
    issuer: str | None, allowed: tuple[str, ...], proxies: tuple[object, ...], control: str, vary: str | None
) -> None:
    hosts = Hosts(allowed, [LOOPBACK] if proxies else [])
    async with serving(issuer, hosts=hosts) as (address, _):
        answer = await ask(address, DISCOVERY, headers={"host": "h"})
        jwks = await ask(address, JWKS, headers={"host": "h"})
    assert (answer.headers["cache-control"], answer.headers.get("vary")) == (control, vary)
    assert (jwks.headers["cache-control"], jwks.headers.get("vary")) == ("public, max-age=3600", None)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    ("known", "status"),
    [("{}", 304), ("W/{}", 304), ('"other", {}', 304), (" * ", 304), ('"other"', 200), ("", 200), ('"a,b"', 200)],
)
async def test_known_content_is_not_reported_again(method: str, known: str, status: int) -> None:
    async with serving() as (address, _):
        etag = (await ask(address, JWKS)).headers["etag"]
        request = f"{method} {JWKS} HTTP/1.1\r\nhost: x\r\nif-none-match: {known.format(etag)}\r\n\r\n"
        async with await trio.open_tcp_stream(address.host, address.port) as stream:
            await stream.send_all(request.encode())
            head = (await stream.receive_some()).partition(b"\r\n\r\n")[0].decode()
            assert int(head.split()[1]) == status
            assert f"etag: {etag}" in head
            assert "cache-control: public, max-age=3600" in head
            if status == 304:
                assert "content-length" not in head
                assert "content-type" not in head
                # The connection goes on.
                await stream.send_all(request.encode())
                assert (await stream.receive_some()).startswith(b"HTTP/1.1 304 ")


# --- costly requests


@pytest.mark.parametrize(
    ("path", "header"),
    [
        ("/" + "%ff/" * 4000, b""),
        ("/" + "%" * 16_000, b""),
        ("//" + "<" * 16_000, b""),
        (JWKS, b'""' * 8000),
    ],
    ids=["segments", "percent signs", "redirect", "entity tags"],
)
async def test_long_requests_are_answered_fast(path: str, header: bytes) -> None:
    app = OidcPages(OidcRules(issuer=None, jwks_uri=None, prefix="", hosts=Hosts((), ())), Metrics())
    app.keys = KEYS
    request = Request("GET", path, headers=((b"host", b"x"), (b"if-none-match", header)))
    assert await cpu_seconds(app.answer, request) < 0.0003


async def test_a_path_with_every_character_encoded() -> None:
    async with serving(prefix="/a%20b") as (address, _):
        for path in ("/a b" + DISCOVERY, "/a b" + JWKS):
            encoded = "".join(each if each == "/" else f"%{ord(each):x}" for each in path)
            assert (await ask(address, encoded)).status == 200
        assert (await ask(address, "/" + "a" * 16_000)).status == 404


# --- bodies


async def test_a_body_that_is_too_long() -> None:
    async with serving() as (address, _):
        head = f"POST {JWKS} HTTP/1.1\r\nhost: x\r\ncontent-length: {MAX_BODY_BYTES + 1}\r\n\r\n".encode()
        async with await trio.open_tcp_stream(address.host, address.port) as stream:
            await stream.send_all(head + b"x" * (MAX_BODY_BYTES + 1))
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 413 ")


async def test_a_body_that_takes_too_long(autojump_clock: MockClock) -> None:
    async with serving() as (address, _):
        client = await connect(address)
        async with client.stream, trio.open_nursery() as nursery:
            start = trio.current_time()

            @nursery.start_soon
            async def drip() -> None:
                await client.stream.send_all(
                    b"GET /jwks.json HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
                )
                while True:
                    await trio.sleep(1)
                    await client.stream.send_all(b"1\r\nx\r\n")

            assert (await client.stream.receive_some()).startswith(b"HTTP/1.1 408 ")
            assert trio.current_time() - start == pytest.approx(BODY_TIMEOUT)
            nursery.cancel_scope.cancel()


# --- metrics


async def test_a_failure_of_its_own_is_answered_and_counted(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(**_given: object) -> bytes:
        raise RuntimeError("defect")

    monkeypatch.setattr(pages, "discovery_document", fail)
    metrics = Metrics()
    async with serving(metrics=metrics) as (address, _):
        assert (await ask(address, DISCOVERY)).status == 500
        assert (await ask(address, JWKS)).status == 200
    assert b'sentry_oidc_requests_total{code="500",path="discovery"} 1.0' in metrics.exposition()[0]
    (record,) = caplog.records
    assert record.exc_info is not None
    assert record.exc_info[0] is RuntimeError


async def test_answers_are_counted() -> None:
    metrics = Metrics()
    async with serving(metrics=metrics) as (address, _):
        await ask(address, JWKS)
        await ask(address, DISCOVERY)
        await ask(address, DISCOVERY, "POST")
        await ask(address, "/nowhere")
    reported = metrics.exposition()[0].decode()
    for labels in (
        'code="200",path="jwks"',
        'code="200",path="discovery"',
        'code="405",path="discovery"',
        'code="404",path="other"',
    ):
        assert f"sentry_oidc_requests_total{{{labels}}} 1.0" in reported

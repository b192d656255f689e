"""The HTTP server over real sockets: who is served, for how long, and how it ends.

Where time matters it is virtual (`autojump_clock`): a test that waits for a deadline takes none.
"""

import contextlib
import errno
import gc
import http.client
import io
import re
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

import h11
import pytest
import trio
import trustme
from trio.testing import MockClock

from sentry_trio.errors import ListenError
from sentry_trio.grpc import server_context
from sentry_trio.listener import Address
from sentry_trio.telemetry.logs import configure_logging
from sentry_trio.web import connections, exchanges, server
from sentry_trio.web.connections import ConnectionLimits
from sentry_trio.web.messages import Handler, Request, Response
from sentry_trio.web.server import TLSProvider, serve_http
from testkit.http_client import Client, ask, connect


async def hello(request: Request) -> Response:
    return Response(200, f"{request.method} {request.path}".encode())


class Slow:
    """A handler that answers on demand."""

    def __init__(self) -> None:
        self.asked = trio.Event()
        self.go_on = trio.Event()

    async def __call__(self, request: Request) -> Response:
        self.asked.set()
        await self.go_on.wait()
        return await hello(request)


@asynccontextmanager
async def serving(
    handler: Handler,
    *,
    tls: TLSProvider | None = None,
    limits: ConnectionLimits | None = None,
    count_evicted: Callable[[], None] = lambda: None,
    shutdown_timeout: float = 5.0,
) -> AsyncIterator[tuple[Address, Callable[[], None], trio.Event]]:
    """A server, how to cancel it, and the event of its end."""
    ended = trio.Event()
    scope = trio.CancelScope()

    async def run(task_status: trio.TaskStatus[Address]) -> None:
        try:
            with scope:
                await serve_http(
                    handler,
                    host="127.0.0.1",
                    port=0,
                    tls=tls,
                    limits=limits,
                    count_evicted=count_evicted,
                    shutdown_timeout=shutdown_timeout,
                    task_status=task_status,
                )
        finally:
            ended.set()

    async with trio.open_nursery() as nursery:
        yield await nursery.start(run), scope.cancel, ended
        scope.cancel()


@asynccontextmanager
async def serving_a_request(slow: Slow) -> AsyncIterator[tuple[Address, Client, Callable[[], None], trio.Event]]:
    """A server with one connection, whose request the handler has not answered yet."""
    async with serving(slow) as (address, cancel, ended):
        client = await connect(address)
        async with client.stream:
            await client.send("/slow")
            await slow.asked.wait()
            yield address, client, cancel, ended


async def refused(address: Address) -> bool:
    try:
        async with await trio.open_tcp_stream(address.host, address.port):
            return False
    except OSError:
        return True


# --- serving


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "BREW"])
async def test_a_request_is_answered(method: str) -> None:
    async with serving(hello) as (address, _, _):
        answer = await ask(address, "/some/path?query", method)
        assert (answer.status, answer.body) == (200, f"{method} /some/path".encode())
        assert "server" not in answer.headers


async def test_head_has_no_body() -> None:
    async with serving(hello) as (address, _, _):
        client = await connect(address)
        async with client.stream:
            await client.send("/", "HEAD")
            assert (await client.answer()).body == b""


async def test_requests_on_one_connection() -> None:
    async with serving(hello) as (address, _, _):
        client = await connect(address)
        async with client.stream:
            bodies = [(await client.ask(path)).body for path in ("/a", "/b", "/c")]
    assert bodies == [b"GET /a", b"GET /b", b"GET /c"]


async def test_a_body_is_ignored() -> None:
    async with serving(hello) as (address, _, _), await trio.open_tcp_stream(address.host, address.port) as stream:
        await stream.send_all(b"POST /x HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nhello")
        assert (await stream.receive_some()).startswith(b"HTTP/1.1 200 ")


async def test_ipv6() -> None:
    try:
        async with trio.open_nursery() as nursery:
            address = await nursery.start(partial(serve_http, hello, host="::1", port=0))
            assert (await ask(address, "/")).status == 200
            nursery.cancel_scope.cancel()
    except* ListenError:
        pytest.skip("this machine has no IPv6")


async def test_an_address_that_is_taken() -> None:
    async with serving(hello) as (address, _, _):
        with pytest.raises(ListenError, match=f"could not listen on 127.0.0.1:{address.port}: Address already in use"):
            await serve_http(hello, host="127.0.0.1", port=address.port)


# --- peers that misbehave


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nhost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/1.1\r\nhost: x\r\nfiller: " + b"x" * exchanges.MAX_HEADER_BYTES,
    ],
)
async def test_invalid_requests_are_rejected_and_others_are_served(request_bytes: bytes) -> None:
    async with serving(hello) as (address, _, _):
        async with await trio.open_tcp_stream(address.host, address.port) as stream:
            await stream.send_all(request_bytes)
            received = await stream.receive_some()
            assert re.match(rb"HTTP/1.1 4\d\d ", received)
        assert (await ask(address, "/")).status == 200


async def test_websockets_are_not_spoken() -> None:
    upgrade = {
        "upgrade": "websocket",
        "connection": "upgrade",
        "sec-websocket-version": "13",
        "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    async with serving(hello) as (address, _, _):
        assert (await ask(address, "/", headers=upgrade)).body == b"GET /"
        assert (await ask(address, "/")).status == 200


async def test_headers_that_never_end(autojump_clock: MockClock) -> None:
    async with serving(hello) as (address, _, _):
        start = trio.current_time()
        client = await connect(address)
        async with client.stream, trio.open_nursery() as nursery:

            @nursery.start_soon
            async def drip() -> None:
                await client.stream.send_all(b"GET / HTTP/1.1\r\n")
                while True:
                    await trio.sleep(1)
                    await client.stream.send_all(b"x: y\r\n")

            assert await client.is_closed_by_peer()
            nursery.cancel_scope.cancel()
        assert trio.current_time() - start <= exchanges.IDLE_TIMEOUT + 1


async def test_an_idle_connection_is_closed(autojump_clock: MockClock) -> None:
    async with serving(hello) as (address, _, _):
        client = await connect(address)
        async with client.stream:
            await client.ask("/")
            start = trio.current_time()
            assert await client.is_closed_by_peer()
            assert trio.current_time() - start == pytest.approx(exchanges.IDLE_TIMEOUT)


async def test_a_peer_that_does_not_read(autojump_clock: MockClock) -> None:
    async def endless(request: Request) -> Response:
        return Response(200, b"x" * 50_000_000)

    async with serving(endless, shutdown_timeout=3.0) as (address, cancel, ended):
        client = await connect(address)
        async with client.stream:
            await client.send("/")
            cancel()
            start = trio.current_time()
            await ended.wait()
            assert trio.current_time() - start <= 3.0


async def test_a_connection_ends_at_its_age_limit(autojump_clock: MockClock) -> None:
    async with serving(hello) as (address, _, _):
        client = await connect(address)
        async with client.stream:
            start = trio.current_time()
            with contextlib.suppress(h11.RemoteProtocolError, trio.BrokenResourceError):
                while True:
                    await client.ask("/")
                    await trio.sleep(1)
            assert trio.current_time() - start == pytest.approx(connections.MAX_CONNECTION_AGE, abs=2)


@pytest.mark.parametrize(
    ("body", "status", "seconds"),
    [
        (b"1\r\nx\r\n" * 1000, 408, exchanges.BODY_TIMEOUT),
        (b"1\r\nx\r\n" * 2000, 413, 0),
        (b"8000\r\n" + b"x" * 0x8000 + b"\r\n8001\r\n" + b"x" * 0x8001, 413, 0),
    ],
    ids=["slow", "pieces", "long"],
)
async def test_a_long_unwanted_body(autojump_clock: MockClock, body: bytes, status: int, seconds: float) -> None:
    async with serving(hello) as (address, _, _):
        client = await connect(address)
        async with client.stream:
            start = trio.current_time()
            await client.stream.send_all(b"POST /x HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n" + body)
            assert (await client.stream.receive_some()).startswith(f"HTTP/1.1 {status} ".encode())
            assert trio.current_time() - start == pytest.approx(seconds)
            with trio.fail_after(exchanges.LINGER_TIMEOUT + 1):
                assert await client.is_closed_by_peer()


async def test_a_body_that_waits_for_100_is_not_sent() -> None:
    """RFC 9110, 10.1.1."""
    head = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\nexpect: 100-continue\r\n\r\n"
    answer = await _answer_to(head)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"connection: close" in answer.lower()


async def test_connect_is_refused() -> None:
    assert (await _answer_to(b"CONNECT h:1 HTTP/1.1\r\nhost: h:1\r\n\r\n")).startswith(b"HTTP/1.1 405 ")


async def test_a_peer_that_is_gone_before_it_is_accepted(log: io.StringIO) -> None:
    async with serving(hello) as (address, _, _):
        with socket.create_connection((address.host, address.port)) as peer:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # closed by a reset
        assert (await ask(address, "/")).status == 200
    assert log.getvalue() == ""


async def test_accepting_continues_after_a_failure(
    log: io.StringIO, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock, capfd: pytest.CaptureFixture[str]
) -> None:
    """As long as descriptors are lacking, with one line a minute."""
    accept = socket.socket.accept

    def tired(listener: socket.socket) -> tuple[socket.socket, object]:
        if trio.current_time() < begin + 150:
            raise OSError(errno.EMFILE, "Too many open files")
        return accept(listener)

    monkeypatch.setattr(socket.socket, "accept", tired)
    begin = trio.current_time()
    async with serving(hello) as (address, _, _):
        assert (await ask(address, "/")).status == 200
    lines = log.getvalue().splitlines()
    assert len(lines) == 3
    assert all("cannot accept HTTP connections: [Errno 24] Too many open files" in line for line in lines)
    assert "suppressed=599" in lines[1]
    assert capfd.readouterr().err == ""


async def test_a_request_with_two_lengths_is_the_last_of_its_connection() -> None:
    """RFC 9112, 6.3."""
    head = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n"
    answer = await _answer_to(head + b"0\r\n\r\n" + b"GET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n")
    assert answer.count(b"HTTP/1.1 200") == 1
    assert b"connection: close" in answer.lower()


@pytest.mark.parametrize("more", [b"GET / HTTP/1.1\r\nhost: x\r\n\r\n" * 100, b"\0" * 1000])
async def test_bytes_after_the_last_request_are_ignored(log: io.StringIO, more: bytes) -> None:
    for _ in range(10):  # tasks run in any order
        answer = await _answer_to(b"GET /last HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n" + more)
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert answer.endswith(b"\r\n\r\nGET /last")
    assert log.getvalue() == ""


async def _answer_to(request: bytes) -> bytes:
    """All that the server sends until it closes."""
    async with serving(hello) as (address, _, _), await trio.open_tcp_stream(address.host, address.port) as stream:
        await stream.send_all(request)
        with trio.fail_after(60):
            return b"".join([part async for part in stream])


async def test_connections_are_bounded_and_the_oldest_is_closed(log: io.StringIO) -> None:
    evicted: list[None] = []
    limits = ConnectionLimits(total=2)
    async with serving(hello, limits=limits, count_evicted=lambda: evicted.append(None)) as (address, _, _):
        one, two = await connect(address), await connect(address)
        async with one.stream, two.stream:
            assert (await one.ask("/")).status == (await two.ask("/")).status == 200
            three = await connect(address)
            async with three.stream:
                assert (await three.ask("/")).status == 200
                assert await one.is_closed_by_peer()
                assert (await two.ask("/")).status == 200
            assert (await ask(address, "/")).status == 200
            for _ in range(3):
                assert (await ask(address, "/")).status == 200
    assert log.getvalue().count("too many are open") == 1
    assert evicted


async def test_connections_that_were_closed_before_they_are_accepted_take_no_place() -> None:
    evicted: list[None] = []
    limits = ConnectionLimits(total=2)
    async with serving(hello, limits=limits, count_evicted=lambda: evicted.append(None)) as (address, _, _):
        one = await connect(address)
        async with one.stream:
            assert (await one.ask("/")).status == 200
            for _ in range(300):  # no task of the server runs meanwhile
                socket.create_connection((address.host, address.port)).close()
            assert (await ask(address, "/")).status == 200
            assert (await one.ask("/")).status == 200
    assert evicted == []


async def test_a_connection_with_a_request_under_way_is_closed_too() -> None:
    slow = Slow()
    async with serving(slow, limits=ConnectionLimits(total=1)) as (address, _, _):
        one = await connect(address)
        async with one.stream:
            await one.send("/")
            await slow.asked.wait()
            slow.go_on.set()
            assert (await ask(address, "/")).status == 200


TOO_LARGE = b"431 Request Header Fields Too Large"
CHUNKED = b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("request_bytes", "text"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", b"400 Bad Request: missing required Host header"),
        (b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", b"400 Bad Request: too many Host headers"),
        (b"nonsense\r\n\r\n", b"400 Bad Request"),
        (
            b"GET / HTTP/1.1\r\nhost: x\r\nfiller: " + b"x" * exchanges.MAX_HEADER_BYTES,
            TOO_LARGE,
        ),
        (b"GET / HTTP/1.1\r\nhost: x\r\n" + b"a:\r\n" * exchanges.MAX_HEADERS + b"\r\n", TOO_LARGE),
        (b"GET / HTTP/1.1\r\nhost: x\r\n" + b"a:\r\n" * 4000, TOO_LARGE),
        (CHUNKED + b"0\r\n" + b"a:\r\n" * 4000 + b"\r\n", TOO_LARGE),
    ],
)
async def test_errors_have_a_reason_in_plain_text(request_bytes: bytes, text: bytes) -> None:
    async with serving(hello) as (address, _, _), await trio.open_tcp_stream(address.host, address.port) as stream:
        await stream.send_all(request_bytes)
        head, _, body = b"".join([part async for part in stream]).partition(b"\r\n\r\n")
    assert body == text
    assert b"content-type: text/plain; charset=utf-8" in head
    assert b"connection: close" in head


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
async def test_as_many_headers_as_are_allowed(end: bytes) -> None:
    head = b"GET / HTTP/1.1\nhost: x\nconnection: close\n" + b"a:\n" * (exchanges.MAX_HEADERS - 2) + b"\n"
    assert (await _answer_to(head.replace(b"\n", end))).endswith(b"\r\n\r\nGET /")


async def test_too_many_headers_of_a_request_without_an_answer_body() -> None:
    head = b"HEAD / HTTP/1.1\r\nhost: x\r\n" + b"a:\r\n" * exchanges.MAX_HEADERS + b"\r\n"
    answer = await _answer_to(head)
    assert answer.startswith(b"HTTP/1.1 431 ")
    assert answer.endswith(b"\r\n\r\n")


async def test_lines_of_a_body_are_not_counted() -> None:
    body = b"\n" * 10_000
    close = CHUNKED.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")
    answer = await _answer_to(close + b"%x\r\n%s\r\n0\r\na: b\r\n\r\n" % (len(body), body))
    assert answer.endswith(b"\r\n\r\nPOST /")


async def test_headers_that_are_too_large_and_complete() -> None:
    """The last part of them arrives when all before it are still within the limit."""
    headers = b"GET / HTTP/1.1\r\nhost: x\r\nfiller: " + b"x" * exchanges.MAX_HEADER_BYTES + b"\r\n\r\n"
    for begin in (b"", b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"):
        assert b"HTTP/1.1 431 " in await _answer_to(begin + headers.replace(b"x" * 1000, b"x" * 1600))


async def test_the_parsed_headers_are_not_held_while_a_body_is_awaited() -> None:
    async with serving(hello) as (address, _, _), await trio.open_tcp_stream(address.host, address.port) as stream:
        gc.collect()
        before = _requests_in_memory()
        await stream.send_all(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\nx")
        await trio.testing.wait_all_tasks_blocked()
        assert _requests_in_memory() == before
        await stream.send_all(b"x")
        assert (await stream.receive_some()).endswith(b"\r\n\r\nPOST /")


def _requests_in_memory() -> int:
    return sum(isinstance(held, h11.Request) for held in gc.get_objects())


async def test_http2_is_not_spoken() -> None:
    upgrade = {"upgrade": "h2c", "connection": "upgrade, http2-settings", "http2-settings": "AAMAAABk"}
    async with serving(hello) as (address, _, _):
        answer = await ask(address, "/", headers=upgrade)
        assert (answer.status, answer.body) == (200, b"GET /")
        async with await trio.open_tcp_stream(address.host, address.port) as stream:
            await stream.send_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 ")


# --- TLS


AUTHORITY = trustme.CA()
IDENTITY = AUTHORITY.issue_cert("localhost")
SERVER_TLS = server_context(IDENTITY.cert_chain_pems[0].bytes(), IDENTITY.private_key_pem.bytes(), protocols=())


def client_tls(**attributes: object) -> ssl.SSLContext:
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    for name, value in attributes.items():
        setattr(context, name, value)
    return context


def fetch(address: Address, tls: ssl.SSLContext, *, protocols: tuple[str, ...] = ()) -> tuple[int, str | None]:
    """By http.client, in a thread: the status, and the protocol that ALPN chose."""
    if protocols:
        tls.set_alpn_protocols(list(protocols))
    connection = http.client.HTTPSConnection("localhost", address.port, context=tls, timeout=60)
    connection.connect()
    try:
        connection.request("GET", "/")
        response = connection.getresponse()
        response.read()
        return response.status, connection.sock.selected_alpn_protocol()
    finally:
        connection.close()


async def test_tls() -> None:
    schemes = []

    async def report(request: Request) -> Response:
        schemes.append(request.scheme)
        return await hello(request)

    async with serving(report, tls=lambda: SERVER_TLS) as (address, _, _):
        for protocols in ((), ("h2",), ("h2", "http/1.1")):
            fetched = await trio.to_thread.run_sync(partial(fetch, address, client_tls(), protocols=protocols))
            assert fetched == (200, None)
    assert schemes == ["https"] * 3


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_tls_from_1_2_on(version: ssl.TLSVersion) -> None:
    tls = client_tls(minimum_version=version, maximum_version=version)
    async with serving(hello, tls=lambda: SERVER_TLS) as (address, _, _):
        assert await trio.to_thread.run_sync(fetch, address, tls) == (200, None)


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
async def test_tls_1_1_is_refused() -> None:
    tls = client_tls(minimum_version=ssl.TLSVersion.TLSv1, maximum_version=ssl.TLSVersion.TLSv1_1)
    tls.set_ciphers("ALL:@SECLEVEL=0")
    async with serving(hello, tls=lambda: SERVER_TLS) as (address, _, _):
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await trio.to_thread.run_sync(fetch, address, tls)
        assert await trio.to_thread.run_sync(fetch, address, client_tls()) == (200, None)


async def test_no_tls_yet() -> None:
    async with serving(hello, tls=lambda: None) as (address, _, _):
        client = await connect(address)
        async with client.stream:
            assert await client.is_closed_by_peer()


@pytest.mark.parametrize("sent", [b"", b"\x16\x03\x01"])
async def test_a_handshake_that_never_ends(autojump_clock: MockClock, sent: bytes) -> None:
    async with serving(hello, tls=lambda: SERVER_TLS) as (address, _, _):
        client = await connect(address)
        async with client.stream:
            await client.stream.send_all(sent)
            start = trio.current_time()
            assert await client.is_closed_by_peer()
            assert trio.current_time() - start == pytest.approx(server.HANDSHAKE_TIMEOUT)


async def test_invalid_handshakes(log: io.StringIO) -> None:
    async with serving(hello, tls=lambda: SERVER_TLS) as (address, _, _):
        client = await connect(address)
        async with client.stream:
            await client.send("/")
            assert await client.is_closed_by_peer()
        (await connect(address)).stream.socket.close()
        assert await trio.to_thread.run_sync(fetch, address, client_tls()) == (200, None)
    assert log.getvalue() == ""


async def test_stopping_closes_idle_tls_connections_at_once(autojump_clock: MockClock) -> None:
    async with serving(hello, tls=lambda: SERVER_TLS) as (address, cancel, ended):
        tcp = await trio.open_tcp_stream(address.host, address.port)
        async with trio.SSLStream(tcp, client_tls(), server_hostname="localhost", https_compatible=True) as stream:
            await stream.send_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 200 ")
            start = trio.current_time()
            cancel()
            await ended.wait()
            assert trio.current_time() == start


# --- faults of our own


@pytest.fixture
def log() -> io.StringIO:
    stream = io.StringIO()
    configure_logging(level="debug", as_json=False, stream=stream, instance="h", version="v")
    return stream


async def test_a_handler_that_raises_is_an_answer_500_and_a_log_line(log: io.StringIO) -> None:
    async def broken(request: Request) -> Response:
        raise RuntimeError("broken on purpose")

    async with serving(broken) as (address, _, _):
        assert (await ask(address, "/")).status == 500
        assert (await ask(address, "/")).status == 500
    assert log.getvalue().count("RuntimeError: broken on purpose") == 1, "one a minute"
    assert len(log.getvalue().splitlines()) == 1


async def test_one_connection_that_fails_does_not_end_the_server(
    log: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(self: object) -> None:
        raise RuntimeError("a defect")

    async with serving(hello) as (address, _, _):
        with monkeypatch.context() as broken:
            broken.setattr(exchanges.Exchanges, "serve", fail)
            client = await connect(address)
            async with client.stream:
                await client.send("/")
                assert await client.is_closed_by_peer()
        assert (await ask(address, "/")).status == 200
    assert "a defect" in log.getvalue()


async def test_successful_requests_are_not_logged(log: io.StringIO, capfd: pytest.CaptureFixture[str]) -> None:
    async with serving(hello) as (address, _, _):
        await ask(address, "/")
    assert log.getvalue() == ""
    assert capfd.readouterr() == ("", "")


# --- the end


async def test_stopping_closes_the_port_and_idle_connections_at_once(autojump_clock: MockClock) -> None:
    async with serving(hello) as (address, cancel, ended):
        used, fresh = await connect(address), await connect(address)
        async with used.stream, fresh.stream:
            await used.ask("/")
            start = trio.current_time()
            cancel()
            await ended.wait()
            assert trio.current_time() == start
            assert await used.is_closed_by_peer()
            assert await fresh.is_closed_by_peer()
        assert await refused(address)


async def test_a_request_under_way_is_answered(autojump_clock: MockClock) -> None:
    slow = Slow()
    async with serving_a_request(slow) as (address, client, cancel, ended):
        cancel()
        await trio.testing.wait_all_tasks_blocked()
        assert await refused(address)
        assert not ended.is_set()
        slow.go_on.set()
        assert (await client.answer()).body == b"GET /slow"
        await client.stream.send_eof()
        start = trio.current_time()
        await ended.wait()
        assert trio.current_time() == start
        assert await client.is_closed_by_peer()


@pytest.mark.parametrize("arrived", ["not accepted", "accepted", "kept"])
async def test_a_request_that_the_server_has_not_read_is_answered(arrived: str) -> None:
    """A close with unread bytes would be a reset, of a probe that was sent in time."""
    async with serving(hello) as (address, cancel, ended):
        if arrived == "kept":
            client = await connect(address)
            await client.ask("/")
            peer = client.stream.socket._sock  # type: ignore[attr-defined]
        else:
            peer = socket.create_connection((address.host, address.port))
        with contextlib.closing(peer):
            if arrived == "accepted":
                await trio.testing.wait_all_tasks_blocked()
            peer.send(b"GET /late HTTP/1.1\r\nhost: x\r\n\r\n")
            cancel()
            with trio.fail_after(60):
                answer = await trio.to_thread.run_sync(received, peer)
                await ended.wait()
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.endswith(b"GET /late")


def received(peer: socket.socket) -> bytes:
    """All that the server sends until it closes."""
    peer.settimeout(60)
    return b"".join(iter(lambda: peer.recv(1000), b""))


async def test_the_last_answer_is_read_before_the_connection_ends(autojump_clock: MockClock) -> None:
    """A close with unread bytes of the peer would destroy the answer, also while the server stops (RFC 9112, 9.6)."""
    slow = Slow()
    async with serving_a_request(slow) as (_, client, cancel, ended):
        cancel()
        await trio.testing.wait_all_tasks_blocked()
        start = trio.current_time()
        slow.go_on.set()
        await client.stream.send_all(b"x" * 1000)
        assert (await client.answer()).body == b"GET /slow"
        await ended.wait()
        assert trio.current_time() - start == pytest.approx(exchanges.LINGER_TIMEOUT)
        assert await client.is_closed_by_peer()


async def test_an_endless_request_is_closed(autojump_clock: MockClock) -> None:
    slow = Slow()
    async with serving_a_request(slow) as (_, client, cancel, ended):
        start = trio.current_time()
        cancel()
        await ended.wait()
        assert trio.current_time() - start == pytest.approx(5.0)
        assert await client.is_closed_by_peer()


async def test_a_partial_request_is_closed(autojump_clock: MockClock) -> None:
    async with serving(hello) as (address, cancel, ended):
        client = await connect(address)
        async with client.stream:
            await client.stream.send_all(b"GET / HTTP/1.1\r\nhost:")
            await trio.testing.wait_all_tasks_blocked()
            start = trio.current_time()
            cancel()
            await ended.wait()
            assert trio.current_time() - start <= 5.0


async def test_cancelled_before_it_begins() -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        await serve_http(hello, host="127.0.0.1", port=0)
    assert scope.cancelled_caught

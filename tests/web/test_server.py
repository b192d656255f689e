"""The HTTP server over real sockets: who is served, for how long, and how it ends.

Where time matters it is virtual (`autojump_clock`): a test that waits for a deadline takes none.
"""

import contextlib
import io
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial

import h11
import pytest
import trio
from hypercorn.trio.tcp_server import TCPServer
from trio.testing import MockClock

from sentry_trio.errors import ListenError
from sentry_trio.telemetry.logs import configure_logging
from sentry_trio.web import server
from sentry_trio.web.asgi import ASGIApp, Receive, Scope, Send, answer
from sentry_trio.web.listen import Address
from sentry_trio.web.server import serve_http
from tests.logged import logging_as_before
from tests.web.client import ask, connect


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    await answer(send, 200, f"{scope['method']} {scope['path']}".encode())


class Slow:
    """An app that answers when told to."""

    def __init__(self) -> None:
        self.asked = trio.Event()
        self.go_on = trio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.asked.set()
        await self.go_on.wait()
        await hello(scope, receive, send)


@asynccontextmanager
async def serving(app: ASGIApp, **options: float) -> AsyncIterator[tuple[Address, Callable[[], None], trio.Event]]:
    """A server, how to cancel it, and the event of its end."""
    ended = trio.Event()
    scope = trio.CancelScope()

    async def run(task_status: trio.TaskStatus[Address]) -> None:
        try:
            with scope:
                await serve_http(app, host="127.0.0.1", port=0, task_status=task_status, **options)
        finally:
            ended.set()

    async with trio.open_nursery() as nursery:
        yield await nursery.start(run), scope.cancel, ended
        scope.cancel()


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
        b"GET / HTTP/1.1\r\nhost: x\r\nfiller: " + b"x" * server.MAX_HEADER_BYTES,
    ],
)
async def test_what_is_no_request_is_refused_and_others_are_served(request_bytes: bytes) -> None:
    async with serving(hello) as (address, _, _):
        async with await trio.open_tcp_stream(address.host, address.port) as stream:
            await stream.send_all(request_bytes)
            received = await stream.receive_some()
            assert re.match(rb"HTTP/1.1 4\d\d ", received)
        assert (await ask(address, "/")).status == 200


async def test_a_websocket_is_refused() -> None:
    upgrade = {
        "upgrade": "websocket",
        "connection": "upgrade",
        "sec-websocket-version": "13",
        "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    async with serving(hello) as (address, _, _):
        assert (await ask(address, "/", headers=upgrade)).status == 403
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
        assert trio.current_time() - start <= server.IDLE_TIMEOUT + 1


async def test_an_idle_connection_is_closed(autojump_clock: MockClock) -> None:
    async with serving(hello) as (address, _, _):
        client = await connect(address)
        async with client.stream:
            await client.ask("/")
            start = trio.current_time()
            assert await client.is_closed_by_peer()
            assert trio.current_time() - start == pytest.approx(server.IDLE_TIMEOUT)


async def test_a_peer_that_does_not_read(autojump_clock: MockClock) -> None:
    async def endless(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, 200, b"x" * 50_000_000)

    async with serving(endless, shutdown_timeout=3.0) as (address, cancel, ended):
        client = await connect(address)
        async with client.stream:
            await client.send("/")
            cancel()
            start = trio.current_time()
            await ended.wait()
            assert trio.current_time() - start <= 3.0


async def test_a_connection_does_not_last_for_ever(autojump_clock: MockClock) -> None:
    async with serving(hello) as (address, _, _):
        client = await connect(address)
        async with client.stream:
            start = trio.current_time()
            with contextlib.suppress(h11.RemoteProtocolError, trio.BrokenResourceError):
                while True:
                    await client.ask("/")
                    await trio.sleep(1)
            assert trio.current_time() - start == pytest.approx(server.MAX_CONNECTION_AGE, abs=2)


async def test_a_long_body_that_nobody_wants(autojump_clock: MockClock) -> None:
    async with serving(hello) as (address, _, _):
        client = await connect(address)
        async with client.stream:
            head = b"POST /x HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
            await client.stream.send_all(head + b"1\r\nx\r\n" * 1000)
            assert (await client.stream.receive_some()).startswith(b"HTTP/1.1 200 ")
            with trio.fail_after(server.MAX_CONNECTION_AGE + 1):
                while not await client.is_closed_by_peer():
                    pass


async def test_connections_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MAX_CONNECTIONS", 2)
    async with serving(hello) as (address, _, _):
        one, two, three = [await connect(address) for _ in range(3)]
        async with one.stream, two.stream, three.stream:
            assert await three.is_closed_by_peer()
            assert (await one.ask("/")).status == 200
            await two.stream.aclose()
            await one.ask("/", headers={"connection": "close"})
            assert await one.is_closed_by_peer()
        assert (await ask(address, "/")).status == 200


# --- faults of our own


@pytest.fixture
def log() -> io.StringIO:
    stream = io.StringIO()
    configure_logging(level="debug", as_json=False, stream=stream, instance="h", version="v")
    return stream


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    with logging_as_before():
        yield


async def test_an_app_that_raises_is_an_answer_500_and_a_log_line(log: io.StringIO) -> None:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        raise RuntimeError("broken on purpose")

    async with serving(broken) as (address, _, _):
        assert (await ask(address, "/")).status == 500
        assert (await ask(address, "/")).status == 500
    assert log.getvalue().count("RuntimeError: broken on purpose") == 2
    assert len(log.getvalue().splitlines()) == 2


async def test_one_connection_that_fails_does_not_end_the_server(
    log: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(self: object) -> None:
        raise RuntimeError("hypercorn has a bug")

    async with serving(hello) as (address, _, _):
        with monkeypatch.context() as broken:
            broken.setattr(TCPServer, "run", fail)
            client = await connect(address)
            async with client.stream:
                assert await client.is_closed_by_peer()
        assert (await ask(address, "/")).status == 200
    assert "hypercorn has a bug" in log.getvalue()


async def test_nothing_is_logged_of_what_goes_well(log: io.StringIO, capfd: pytest.CaptureFixture[str]) -> None:
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
    async with serving(slow) as (address, cancel, ended):
        client = await connect(address)
        async with client.stream:
            await client.send("/slow")
            await slow.asked.wait()
            cancel()
            await trio.testing.wait_all_tasks_blocked()
            assert await refused(address)
            assert not ended.is_set()
            slow.go_on.set()
            assert (await client.answer()).body == b"GET /slow"
            start = trio.current_time()
            await ended.wait()
            assert trio.current_time() == start
            assert await client.is_closed_by_peer()


async def test_a_request_that_does_not_end_is_given_up(autojump_clock: MockClock) -> None:
    slow = Slow()
    async with serving(slow, shutdown_timeout=5.0) as (address, cancel, ended):
        client = await connect(address)
        async with client.stream:
            await client.send("/slow")
            await slow.asked.wait()
            start = trio.current_time()
            cancel()
            await ended.wait()
            assert trio.current_time() - start == pytest.approx(5.0)
            assert await client.is_closed_by_peer()


async def test_a_request_half_sent_is_given_up(autojump_clock: MockClock) -> None:
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

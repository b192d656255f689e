"""One GET: of our own servers, and of whatever else may listen on a port. Real sockets on loopback."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio

from sentry_trio.status.collect import MOST_BYTES, fetch
from sentry_trio.status.report import NotShownError
from sentry_trio.web.health import Health
from sentry_trio.web.server import serve_http

Talk = Callable[[trio.SocketStream], Awaitable[None]]


@asynccontextmanager
async def listening(talk: Talk) -> AsyncIterator[int]:
    """A server that does to each connection what it likes."""
    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        await nursery.start(partial(trio.serve_listeners, talk, [listener]))
        yield listener.socket.getsockname()[1]
        nursery.cancel_scope.cancel()


def saying(answer: bytes, *, then: Callable[[], Awaitable[None]] | None = None) -> Talk:
    async def talk(stream: trio.SocketStream) -> None:
        try:
            await stream.receive_some()
            await stream.send_all(answer)
            if then is not None:
                await then()
            await stream.aclose()
        except trio.BrokenResourceError:
            await stream.aclose()

    return talk


async def refusal(port: int, *, seconds: float = 5) -> str:
    with pytest.raises(NotShownError) as caught:
        await fetch("127.0.0.1", port, "/livez", timeout=seconds)
    return str(caught.value).replace(f":{port}", ":port")


async def test_our_own_server() -> None:
    health = Health()
    async with trio.open_nursery() as nursery:
        bound = await nursery.start(partial(serve_http, health.answer, host="127.0.0.1", port=0))
        assert b'"ready": true' in await fetch("127.0.0.1", bound.port, "/livez?verbose", timeout=5)
        health.target("x")
        with pytest.raises(NotShownError, match="answered 503 to /readyz"):
            await fetch("127.0.0.1", bound.port, "/readyz", timeout=5)
        nursery.cancel_scope.cancel()


async def test_an_unreachable_peer() -> None:
    async with listening(saying(b"")) as port:
        pass
    assert await refusal(port) == "cannot reach 127.0.0.1:port: Connection refused"


async def test_a_name_that_is_none() -> None:
    with pytest.raises(NotShownError, match=r"cannot reach nowhere\.invalid:80: "):
        await fetch("nowhere.invalid", 80, "/", timeout=30)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (b"", "127.0.0.1:port does not speak HTTP: "),
        (b"SSH-2.0-OpenSSH_9.9\r\n", "127.0.0.1:port does not speak HTTP: "),
        (b"\x15\x03\x03\x00\x02\x02\x46", "127.0.0.1:port does not speak HTTP: "),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab", "127.0.0.1:port does not speak HTTP: "),
        (b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 100_000, "127.0.0.1:port does not speak HTTP: "),
        (
            b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
            "127.0.0.1:port answered 404 to /livez: not a port of",
        ),
        (b"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n", "127.0.0.1:port answered 302 to /livez"),
    ],
    ids=["nothing", "ssh", "tls", "cut", "headers", "404", "302"],
)
async def test_malformed_answers_are_errors(answer: bytes, says: str) -> None:
    async with listening(saying(answer)) as port:
        assert (await refusal(port)).startswith(says)


async def test_a_server_that_never_answers_times_out(autojump_clock: trio.abc.Clock) -> None:
    async with listening(saying(b"HTTP/1.1 200 OK\r\n", then=trio.sleep_forever)) as port:
        before = trio.current_time()
        assert await refusal(port, seconds=3) == "127.0.0.1:port did not answer within 3 s"
        assert trio.current_time() == before + 3


async def test_a_slow_answer_times_out_as_a_whole(autojump_clock: trio.abc.Clock) -> None:
    """The time is that of the whole answer."""

    async def drip(stream: trio.SocketStream) -> None:
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        try:
            while True:
                await stream.send_all(b"x")
                await trio.sleep(1)
        except trio.BrokenResourceError:
            await stream.aclose()

    async with listening(drip) as port:
        assert "did not answer within 10 s" in await refusal(port, seconds=10)


async def test_an_endless_answer_is_cut() -> None:
    sent = 0

    async def pour(stream: trio.SocketStream) -> None:
        nonlocal sent
        await stream.send_all(b"HTTP/1.1 200 OK\r\n\r\n")
        try:
            while True:
                await stream.send_all(b"x" * 65536)
                sent += 65536
        except trio.BrokenResourceError:
            await stream.aclose()

    async with listening(pour) as port:
        assert re.fullmatch(rf"127.0.0.1:port answered more than {MOST_BYTES} bytes to /livez", await refusal(port))
    assert sent < 4 * MOST_BYTES

"""Floods of a port: probes are answered in time, and peers that behave keep their connections.

Time is virtual: an answer takes none of it unless the server waits for something.
"""

import contextlib
import gc
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

import pytest
import trio
import trustme
from trio.testing import MockClock

from sentry_trio.grpc import server_context
from sentry_trio.grpc.turn_scheduler import TurnScheduler
from sentry_trio.listener import Address
from sentry_trio.web.connections import ConnectionLimits
from sentry_trio.web.health import Health
from sentry_trio.web.messages import Request, Response
from sentry_trio.web.server import serve_http
from testkit.http_client import Client, ask, connect
from testkit.log_capture import capture_logs

IN_TIME = 0.25  # seconds
REQUEST = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
AUTHORITY = trustme.CA()
IDENTITY = AUTHORITY.issue_cert("localhost")
CLIENT_TLS = ssl.create_default_context()
AUTHORITY.configure_trust(CLIENT_TLS)
SERVER_TLS = server_context(IDENTITY.cert_chain_pems[0].bytes(), IDENTITY.private_key_pem.bytes(), protocols=())


@asynccontextmanager
async def serving(tls: ssl.SSLContext | None = None, limits: ConnectionLimits | None = None) -> AsyncIterator[Address]:
    provider = None if tls is None else lambda: tls
    async with trio.open_nursery() as nursery:
        serve = partial(serve_http, Health().answer, host="127.0.0.1", port=0, tls=provider, limits=limits)
        yield await nursery.start(serve)
        nursery.cancel_scope.cancel()


async def connect_from(address: Address, host: str) -> Client:
    """A connection of another peer: every address of 127.0.0.0/8 is this machine."""
    return Client(await trio.open_tcp_stream(address.host, address.port, local_address=host))


async def connect_by_tls(address: Address, opened: AsyncExitStack) -> trio.SSLStream[trio.SocketStream]:
    """A connection whose handshake is done; closed with the stack."""
    tcp = await trio.open_tcp_stream(address.host, address.port)
    stream = trio.SSLStream(tcp, CLIENT_TLS, server_hostname="localhost", https_compatible=True)
    opened.push_async_callback(trio.aclose_forcefully, stream)
    await stream.do_handshake()
    return stream


async def probe(address: Address) -> float:
    """Seconds that a probe took by a connection of its own."""
    start = trio.current_time()
    for path in ("/livez", "/readyz"):
        assert (await ask(address, path)).status == 200
    return trio.current_time() - start


async def flood(address: Address, sent: bytes, *, task_status: trio.TaskStatus[None]) -> None:
    """Opens 2,000 connections a second, sends something on each and reads nothing; started when there are many."""
    async with AsyncExitStack() as opened:
        for number in range(10_000):
            stream = await trio.open_tcp_stream(address.host, address.port)
            opened.push_async_callback(trio.aclose_forcefully, stream)
            with contextlib.suppress(trio.BrokenResourceError):
                if sent:
                    await stream.send_all(sent)
            if number == ConnectionLimits().total:
                task_status.started()
            if number % 300 == 0:
                await opened.aclose()  # the attacker, too, has only so many descriptors
            await trio.sleep(1 / 2000)


@pytest.mark.uncovered
@pytest.mark.parametrize(
    "sent",
    [b"", b"G", b"GET /readyz?verbose HTTP/1.1\r\nhost: x\r\n\r\n" * 5, b"GET / HTTP/1.1\r\n" + b"a:\r\n" * 3000],
    ids=["idle", "slow", "pipelined", "many headers"],
)
async def test_probes_are_answered_in_time_during_a_flood(autojump_clock: MockClock, sent: bytes) -> None:
    with capture_logs() as lines:
        async with serving() as address, trio.open_nursery() as nursery:
            await nursery.start(partial(flood, address, sent))
            for _ in range(20):
                assert await probe(address) <= IN_TIME
                await trio.sleep(0.01)
            nursery.cancel_scope.cancel()
    warnings = [line for line in lines if line["log_level"] == "warning"]
    assert 1 <= len(warnings) <= 2, "one a minute of each kind"
    assert {line["peer"] for line in warnings} == {"127.0.0.1"}


@pytest.mark.uncovered
async def test_endless_handshakes_block_no_client(autojump_clock: MockClock) -> None:
    async with serving(SERVER_TLS) as address, trio.open_nursery() as nursery:
        await nursery.start(partial(flood, address, b"\x16\x03\x01"))
        for _ in range(5):
            start = trio.current_time()
            tcp = await trio.open_tcp_stream(address.host, address.port)
            async with trio.SSLStream(tcp, CLIENT_TLS, server_hostname="localhost", https_compatible=True) as stream:
                await stream.send_all(b"GET /readyz HTTP/1.1\r\nhost: x\r\n\r\n")
                assert (await stream.receive_some()).startswith(b"HTTP/1.1 200 ")
            assert trio.current_time() - start <= IN_TIME
        nursery.cancel_scope.cancel()


async def test_slow_readers_block_no_client(autojump_clock: MockClock) -> None:
    limits = ConnectionLimits(per_peer=20)

    async def long(request: Request) -> Response:
        return Response(200, b"x" * (10_000_000 if request.path == "/long" else 0))

    async with trio.open_nursery() as nursery, AsyncExitStack() as opened:
        address = await nursery.start(partial(serve_http, long, host="127.0.0.1", port=0, limits=limits))
        for _ in range(limits.per_peer + 10):
            client = await connect(address)
            opened.push_async_callback(trio.aclose_forcefully, client.stream)
            await client.send("/long")
        assert await probe(address) <= IN_TIME
        nursery.cancel_scope.cancel()


async def test_the_peer_with_most_connections_loses_one() -> None:
    async with serving(limits=ConnectionLimits(total=5)) as address, AsyncExitStack() as opened:

        async def opened_from(host: str) -> Client:
            client = await connect_from(address, host)
            await opened.enter_async_context(client.stream)
            assert (await client.ask("/livez")).status == 200
            return client

        modest = await opened_from("127.0.0.2")
        greedy = [await opened_from("127.0.0.3") for _ in range(4)]
        for newcomer in ("127.0.0.4", "127.0.0.5"):
            await opened_from(newcomer)
            assert await greedy.pop(0).is_closed_by_peer()
        assert (await modest.ask("/livez")).status == 200
        assert (await greedy[0].ask("/livez")).status == 200


async def test_one_peer_has_only_so_many() -> None:
    async with (
        serving(limits=ConnectionLimits(per_peer=2)) as address,
        await connect(address) as one,
        await connect(address) as two,
    ):
        assert (await one.ask("/livez")).status == (await two.ask("/livez")).status == 200
        async with await connect_from(address, "127.0.0.2") as other:
            assert (await other.ask("/livez")).status == 200
            assert (await one.ask("/livez")).status == 200
            assert (await ask(address, "/livez")).status == 200
            assert await one.is_closed_by_peer()
            assert (await other.ask("/livez")).status == 200


async def test_many_newcomers_of_one_peer_are_evicted_first() -> None:
    async with serving(limits=ConnectionLimits(per_peer=4, newcomers=2)) as address, AsyncExitStack() as opened:

        async def another() -> Client:
            return await opened.enter_async_context(await connect(address))

        served = await another()
        assert (await served.ask("/livez")).status == 200
        newcomers = [await another() for _ in range(3)]
        await trio.testing.wait_all_tasks_blocked()
        await another()
        assert await newcomers[0].is_closed_by_peer()
        assert (await served.ask("/livez")).status == 200


async def test_newcomers_of_one_peer_have_some_places() -> None:
    """A probe is not evicted by peers that came before it, used their connections once and stay."""
    async with serving(limits=ConnectionLimits(per_peer=4)) as address, AsyncExitStack() as opened:
        staying = [await opened.enter_async_context(await connect(address)) for _ in range(4)]
        for client in staying:
            assert (await client.ask("/livez")).status == 200
        newcomers = [await opened.enter_async_context(await connect(address)) for _ in range(2)]
        assert [await client.is_closed_by_peer() for client in staying[:2]] == [True, True]
        for client in newcomers:
            assert (await client.ask("/livez")).status == 200


class Peers:
    """Answers requests, and notes where they came from."""

    def __init__(self) -> None:
        self.answered: list[str] = []

    async def answer(self, request: Request) -> Response:
        self.answered.append(request.peer)
        return Response(200)


def request_from(address: Address, host: str, opened: AsyncExitStack) -> socket.socket:
    """A connection with a request, which the server cannot accept before the caller waits; closed with the stack."""
    peer = opened.enter_context(socket.create_connection((address.host, address.port), source_address=(host, 0)))
    peer.send(REQUEST)
    return peer


async def test_a_probe_waits_for_no_flood_in_the_queue_of_the_system() -> None:
    """Accepted at the pace of answers, a probe waited for all that came before it: 0.7 s after a flood of 2 s."""
    peers = Peers()
    async with trio.open_nursery() as nursery, AsyncExitStack() as opened:
        address = await nursery.start(partial(serve_http, peers.answer, host="127.0.0.1", port=0))
        for _ in range(400):
            request_from(address, "127.0.0.2", opened)
        probe = request_from(address, "127.0.0.1", opened)
        await trio.testing.wait_all_tasks_blocked()
        assert probe.recv(1000).startswith(b"HTTP/1.1 200")
        assert peers.answered.index("127.0.0.1") <= 150
        nursery.cancel_scope.cancel()


async def test_a_flood_of_one_peer_does_not_replace_those_whose_turn_is_next() -> None:
    peers, evicted = Peers(), list[None]()
    async with trio.open_nursery() as nursery, AsyncExitStack() as opened:
        limits = ConnectionLimits(per_peer=40, newcomers=20)
        serve = partial(serve_http, peers.answer, host="127.0.0.1", port=0, limits=limits)
        address = await nursery.start(partial(serve, count_evicted=lambda: evicted.append(None)))
        sockets = [request_from(address, "127.0.0.2", opened) for _ in range(100)]
        await trio.testing.wait_all_tasks_blocked()
        assert [peer.recv(1000)[:12] for peer in sockets[:32]] == [b"HTTP/1.1 200"] * 32
        assert len(peers.answered) + len(evicted) == 100
        assert evicted
        nursery.cancel_scope.cancel()


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.uncovered
@pytest.mark.parametrize("tls", [None, SERVER_TLS], ids=["plain", "TLS"])
async def test_a_connection_leaves_no_cyclic_garbage(tls: ssl.SSLContext | None, no_collector: None) -> None:
    clients: list[object] = []
    requests = [b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", b"nonsense\r\n\r\n", b""]

    async def visit(sent: bytes) -> None:
        with contextlib.closing(trio.socket.socket()) as sock:
            await sock.connect((address.host, address.port))
            if sent:
                await sock.send(sent)
                await sock.recv(1000)

    async def visit_by_tls(sent: bytes) -> None:
        tcp = await trio.open_tcp_stream(address.host, address.port)
        async with trio.SSLStream(tcp, CLIENT_TLS, server_hostname="localhost", https_compatible=True) as stream:
            await stream.send_all(sent)
            await stream.receive_some(1000)
            clients.append(stream)  # in a reference cycle of its own

    async def visit_all() -> None:
        for sent in requests:
            await visit(sent)
        if tls is not None:
            await visit_by_tls(requests[0])

    async with serving(tls) as address:
        await visit_all()
        await trio.testing.wait_all_tasks_blocked()
        gc.collect()
        for _ in range(100):
            await visit_all()
        await trio.testing.wait_all_tasks_blocked()
        assert gc.collect() < 100


@pytest.mark.uncovered
async def test_connect_and_close_grows_nothing(no_collector: None) -> None:
    """2,000 connections without the garbage collector: a flood of them made its pauses grow."""

    async def visit() -> None:
        socket.create_connection((address.host, address.port)).close()
        await trio.testing.wait_all_tasks_blocked()

    async with serving() as address:
        for _ in range(10):
            await visit()
        before = len(gc.get_objects())
        for _ in range(2000):
            await visit()
        assert len(gc.get_objects()) - before < 100


@pytest.fixture
def full_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """All turns are full from their beginning: what can wait has to."""
    monkeypatch.setattr(TurnScheduler, "full", True)


class Answers(trio.abc.Instrument):
    """Answers requests, and counts those of each turn."""

    def __init__(self) -> None:
        self.by_turn = [0]

    def after_io_wait(self, timeout: float) -> None:
        self.by_turn.append(0)

    async def answer(self, request: Request) -> Response:
        self.by_turn[-1] += 1
        return Response(200)


@pytest.mark.usefixtures("full_turns")
@pytest.mark.parametrize("headers", [b"", b"a:\r\n" * 99], ids=["short", "costly"])
async def test_pipelined_requests_of_many_peers_share_turns(headers: bytes) -> None:
    """A hundred requests in a turn would be fair, but take 40 ms."""
    answers = Answers()
    async with trio.open_nursery() as nursery, AsyncExitStack() as opened:
        address = await nursery.start(partial(serve_http, answers.answer, host="127.0.0.1", port=0))
        peers = [socket.create_connection((address.host, address.port)) for _ in range(100)]
        for peer in peers:
            opened.enter_context(peer)
            peer.send((b"GET / HTTP/1.1\r\nhost: x\r\n" + headers + b"\r\n") * 3)
        trio.lowlevel.add_instrument(answers)
        await trio.testing.wait_all_tasks_blocked()
        trio.lowlevel.remove_instrument(answers)
        assert [peer.recv(1000).count(b"200 OK") for peer in peers] == [3] * 100
        assert max(answers.by_turn) <= 4
        nursery.cancel_scope.cancel()


@pytest.mark.usefixtures("full_turns")
async def test_requests_of_many_tls_peers_share_turns() -> None:
    """Data for an idle connection waits before it is decrypted: 128 requests of 2 KiB took 110 ms."""
    answers = Answers()
    async with trio.open_nursery() as nursery, AsyncExitStack() as opened:
        serve = partial(serve_http, answers.answer, host="127.0.0.1", port=0, tls=lambda: SERVER_TLS)
        address = await nursery.start(serve)
        peers = [await connect_by_tls(address, opened) for _ in range(20)]
        await trio.testing.wait_all_tasks_blocked()
        trio.lowlevel.add_instrument(answers)
        for peer in peers:
            nursery.start_soon(peer.send_all, REQUEST)
        await trio.testing.wait_all_tasks_blocked()
        trio.lowlevel.remove_instrument(answers)
        assert sum(answers.by_turn) == 20
        assert max(answers.by_turn) <= 2
        nursery.cancel_scope.cancel()


@pytest.mark.usefixtures("full_turns")
async def test_requests_of_tls_peers_that_wait_for_a_turn_are_answered_while_the_server_drains(
    autojump_clock: MockClock,
) -> None:
    answers = Answers()
    async with AsyncExitStack() as opened:
        async with trio.open_nursery() as nursery:
            serve = partial(serve_http, answers.answer, host="127.0.0.1", port=0, tls=lambda: SERVER_TLS)
            address = await nursery.start(serve)
            peers = [await connect_by_tls(address, opened) for _ in range(20)]
            await trio.testing.wait_all_tasks_blocked()
            async with trio.open_nursery() as sending:
                for peer in peers:
                    sending.start_soon(peer.send_all, REQUEST)
            assert sum(answers.by_turn) < 10, "most wait"
            nursery.cancel_scope.cancel()
        assert sum(answers.by_turn) == 20
        for peer in peers:
            assert (await peer.receive_some(1000)).startswith(b"HTTP/1.1 200")


@pytest.mark.usefixtures("full_turns")
async def test_long_requests_that_wait_for_a_turn_are_answered_while_the_server_drains() -> None:
    """They have been received: nothing is left in the kernel."""
    answers = Answers()
    async with AsyncExitStack() as opened:
        async with trio.open_nursery() as nursery:
            address = await nursery.start(partial(serve_http, answers.answer, host="127.0.0.1", port=0))
            peers = [opened.enter_context(socket.create_connection((address.host, address.port))) for _ in range(20)]
            trio.lowlevel.add_instrument(answers)
            for peer in peers:
                peer.send(b"GET / HTTP/1.1\r\nhost: x\r\na: " + b"x" * 3000 + b"\r\n\r\n")
            while not any(answers.by_turn):
                await trio.lowlevel.checkpoint()
            trio.lowlevel.remove_instrument(answers)
            assert sum(answers.by_turn) < 10, "most wait"
            nursery.cancel_scope.cancel()
        assert sum(answers.by_turn) == 20
        for peer in peers:
            assert peer.recv(1000).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("size", [0, 15_000])
async def test_long_requests_share_turns(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """One takes up to a millisecond: most connections would be served in a turn before it is found to be full."""
    monkeypatch.setattr(TurnScheduler, "full", False)
    answers = Answers()
    async with trio.open_nursery() as nursery, AsyncExitStack() as opened:
        address = await nursery.start(partial(serve_http, answers.answer, host="127.0.0.1", port=0))
        peers = [opened.enter_context(socket.create_connection((address.host, address.port))) for _ in range(20)]
        await trio.testing.wait_all_tasks_blocked()
        trio.lowlevel.add_instrument(answers)
        for peer in peers:
            peer.send(b"GET / HTTP/1.1\r\nhost: x\r\na: " + b"x" * size + b"\r\n\r\n")
        await trio.testing.wait_all_tasks_blocked()
        trio.lowlevel.remove_instrument(answers)
        assert sum(answers.by_turn) == 20
        assert (max(answers.by_turn) > 4) is (size == 0)
        nursery.cancel_scope.cancel()


@pytest.mark.usefixtures("full_turns")
async def test_bodies_of_many_chunks_share_turns() -> None:
    """A thousand chunks that arrive at once take 15 ms."""
    turns = 0

    class Turns(trio.abc.Instrument):
        def before_io_wait(self, timeout: float) -> None:
            nonlocal turns
            turns += 1

    async with serving() as address:
        with socket.create_connection((address.host, address.port)) as peer:
            head = b"POST /livez HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
            peer.send(head + b"1\r\nx\r\n" * 1000 + b"0\r\n\r\n")
            trio.lowlevel.add_instrument(counter := Turns())
            await trio.testing.wait_all_tasks_blocked()
            trio.lowlevel.remove_instrument(counter)
            assert peer.recv(1000).startswith(b"HTTP/1.1 200")
    assert turns >= 250

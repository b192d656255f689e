"""Draining of a server."""

import socket
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, suppress

import pytest
import trio
from google.protobuf.wrappers_pb2 import StringValue
from grpclib.const import Status
from h2.errors import ErrorCodes
from h2.events import ConnectionTerminated, DataReceived, PingReceived, ResponseReceived, StreamReset
from h2.settings import SettingCodes
from trio.testing import MockClock, wait_all_tasks_blocked

from sentry_trio.grpc import Limits
from sentry_trio.grpc.connection import Connection
from sentry_trio.listener import open_listener
from testkit.grpc.raw import Peer, Recorder, peering, request_head, text
from testkit.grpc.toys import Served, open_descriptors, serving, unary

from .test_connection import DATA_ON_STREAM_0

LIMITS = Limits(handshake_timeout=5, drain_timeout=10, close_timeout=1)
HIGHEST = 2**31 - 1


def _last_streams(peer: Peer) -> list[int | None]:
    return [event.last_stream_id for event in peer.having(ConnectionTerminated)]


async def _time_to_stop(server: Served) -> float:
    begin = trio.current_time()
    server.scope.cancel()
    await server.stopped.wait()
    return trio.current_time() - begin


# --- GOAWAY


async def test_two_goaways_around_a_ping(autojump_clock: MockClock) -> None:
    async with serving(LIMITS) as server, peering(server.port) as peer:
        server.scope.cancel()
        begin = trio.current_time()
        await peer.wait_for(ConnectionTerminated)
        await peer.wait_for(PingReceived)
        await peer.wait_for(ConnectionTerminated, number=2)
        order = [type(event) for event in peer.events if isinstance(event, ConnectionTerminated | PingReceived)]
        assert order == [ConnectionTerminated, PingReceived, ConnectionTerminated]
        assert _last_streams(peer) == [HIGHEST, 0]
        assert {event.error_code for event in peer.having(ConnectionTerminated)} == {ErrorCodes.NO_ERROR}
        await peer.closed()
        assert trio.current_time() - begin < 0.5


async def test_a_call_on_its_way_at_the_first_goaway_is_served(autojump_clock: MockClock) -> None:
    async with serving(LIMITS) as server, peering(server.port) as peer:
        server.scope.cancel()
        while not peer.having(PingReceived):
            await peer.receive()
        pong = peer.h2.data_to_send()
        await peer.call(1, "Hang", "on its way")
        await server.toys.hanging.wait()
        await peer.stream.send_all(pong)
        await peer.wait_for(ConnectionTerminated, number=2)
        assert _last_streams(peer) == [HIGHEST, 1]
        server.toys.release.set()
        assert (await peer.answer(1)).value == "on its way"


async def test_streams_after_the_final_goaway_are_refused(autojump_clock: MockClock) -> None:
    async with serving(LIMITS) as server, peering(server.port) as peer:
        await peer.call(1, "Hang")
        await server.toys.hanging.wait()
        server.scope.cancel()
        await peer.wait_for(ConnectionTerminated, number=2)
        await peer.call(3)
        assert (await peer.wait_for(StreamReset, 3)).error_code is ErrorCodes.REFUSED_STREAM
        assert server.toys.seen == []
        server.toys.release.set()
        assert (await peer.answer(1)).value == "hello"


async def test_asking_a_connection_twice_to_leave_changes_nothing(autojump_clock: MockClock) -> None:
    async with serving(LIMITS) as server, peering(server.port) as peer:
        await peer.call(1)
        await peer.answer(1)
        connection = server.toys.seen[0].connection
        assert isinstance(connection, Connection)
        for _ in range(3):
            connection.leave()
        await peer.wait_for(ConnectionTerminated, number=2)
        await peer.closed()
        assert len(peer.having(PingReceived)) == 1


# --- calls under way


async def test_calls_under_way_are_finished(autojump_clock: MockClock) -> None:
    async with serving(LIMITS) as server, peering(server.port) as peer:
        await peer.call(1, "Hang")
        await server.toys.hanging.wait()
        server.scope.cancel()
        await trio.sleep(9)
        assert not server.stopped.is_set()
        server.toys.release.set()
        assert (await peer.answer(1)).value == "hello"
        await peer.closed()
        assert server.witness.finished == [("Hang", Status.OK)]


@pytest.mark.parametrize("drain_timeout", [10, 0])
async def test_calls_that_outlast_the_drain_timeout_get_unavailable(
    autojump_clock: MockClock, drain_timeout: float
) -> None:
    async with serving(Limits(drain_timeout=drain_timeout)) as server, peering(server.port) as peer:
        await peer.call(1, "Hang")
        await server.toys.hanging.wait()
        begin = trio.current_time()
        server.scope.cancel()
        assert await peer.status(1) == (14, "the server is shutting down")
        assert trio.current_time() - begin == pytest.approx(drain_timeout, abs=0.5)
        assert server.toys.cancelled.is_set()
        await peer.closed()
        assert server.witness.finished == [("Hang", Status.UNAVAILABLE)]


async def test_a_call_whose_answer_waits_for_the_window_is_rejected_too(autojump_clock: MockClock) -> None:
    async with serving(LIMITS) as server, peering(server.port) as peer:
        peer.opens_window = False
        await peer.call(1, "Inflate", "100000")
        await peer.wait_for(DataReceived, 1)
        server.scope.cancel()
        assert await peer.status(1) == (14, "the server is shutting down")


async def test_an_answer_survives_data_that_its_caller_still_sends(autojump_clock: MockClock) -> None:
    """Closing a socket with bytes unread sends a reset, and a reset overtakes what the peer has not read yet."""
    async with serving(LIMITS) as server, peering(server.port) as peer:
        await peer.call(1, "Hang", "x" * 10_000)
        await server.toys.hanging.wait()
        server.scope.cancel()
        await peer.wait_for(ConnectionTerminated, number=2)
        server.toys.release.set()
        await wait_all_tasks_blocked()
        for _ in range(20):
            peer.h2.ping(b"12345678")
            peer.h2.increment_flow_control_window(1)
            await peer.flush()
            await wait_all_tasks_blocked()
        assert (await peer.answer(1)).value == "x" * 10_000


# --- peers that do not go


async def _silent(port: int) -> None:
    async with await trio.open_tcp_stream("127.0.0.1", port):
        await trio.sleep_forever()


async def _slow_hello(port: int) -> None:
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(b"\x16\x03\x01")
        await trio.sleep_forever()


async def _no_preface(port: int) -> None:
    async with peering(port, preface=False):
        await trio.sleep_forever()


async def _deaf(port: int) -> None:
    """Answers no ping."""
    async with peering(port):
        await trio.sleep_forever()


async def _half_a_head(port: int) -> None:
    async with peering(port) as peer:
        await peer.stream.send_all(b"\0\0\x40\1")
        await trio.sleep_forever()


async def _mute(port: int) -> None:
    """Reads everything and never closes."""
    async with peering(port) as peer:
        while True:
            await peer.receive()
            if peer.gone:
                await trio.sleep_forever()


async def _breaks_the_protocol(port: int) -> None:
    async with peering(port) as peer:
        await peer.send_frames(DATA_ON_STREAM_0)
        await trio.sleep_forever()


async def _resets_its_call(port: int) -> None:
    async with peering(port) as peer:
        await peer.call(1, "Hang")
        peer.h2.reset_stream(1)
        await peer.flush()
        await trio.sleep_forever()


async def _unread_pings(port: int) -> None:
    """Fills every buffer with answers to its pings and reads none."""
    async with peering(port) as peer:
        peer.recorder.inner.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        with suppress(trio.BrokenResourceError):
            while True:
                await peer.send_frames(*[b"\0\0\x08\6\0\0\0\0\0" + b"12345678"] * 1000)


@pytest.mark.parametrize(
    ("act", "seconds"),
    [
        (_silent, 1),
        (_slow_hello, 5),
        (_no_preface, 2),
        (_deaf, 2),
        (_half_a_head, 2),
        (_mute, 2),
        (_breaks_the_protocol, 1),
        (_resets_its_call, 2),
        (_unread_pings, 3),
    ],
)
async def test_peers_without_calls_do_not_delay_the_drain(
    autojump_clock: MockClock, act: Callable[[int], Awaitable[None]], seconds: float
) -> None:
    """None of them has a call under way: the drain timeout is not for them."""
    descriptors = open_descriptors()
    limits = Limits(drain_timeout=100, control_frames=10**9)
    with await open_listener("127.0.0.1", 0) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)  # inherited: soon full
        await _outlasts(serving(limits, listener=listener), act, seconds)
    assert open_descriptors() <= descriptors


async def _outlasts(
    servers: AbstractAsyncContextManager[Served], act: Callable[[int], Awaitable[None]], seconds: float
) -> None:
    async with trio.open_nursery() as nursery, servers as server:
        nursery.start_soon(act, server.port)
        with trio.move_on_after(0.5):
            await trio.sleep_forever()
        assert server.witness.open == 1
        assert await _time_to_stop(server) <= seconds
        assert server.witness.open == 0
        nursery.cancel_scope.cancel()


async def test_a_peer_that_reads_no_answer_is_cut_after_the_drain(autojump_clock: MockClock) -> None:
    async with serving(LIMITS) as server, peering(server.port) as peer:
        peer.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: HIGHEST})
        peer.h2.increment_flow_control_window(2**30)
        await peer.call(1, "Inflate", "30000000")
        await wait_all_tasks_blocked()
        assert await _time_to_stop(server) == pytest.approx(12, abs=1)


async def test_a_server_without_connections_stops_at_once(autojump_clock: MockClock) -> None:
    async with serving(LIMITS) as server:
        assert await _time_to_stop(server) < 0.5


async def test_a_silent_peer_is_reported_as_silent(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery, serving(LIMITS) as server:
        nursery.start_soon(_silent, server.port)
        await wait_all_tasks_blocked()
        await _time_to_stop(server)
        assert server.witness.handshakes_failed == ["no TLS handshake before the server stopped"]
        nursery.cancel_scope.cancel()


class _Hesitant(Recorder):
    """Sends half of its first write, then waits for `release`."""

    begun = trio.Event()
    go_on = trio.Event()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        if not self.begun.is_set():
            await super().send_all(data[:100])
            self.begun.set()
            await self.go_on.wait()
            data = data[100:]
        await super().send_all(data)


async def test_a_handshake_under_way_is_finished_and_its_call_served(autojump_clock: MockClock) -> None:
    class Hesitant(_Hesitant):
        begun = trio.Event()
        go_on = trio.Event()

    async with serving(LIMITS) as server, trio.open_nursery() as nursery:

        async def call() -> None:
            async with peering(server.port, wrap=Hesitant) as peer:
                await peer.call(1, "Echo", "late")
                assert (await peer.answer(1)).value == "late"
                await peer.wait_for(ConnectionTerminated, number=2)

        nursery.start_soon(call)
        await Hesitant.begun.wait()
        await wait_all_tasks_blocked()
        server.scope.cancel()
        await wait_all_tasks_blocked()
        Hesitant.go_on.set()
    assert server.witness.finished == [("Echo", Status.OK)]


# --- cancellation at every stage


async def _accepted(peer_port: int, reached: trio.Event) -> None:
    async with await trio.open_tcp_stream("127.0.0.1", peer_port):
        reached.set()
        await trio.sleep_forever()


def _after(act: Callable[[Peer], Awaitable[object]]) -> Callable[[int, trio.Event], Awaitable[None]]:
    async def run(port: int, reached: trio.Event) -> None:
        async with peering(port) as peer:
            await act(peer)
            reached.set()
            await peer.closed()

    return run


async def _nothing(peer: Peer) -> None: ...


async def _send_half(peer: Peer) -> None:
    peer.compose(1, request_head("Echo"), text("half")[:-1], end=False)
    await peer.flush()


async def _wait_for_window(peer: Peer) -> None:
    peer.opens_window = False
    await peer.call(1, "Inflate", "100000")
    await peer.wait_for(ResponseReceived, 1)


@pytest.mark.parametrize(
    "stage",
    [
        _accepted,
        _after(_nothing),
        _after(_send_half),
        _after(lambda peer: peer.call(1, "Hang")),
        _after(lambda peer: peer.call(1, "Stall")),
        _after(lambda peer: peer.call(1, "Pour")),
        _after(lambda peer: peer.call(1, "FailLate")),
        _after(_wait_for_window),
    ],
    ids=["accepted", "idle", "half a message", "running", "not reading", "streaming", "stumbling", "no window"],
)
@pytest.mark.parametrize("settled", [True, False])
async def test_cancellation_leaves_nothing_behind(
    autojump_clock: MockClock, stage: Callable[[int, trio.Event], Awaitable[None]], settled: bool
) -> None:
    descriptors = open_descriptors()
    tasks = trio.lowlevel.current_statistics().tasks_living
    async with trio.open_nursery() as nursery:
        async with serving(Limits(drain_timeout=1)) as server:
            reached = trio.Event()
            nursery.start_soon(stage, server.port, reached)
            await reached.wait()
            if settled:
                await wait_all_tasks_blocked()
            await _time_to_stop(server)
        nursery.cancel_scope.cancel()
    assert open_descriptors() <= descriptors
    assert trio.lowlevel.current_statistics().tasks_living == tasks


# --- a restart


async def test_no_call_fails_while_one_server_follows_another() -> None:
    """New and kept connections of a foreign client, in threads, through restarts on one listening socket."""
    limits = Limits(close_timeout=30, drain_timeout=60)
    stop = False
    counts = {"kept": 0, "new": 0}

    def kept(server: Served) -> None:
        with server.channel() as channel:
            method = unary(channel, "Echo")
            while not stop:
                assert method(StringValue(value="kept"), timeout=60).value == "kept"
                counts["kept"] += 1

    def new(server: Served) -> None:
        while not stop:
            options = {"grpc.use_local_subchannel_pool": 1}
            with server.channel(**options) as channel:
                assert unary(channel, "Echo")(StringValue(value="new"), timeout=60).value == "new"
                counts["new"] += 1

    with await open_listener("127.0.0.1", 0) as listener:
        async with trio.open_nursery() as servers:

            async def run(*, task_status: trio.TaskStatus[tuple[Served, trio.Event]]) -> None:
                over = trio.Event()
                async with serving(limits, listener=listener) as server:
                    task_status.started((server, over))
                    await over.wait()

            server, over = await servers.start(run)
            async with trio.open_nursery() as callers:
                for caller in (kept, kept, new, new):
                    callers.start_soon(trio.to_thread.run_sync, caller, server)
                for _ in range(6):
                    before = dict(counts)
                    while any(counts[name] < before[name] + 2 for name in counts):  # noqa: ASYNC110  # set in threads
                        await trio.sleep(0.01)  # between two looks
                    _, successor = await servers.start(run)
                    over.set()
                    over = successor
                stop = True
            over.set()

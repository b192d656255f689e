"""Turns of the event loop: many connections with work at the same moment share several."""

import gzip
import os
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import pairwise

import pytest
import trio
from grpclib.const import Status
from h2.events import PingAckReceived, StreamEnded, WindowUpdated
from h2.settings import SettingCodes
from trio.testing import MockClock, wait_all_tasks_blocked

from sentry_trio.grpc.frames import FRAME_BYTES, HIGHEST_STREAM
from sentry_trio.grpc.http2 import ServerConnection
from sentry_trio.grpc.inflation import Inflation
from sentry_trio.grpc.limits import Limits
from sentry_trio.grpc.turn_scheduler import SLICE, TurnScheduler
from testkit.attackers.http2 import prefixed
from testkit.deflate import empty_blocks
from testkit.grpc.raw import Peer, encrypted, peering, request_head
from testkit.grpc.toys import Served, serving

_PEERS = 12
_IN_A_TURN = 4  # connections whose slices have little work


@pytest.fixture
def full_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """All turns are full from their beginning: what comes has to wait."""
    monkeypatch.setattr(TurnScheduler, "full", True)


class Turns(trio.abc.Instrument):
    """Records how many connections are open after each turn."""

    def __init__(self, server: Served) -> None:
        self._server = server
        self.open: list[int] = []

    def before_io_wait(self, timeout: float) -> None:
        self.open.append(self._server.witness.open)


async def _connected(stack: AsyncExitStack, server: Served) -> Peer:
    peer = await stack.enter_async_context(peering(server.port))
    await peer.call(1)
    assert (await peer.answer(1)).value == "hello"
    return peer


@pytest.mark.usefixtures("full_turns")
async def test_connections_that_are_closed_at_once_end_in_several_turns() -> None:
    async with serving() as server:
        turns = Turns(server)
        async with AsyncExitStack() as stack:
            for _ in range(_PEERS):
                await _connected(stack, server)
            assert server.witness.open == _PEERS
            trio.lowlevel.add_instrument(turns)
        while server.witness.open:
            await trio.lowlevel.checkpoint()
        trio.lowlevel.remove_instrument(turns)
    ended = [before - after for before, after in pairwise(turns.open)]
    assert max(ended) <= _IN_A_TURN
    assert sum(ended) >= _PEERS - _IN_A_TURN


@pytest.mark.usefixtures("full_turns")
async def test_silent_connections_that_are_closed_at_once_end_in_several_turns() -> None:
    async with serving() as server:
        turns = Turns(server)
        streams = [await trio.open_tcp_stream("127.0.0.1", server.port) for _ in range(_PEERS)]
        await wait_all_tasks_blocked()
        assert server.witness.open == _PEERS
        trio.lowlevel.add_instrument(turns)
        for stream in streams:
            stream.socket.close()
        while server.witness.open:
            await trio.lowlevel.checkpoint()
        trio.lowlevel.remove_instrument(turns)
    ended = [before - after for before, after in pairwise(turns.open)]
    assert max(ended) <= _IN_A_TURN


@pytest.mark.usefixtures("full_turns")
async def test_connections_that_leave_at_once_do_so_in_several_turns(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    in_turns: list[int] = []
    go_away = ServerConnection.go_away

    class Counter(trio.abc.Instrument):
        def after_io_wait(self, timeout: float) -> None:
            in_turns.append(0)

    def counted(connection: ServerConnection, last_stream: int) -> None:
        in_turns[-1] += last_stream == HIGHEST_STREAM
        go_away(connection, last_stream)

    monkeypatch.setattr(ServerConnection, "go_away", counted)
    async with AsyncExitStack() as stack:
        async with serving() as server:
            for _ in range(_PEERS):
                await _connected(stack, server)
            trio.lowlevel.add_instrument(counter := Counter())
        trio.lowlevel.remove_instrument(counter)
    assert sum(in_turns) == _PEERS
    assert max(in_turns) <= _IN_A_TURN


async def test_connections_with_many_calls_that_are_closed_at_once_end_in_several_turns() -> None:
    calls, peers = 50, 6
    async with serving() as server:
        finished: list[int] = []

        class Counter(trio.abc.Instrument):
            def before_io_wait(self, timeout: float) -> None:
                finished.append(len(server.witness.finished))

        async with AsyncExitStack() as stack:
            attackers = [await stack.enter_async_context(peering(server.port)) for _ in range(peers)]
            for peer in attackers:
                for number in range(calls):
                    await peer.call(2 * number + 1, "Hang")
            await wait_all_tasks_blocked()
            trio.lowlevel.add_instrument(counter := Counter())
            for peer in attackers:
                peer.recorder.inner.socket.shutdown(socket.SHUT_WR)
            while server.witness.open:
                await trio.lowlevel.checkpoint()
            trio.lowlevel.remove_instrument(counter)
    ended = [after - before for before, after in pairwise(finished)]
    assert sum(ended) == calls * peers
    assert max(ended) <= calls


@asynccontextmanager
async def _ends_counted(server: Served) -> AsyncIterator[list[int]]:
    """Yields a list to which each turn adds the number of calls that have ended in it."""
    ended: list[int] = []
    before = len(server.witness.finished)

    class Counter(trio.abc.Instrument):
        def before_io_wait(self, timeout: float) -> None:
            ended.append(len(server.witness.finished) - before - sum(ended))

    trio.lowlevel.add_instrument(counter := Counter())
    try:
        yield ended
    finally:
        trio.lowlevel.remove_instrument(counter)


async def _hanging(stack: AsyncExitStack, server: Served, *, peers: int, calls: int, **extra: str) -> list[Peer]:
    """Connections with calls of which none ends."""
    connected = [await stack.enter_async_context(peering(server.port)) for _ in range(peers)]
    for peer in connected:
        for number in range(calls):
            await peer.call(2 * number + 1, "Hang", **extra)
    await wait_all_tasks_blocked()
    return connected


async def _with_unread_answers(stack: AsyncExitStack, server: Served, calls: int, value: str = "hello") -> Peer:
    """A connection whose windows for answers are shut."""
    peer = await stack.enter_async_context(peering(server.port))
    peer.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 0})
    for number in range(calls):
        await peer.call(2 * number + 1, value=value)
    await wait_all_tasks_blocked()
    return peer


async def test_calls_with_the_same_deadline_end_in_several_turns(autojump_clock: MockClock) -> None:
    """Running calls, and those that wait for a place."""
    async with serving(Limits(calls=30, waiting_timeout=60)) as server, AsyncExitStack() as stack:
        await _hanging(stack, server, peers=5, calls=40, grpc_timeout="9S")
        async with _ends_counted(server) as ended:
            await trio.sleep(10)
        assert sum(ended) == 200
        assert max(ended) <= 32
        assert {status for _, status in server.witness.finished} == {Status.DEADLINE_EXCEEDED}


async def test_calls_of_connections_that_answer_no_ping_end_in_several_turns(autojump_clock: MockClock) -> None:
    calls = 12
    async with serving() as server, AsyncExitStack() as stack:
        await _hanging(stack, server, peers=_PEERS, calls=calls)
        async with _ends_counted(server) as ended:
            await trio.sleep(100)
        assert sum(ended) == calls * _PEERS
        assert max(ended) <= 2 * calls


async def test_answers_that_are_not_taken_end_in_several_turns(autojump_clock: MockClock) -> None:
    calls = 12
    async with serving(Limits(send_timeout=5)) as server, AsyncExitStack() as stack:
        for _ in range(_PEERS):
            peer = await stack.enter_async_context(peering(server.port))
            peer.opens_window = False
            peer.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 1})
            for number in range(calls):
                await peer.call(2 * number + 1)
        await wait_all_tasks_blocked()
        async with _ends_counted(server) as ended:
            await trio.sleep(8)
        assert sum(ended) == calls * _PEERS
        assert max(ended) <= 2 * calls


@pytest.mark.usefixtures("full_turns")
async def test_connections_with_unread_answers_that_are_reset_at_once_end_in_several_turns() -> None:
    """The answer to the PING cannot be sent, which is noticed before anything is read."""
    calls = 20
    async with serving() as server, AsyncExitStack() as stack:
        peers = [await _with_unread_answers(stack, server, calls) for _ in range(_PEERS)]
        async with _ends_counted(server) as ended:
            for peer in peers:
                peer.h2.ping(bytes(8))
                connection = peer.recorder.inner.socket
                os.write(connection.fileno(), encrypted(peer.stream, peer.h2.data_to_send()))
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                connection.close()
            while server.witness.open:
                await trio.lowlevel.checkpoint()
        assert sum(ended) == calls * _PEERS
        assert max(ended) <= 2 * calls


async def test_an_update_of_a_window_wakes_only_a_call_that_can_send() -> None:
    calls = 30
    async with serving() as server, AsyncExitStack() as stack:
        peer = await _with_unread_answers(stack, server, calls)
        steps: list[str] = []

        class Steps(trio.abc.Instrument):
            def before_task_step(self, task: trio.lowlevel.Task) -> None:
                steps.append(task.name.rpartition(".")[2])

        trio.lowlevel.add_instrument(instrument := Steps())
        for stream_id in (0, 2 * calls - 1):
            for _ in range(10):
                peer.h2.increment_flow_control_window(1, stream_id or None)
        peer.h2.ping(bytes(8))
        await peer.flush()
        await peer.wait_for(PingAckReceived)
        trio.lowlevel.remove_instrument(instrument)
        assert 0 < steps.count("_run") <= 10


async def test_a_call_whose_window_is_shut_again_wakes_the_next() -> None:
    async with serving() as server, AsyncExitStack() as stack:
        peer = await _with_unread_answers(stack, server, calls=2, value="x" * 1000)
        peer.opens_window = False
        peer.h2.increment_flow_control_window(100, 1)
        peer.h2.increment_flow_control_window(2000, 3)
        await peer.flush()
        with trio.fail_after(5):
            assert (await peer.answer(3)).value == "x" * 1000


async def test_windows_that_are_opened_let_all_calls_send() -> None:
    """First that of each stream, then that of the connection, which has room for six of the answers."""
    calls, first, large = 10, 6, "x" * 10_000
    async with serving() as server, AsyncExitStack() as stack:
        peer = await _with_unread_answers(stack, server, first, value=large)
        await peer.wait_for(WindowUpdated)
        for number in range(first, calls):
            await peer.call(2 * number + 1, value=large)
        peer.opens_window = False
        peer.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 50_000})
        await peer.flush()
        await peer.wait_for(StreamEnded, number=first)
        peer.h2.increment_flow_control_window(100_000)
        await peer.flush()
        await peer.wait_for(StreamEnded, number=calls)
        assert {peer.answered(2 * number + 1).value for number in range(calls)} == {large}


async def test_calls_that_are_reset_at_once_end_in_several_turns() -> None:
    calls = 60
    async with serving() as server, AsyncExitStack() as stack:
        [peer] = await _hanging(stack, server, peers=1, calls=calls)
        async with _ends_counted(server) as ended:
            for number in range(calls):
                peer.h2.reset_stream(2 * number + 1)
            await peer.flush()
            while sum(ended) < calls:
                await trio.lowlevel.checkpoint()
        assert max(ended) <= 10


async def test_calls_that_outlast_the_drain_end_in_several_turns(autojump_clock: MockClock) -> None:
    calls, peers = 5, 12
    async with AsyncExitStack() as stack, serving(Limits(drain_timeout=3)) as server:
        await _hanging(stack, server, peers=peers, calls=calls)
        async with _ends_counted(server) as ended:
            server.scope.cancel()
            await server.stopped.wait()
        assert sum(ended) == calls * peers
        assert max(ended) <= 3 * calls


@pytest.mark.parametrize(
    "compressed",
    [
        pytest.param(gzip.compress(bytes(4 * 1024 * 1024)), id="many bytes from few"),
        pytest.param(empty_blocks(60 * 1024), id="no bytes from many"),
    ],
)
async def test_messages_that_are_decompressed_at_once_share_several_turns(
    monkeypatch: pytest.MonkeyPatch, compressed: bytes
) -> None:
    work = [0.0]
    proceed = Inflation.proceed

    class Counter(trio.abc.Instrument):
        def after_io_wait(self, timeout: float) -> None:
            work.append(0.0)

    def counted(inflation: Inflation, most: float) -> None:
        before = inflation.work
        proceed(inflation, most)
        work[-1] += inflation.work - before

    monkeypatch.setattr(Inflation, "proceed", counted)
    body = prefixed(compressed, compressed=True)
    parts = [body[at : at + FRAME_BYTES] for at in range(0, len(body), FRAME_BYTES)]
    async with serving() as server, AsyncExitStack() as stack:
        peers = [await _connected(stack, server) for _ in range(_PEERS)]
        trio.lowlevel.add_instrument(counter := Counter())
        for peer in peers:
            peer.h2.send_headers(3, request_head("Echo", grpc_encoding="gzip"))
            for part in parts:
                peer.h2.send_data(3, part)
            peer.h2.end_stream(3)
            await peer.flush()
        for peer in peers:
            assert await peer.answer(3) is not None
        trio.lowlevel.remove_instrument(counter)
    assert sum(work) >= _PEERS * 2 * SLICE
    assert max(work) <= _IN_A_TURN * (SLICE + 10)

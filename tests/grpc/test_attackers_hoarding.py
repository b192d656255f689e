"""Limits on held resources: each limit by the attacker that it is for, beside a well-behaved call."""

import socket
import struct
from contextlib import AsyncExitStack
from typing import Any

import pytest
import trio
from grpclib.const import Status
from h2.events import DataReceived, StreamEnded
from h2.settings import SettingCodes
from hyperframe.frame import DataFrame
from msgspec.structs import replace
from trio.testing import MockClock, wait_all_tasks_blocked

from sentry_trio.grpc import Limits
from sentry_trio.grpc.cpu_budget import SLOW_DOWN_SECONDS
from sentry_trio.grpc.frames import PRIORITY
from sentry_trio.grpc.limits import CALL_BYTES, CONNECTION_BYTES, FIELD_BYTES, TASK_BYTES
from testkit.attackers import KINDS, Pace, attacking
from testkit.attackers.http2 import PING, frame
from testkit.grpc.raw import peering, request_head, text
from testkit.grpc.toys import serving

from .besieged import MOMENT, answers_at_once, besieged, message, over, target_of

# --- calls


@pytest.mark.parametrize("kind", ["headers without a body", "slow writer", "unread bytes"])
async def test_calls_without_a_message_keep_no_other_call_waiting(autojump_clock: MockClock, kind: str) -> None:
    """They cost their sender nothing, so that a handler must not be taken up by waiting for them."""
    async with serving(Limits(calls=2)) as server, attacking(KINDS[kind], target_of(server), number=2):
        await wait_all_tasks_blocked()
        await answers_at_once(server)


async def test_answers_that_are_not_taken_keep_no_other_call_waiting(autojump_clock: MockClock) -> None:
    async with serving(Limits(calls=2)) as server, attacking(KINDS["zero window"], target_of(server)):
        await wait_all_tasks_blocked()
        await answers_at_once(server)


async def test_calls_wait_while_many_are_running(autojump_clock: MockClock) -> None:
    async with serving(Limits(calls=8, waiting_timeout=5)) as server:
        hanging = target_of(server, path="/toys.Toys/Hang", calls=Pace(1000))
        async with attacking(KINDS["zero window"], hanging), peering(server.port) as peer:
            await trio.sleep(MOMENT)
            begin = trio.current_time()
            await peer.call(1)
            assert (await peer.answer(1)).status == Status.UNAVAILABLE.value
            assert trio.current_time() - begin == pytest.approx(5, abs=MOMENT)
            await peer.call(3)
            await wait_all_tasks_blocked()
            server.toys.release.set()
            assert (await peer.answer(3)).value == "hello"


async def test_too_many_waiting_calls_are_rejected(autojump_clock: MockClock) -> None:
    limits = Limits(calls=8, calls_waiting=42, waiting_timeout=100)
    async with serving(limits) as server:
        hanging = target_of(server, path="/toys.Toys/Hang", calls=Pace(100))
        async with attacking(KINDS["zero window"], hanging) as (course,), peering(server.port) as peer:
            await trio.sleep(0.995)
            assert set(course.statuses.values()) == {Status.RESOURCE_EXHAUSTED.value}
            assert len(course.statuses) == 50
            with trio.fail_after(MOMENT):
                # The first call of a connection may wait all the same.
                await peer.call(1)
                await peer.call(3)
                assert (await peer.answer(3)).status == Status.RESOURCE_EXHAUSTED.value
            server.toys.release.set()
            assert (await peer.answer(1)).value == "hello"
            await wait_all_tasks_blocked()
            await answers_at_once(server)


@pytest.mark.uncovered
@pytest.mark.parametrize("source", ["127.0.0.1", "127.0.0.2"])
async def test_endless_replies_exclude_no_other_caller(autojump_clock: MockClock, source: str) -> None:
    """From the same peer or from another one, opened earlier or later."""
    limits = Limits(streaming_calls=50)
    async with serving(limits) as server, peering(server.port) as early, peering(server.port) as late:
        await early.call(1, "Watch", "early")
        await early.wait_for(DataReceived, 1)
        target = target_of(server, source=source, calls=Pace(1000))
        async with attacking(KINDS["endless responses"], target, number=5) as courses:
            await trio.sleep(1)
            with trio.fail_after(MOMENT):
                await late.call(1, "Watch", "late")
                await late.wait_for(DataReceived, 1)
            assert {status for course in courses for status in course.statuses.values()} == {
                Status.RESOURCE_EXHAUSTED.value
            }
            await answers_at_once(server)
        await wait_all_tasks_blocked()
        assert early.having(StreamEnded, 1) == late.having(StreamEnded, 1) == []


@pytest.mark.parametrize("kind", ["headers without a body", "slow writer", "unread bytes"])
async def test_a_message_that_takes_too_long_to_come_ends_its_call(autojump_clock: MockClock, kind: str) -> None:
    async with besieged(kind, Limits(receive_timeout=10), pause=0.5) as (server, (course,)):
        await trio.sleep(9)
        assert course.ended == set()
        await answers_at_once(server)
        await trio.sleep(2)
        assert set(course.statuses.values()) == {Status.DEADLINE_EXCEEDED.value}
        assert not course.over.is_set()
        assert len(server.toys.seen) == 1, "no handler hears of a request that is not whole"


# --- answers that are not taken


async def test_a_window_that_stays_shut_loses_its_streams(autojump_clock: MockClock) -> None:
    async with besieged("zero window", Limits(send_timeout=20)) as (server, (course,)):
        await trio.sleep(19)
        assert course.ended == set()
        await answers_at_once(server)
        await trio.sleep(2)
        assert len(course.resets) == 100 or course.over.is_set()


async def test_calls_of_all_connections_may_have_the_same_deadline(autojump_clock: MockClock) -> None:
    async with serving() as server:
        target = target_of(server, calls=Pace(1000))
        async with attacking(KINDS["shared deadlines"], target, number=3) as courses:
            await trio.sleep(1.9)
            assert [course.ended for course in courses] == [set()] * 3
            await trio.sleep(0.2)
            for course in courses:
                assert set(course.statuses.values()) == {Status.DEADLINE_EXCEEDED.value}
                assert len(course.ended) >= 100
            await answers_at_once(server)


async def test_a_peer_that_stops_reading_is_cut(autojump_clock: MockClock) -> None:
    async with serving(Limits(send_timeout=20, control_frames=10**6)) as server:
        large = message("x" * 10_000)
        async with attacking(KINDS["stops reading"], target_of(server, message=large)) as (course,):
            await wait_all_tasks_blocked()
            await trio.sleep(19)
            assert not course.over.is_set()
            await answers_at_once(server)
            with trio.fail_after(3):
                await course.over.wait()
            await wait_all_tasks_blocked()
            assert server.witness.open == 0


# --- memory

# Room for two of the larger requests on each connection, and on all together for five.
KIB = 1024
SMALL = Limits(message_bytes=64 * KIB, unread_bytes=128 * KIB, unread_bytes_in_all=320 * KIB, receive_timeout=1000)


@pytest.mark.uncovered
async def test_unread_bytes_are_bounded_for_all_connections_together(autojump_clock: MockClock) -> None:
    pace = Pace(1000)
    async with besieged("unread bytes", SMALL, number=10, message_bytes=64 * KIB, frames=pace) as (server, courses):
        await trio.sleep(2)
        statuses = {status for course in courses for status in course.statuses.values()}
        assert statuses == {Status.RESOURCE_EXHAUSTED.value}
        assert not any(over(courses))
        await answers_at_once(server)


@pytest.mark.uncovered
@pytest.mark.parametrize("kind", ["headers without a body", "slow writer", "zero window", "stops reading"])
async def test_clients_at_their_limits_block_no_other_call(autojump_clock: MockClock, kind: str) -> None:
    async with besieged(kind, SMALL, number=2, calls=Pace(100), frames=Pace(1000)) as (server, _):
        for _ in range(3):
            await answers_at_once(server)
            await trio.sleep(1)


async def test_a_peer_that_stops_reading_loses_its_memory_to_others(autojump_clock: MockClock) -> None:
    """Before its time is up: its calls and the request of another are more than may be held."""
    limits = replace(SMALL, unread_bytes_in_all=170 * KIB, send_timeout=1000)
    async with serving(limits) as server, peering(server.port) as deaf:
        deaf.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 2**31 - 1})
        deaf.h2.increment_flow_control_window(2**30)
        for stream_id in range(1, 12, 2):
            deaf.compose(stream_id, request_head("Inflate"), text("1000000"))
        await deaf.flush()
        await wait_all_tasks_blocked()
        assert server.witness.open == 1
        async with peering(server.port) as other:
            other.compose(1, request_head(), text("x" * 16_000))
            await other.flush()
            assert (await other.answer(1)).value == "x" * 16_000
        await wait_all_tasks_blocked()
        assert server.witness.open == 0


async def test_no_more_is_given_up_than_need_be(autojump_clock: MockClock) -> None:
    """The oldest first, until there is room: a request that is coming in beside is not among them."""
    async with (
        besieged("headers without a body", SMALL, frames=Pace(1000)) as (server, (course,)),
        peering(server.port) as peer,
    ):
        await trio.sleep(0.1)
        peer.compose(1, request_head(), text("hello")[:-1], end=False)
        await peer.flush()
        await trio.sleep(0.1)
        assert course.statuses, "twenty of theirs are more than may be"
        assert len(course.statuses) < 10
        await peer.send_frames(DataFrame(1, text("hello")[-1:], flags=["END_STREAM"]))
        assert (await peer.answer(1)).value == "hello"


async def test_incomplete_heads_are_counted(autojump_clock: MockClock) -> None:
    """Three of 16 KiB are more than may be; a short one is none of those that go."""
    limits = Limits(message_bytes=1000, unread_bytes=2000, unread_bytes_in_all=80 * KIB)
    async with serving(limits) as server, peering(server.port) as peer:
        await peer.send_frames(b"\0\0\5\1\5\0\0\0\1\x82")
        async with attacking(KINDS["partial header block"], target_of(server), number=3):
            await wait_all_tasks_blocked()
            assert server.witness.evicted == ["memory"]
            assert server.witness.open == 3
        await wait_all_tasks_blocked()
        assert server.witness.open == 1


async def test_incomplete_frames_count_until_they_are_complete(autojump_clock: MockClock) -> None:
    async with serving() as server:
        async with peering(server.port) as peer:
            await peer.call(1)
            await peer.answer(1)
            [connection] = {call.connection for call in server.toys.seen}
            memory = connection._state.memory
            peer.compose(3, request_head(x="x" * 10_000), text("hello"))
            data = peer.h2.data_to_send()
            await peer.stream.send_all(data[:5000])
            await wait_all_tasks_blocked()
            assert memory.total == connection.held == 5000
            await peer.stream.send_all(data[5000:])
            assert (await peer.answer(3)).value == "hello"
            await wait_all_tasks_blocked()
            assert memory.total == connection.held == 0
            await peer.send_frames(b"\0\0\5\1")
            await wait_all_tasks_blocked()
            assert memory.total == 4
        await wait_all_tasks_blocked()
        assert memory.total == 0


async def test_incomplete_records_count_until_they_are_complete(autojump_clock: MockClock) -> None:
    """OpenSSL has a buffer for each, of the same size for any."""
    async with serving() as server, peering(server.port) as peer:
        await peer.call(1)
        await peer.answer(1)
        [connection] = {call.connection for call in server.toys.seen}
        inner: Any = peer.stream
        inner._ssl_object.write(frame(PING, payload=b"12345678"))
        record = inner._outgoing.read()
        await peer.recorder.send_all(record[:10])
        await wait_all_tasks_blocked()
        assert connection._state.memory.total == connection.held > 16 * KIB
        await peer.recorder.send_all(record[10:])
        await wait_all_tasks_blocked()
        assert connection._state.memory.total == connection.held == 0


async def test_data_of_a_peer_that_is_slowed_down_is_counted(autojump_clock: MockClock) -> None:
    async with serving() as server, peering(server.port) as peer:
        await peer.call(1)
        await peer.answer(1)
        [connection] = {call.connection for call in server.toys.seen}
        await peer.send_frames(frame(PING, payload=b"12345678") * 700)
        await wait_all_tasks_blocked()
        assert connection.held > 10_000
        assert connection._state.memory.total == connection.held
        await trio.sleep(1)
        assert connection.held == 0


async def test_data_before_a_reset_of_the_connection_is_dropped(autojump_clock: MockClock) -> None:
    async with serving() as server, peering(server.port) as peer:
        await peer.send_frames(frame(PRIORITY, 1, bytes(5)) * 700)
        await wait_all_tasks_blocked()
        assert server.witness.open == 1
        # Closing is then a reset.
        peer.recorder.inner.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await peer.recorder.aclose()
        await trio.sleep(2 * SLOW_DOWN_SECONDS)
        await wait_all_tasks_blocked()
        assert server.witness.open == 0


async def test_large_tables_of_headers_are_counted_and_one_of_the_largest_goes(autojump_clock: MockClock) -> None:
    """Though no call holds anything."""
    limits = Limits(message_bytes=1000, unread_bytes=2000, unread_bytes_in_all=120 * KIB)
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(serving(limits))
        for _ in range(4):
            peer = await stack.enter_async_context(peering(server.port))
            for number in range(16):
                extra: dict[str, str | bytes] = {f"x{number}{entry}": "" for entry in range(8)}
                peer.compose(2 * number + 1, request_head(**extra), text("hello"))
                await peer.flush()
                await wait_all_tasks_blocked()
        memory = server.toys.seen[-1].connection._state.memory
        assert server.witness.evicted == ["memory"]
        assert 40 * KIB < memory.total < 60 * KIB


async def test_a_connection_is_counted_until_it_is_closed(autojump_clock: MockClock) -> None:
    """Though its peer does not close it."""
    async with serving() as server, peering(server.port) as peer:
        await peer.call(1)
        await peer.answer(1)
        [call] = server.toys.seen
        memory = call.connection._state.memory
        await peer.send_frames(frame(PING, 1, b"12345678"))  # which no stream has
        await wait_all_tasks_blocked()
        left = [memory._left]
        await trio.sleep(Limits().close_timeout)
        await wait_all_tasks_blocked()
        left.append(memory._left)
        assert left == [Limits().unread_bytes_in_all - CONNECTION_BYTES, Limits().unread_bytes_in_all]


async def test_a_handler_is_counted_while_it_runs(autojump_clock: MockClock) -> None:
    async with serving() as server, peering(server.port) as peer:
        await peer.call(1)
        await peer.answer(1)
        [call] = server.toys.seen
        await peer.call(3, "Hang")
        await server.toys.hanging.wait()
        fields = len(request_head("Hang"))
        assert call.connection.held > CALL_BYTES + TASK_BYTES + fields * FIELD_BYTES


async def test_unread_messages_without_bytes_are_counted(autojump_clock: MockClock) -> None:
    """An empty message costs its object."""
    limits = Limits(message_bytes=1000, unread_bytes=6400)
    async with serving(limits) as server, peering(server.port) as peer:
        peer.compose(1, request_head("Hang"), text("") * 200, end=False)
        await peer.flush()
        answer = await peer.answer(1)
        assert (answer.status, answer.message) == (8, "grpc: more than 6400 bytes unread on one connection")

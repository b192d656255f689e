"""Answers to HTTP requests that are not gRPC."""

import pytest
import trio
from h2.errors import ErrorCodes
from h2.events import DataReceived, ResponseReceived, StreamEnded, StreamReset
from h2.settings import SettingCodes
from hyperframe.frame import DataFrame, RstStreamFrame
from trio.testing import MockClock, wait_all_tasks_blocked

from sentry_trio.grpc import Limits
from testkit.grpc.raw import Peer, peering, request_head
from testkit.grpc.toys import Served, serving

WHY = b"gRPC is called with POST\n"


async def _refused(peer: Peer, stream_id: int, why: bytes = WHY) -> None:
    await peer.wait_for(StreamEnded, stream_id)
    answer = peer.answered(stream_id)
    assert [head[":status"] for head in answer.heads] == ["405"]
    assert answer.data == why


@pytest.mark.parametrize(("method", "why"), [("GET", WHY), ("HEAD", b"")])
async def test_a_whole_request_is_answered_in_one_write(served: Served, method: str, why: bytes) -> None:
    async with peering(served.port) as peer:
        await wait_all_tasks_blocked()
        before = peer.recorder.records()
        peer.h2.send_headers(1, request_head(method=method), end_stream=True)
        await peer.flush()
        await _refused(peer, 1, why)
        await wait_all_tasks_blocked()
        assert peer.recorder.records() == before + 1
        assert peer.answered(1).reset is None
    assert served.witness.finished == [], "it is not counted as a call"


async def test_the_answer_to_another_content_type_names_the_expected_one(served: Served) -> None:
    async with peering(served.port) as peer:
        peer.compose(1, request_head(content_type="application/json"), b"{}")
        await peer.flush()
        answer = await peer.answer(1)
    assert [head[":status"] for head in answer.heads] == ["415"]
    assert answer.data == b"gRPC is called with content-type application/grpc\n"


async def test_the_answer_waits_for_the_end_of_the_request(served: Served) -> None:
    async with peering(served.port) as peer:
        peer.h2.send_headers(1, request_head(method="PUT"))
        peer.h2.send_data(1, b"x" * 1000)
        await peer.flush()
        await wait_all_tasks_blocked()
        await peer.call(3)
        assert (await peer.answer(3)).value == "hello"
        assert peer.having(ResponseReceived, 1) == []
        peer.h2.send_headers(1, [("its", "trailers")], end_stream=True)
        await peer.flush()
        await _refused(peer, 1)
        assert peer.answered(1).reset is None


async def test_until_then_the_request_is_held_to_the_protocol(served: Served) -> None:
    """RFC 9113, 8.1.1: a content-length that is not kept to makes it malformed, refused or not."""
    async with peering(served.port) as peer:
        peer.h2.send_headers(1, request_head(method="PUT", content_length="3"))
        await peer.send_frames(DataFrame(1, b"four"))
        assert (await peer.wait_for(StreamReset, 1)).error_code is ErrorCodes.PROTOCOL_ERROR
        assert peer.having(ResponseReceived) == []


async def test_a_long_request_is_answered_at_the_bound() -> None:
    async with serving(Limits(refused_bytes=1000)) as server, peering(server.port) as peer:
        peer.compose(1, request_head(method="PUT"), b"x" * 1000, end=False)
        await peer.flush()
        await wait_all_tasks_blocked()
        await peer.call(3)
        await peer.answer(3)
        assert peer.having(ResponseReceived, 1) == []
        peer.h2.send_data(1, b"x")
        await peer.flush()
        await _refused(peer, 1)
        assert (await peer.wait_for(StreamReset, 1)).error_code is ErrorCodes.NO_ERROR


async def test_a_request_that_does_not_end_is_answered_in_the_end(autojump_clock: MockClock) -> None:
    async with serving(Limits(refused_timeout=3)) as server, peering(server.port) as peer:
        begin = trio.current_time()
        peer.h2.send_headers(1, request_head(method="PUT", expect="100-continue"))
        await peer.flush()
        await _refused(peer, 1)
        assert trio.current_time() - begin == pytest.approx(3, abs=0.5)
        assert (await peer.wait_for(StreamReset, 1)).error_code is ErrorCodes.NO_ERROR


async def test_the_answer_waits_for_the_window(served: Served) -> None:
    async with peering(served.port) as peer:
        peer.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 5})
        peer.opens_window = False
        peer.h2.send_headers(1, request_head(method="GET"), end_stream=True)
        await peer.flush()
        await peer.wait_for(DataReceived, 1)
        assert peer.answered(1).data == WHY[:5]
        peer.h2.increment_flow_control_window(100, 1)
        await peer.flush()
        await _refused(peer, 1)


async def test_a_peer_that_does_not_read_the_http_error_is_reset(autojump_clock: MockClock) -> None:
    async with serving(Limits(refused_timeout=3)) as server, peering(server.port) as peer:
        peer.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 0})
        peer.opens_window = False
        begin = trio.current_time()
        peer.h2.send_headers(1, request_head(method="GET"), end_stream=True)
        await peer.flush()
        assert (await peer.wait_for(StreamReset, 1)).error_code is ErrorCodes.CANCEL
        assert trio.current_time() - begin == pytest.approx(3, abs=0.5)


@pytest.mark.parametrize("at_once", [True, False])
async def test_a_reset_is_the_end_of_it(served: Served, at_once: bool) -> None:
    async with peering(served.port) as peer:
        peer.h2.send_headers(1, request_head(method="PUT"))
        if not at_once:
            await peer.flush()
            await wait_all_tasks_blocked()
        await peer.send_frames(RstStreamFrame(1))
        await peer.call(3)
        await peer.answer(3)
        await wait_all_tasks_blocked()
        assert peer.having(ResponseReceived, 1) == []
        assert peer.having(StreamReset, 1) == []


async def test_a_server_that_leaves_answers_at_its_drain_timeout(autojump_clock: MockClock) -> None:
    limits = Limits(drain_timeout=2, refused_timeout=100)
    async with serving(limits) as server, peering(server.port) as peer:
        peer.h2.send_headers(1, request_head(method="PUT"))
        await peer.flush()
        await wait_all_tasks_blocked()
        begin = trio.current_time()
        server.scope.cancel()
        await _refused(peer, 1)
        assert trio.current_time() - begin == pytest.approx(2, abs=0.5)

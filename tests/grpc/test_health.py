"""The standard health service, asked by gRPC's C core and frame by frame."""

import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import grpc
import pytest
import trio
from grpclib.health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from h2.events import DataReceived
from h2.settings import SettingCodes
from trio.testing import MockClock, wait_all_tasks_blocked

from sentry_trio.grpc import Limits, serve_grpc
from sentry_trio.grpc.framing import frame_message
from sentry_trio.grpc.health import HealthService
from sentry_trio.listener import open_listener
from testkit.grpc.raw import Peer, peering, request_head
from testkit.grpc.toys import ANCHORS, CONTEXT, Toys

UNKNOWN, SERVING, NOT_SERVING, SERVICE_UNKNOWN = range(4)
T = TypeVar("T")


@asynccontextmanager
async def _served(health: HealthService) -> AsyncIterator[int]:
    """Serves it beside the toys; the port."""
    with await open_listener("127.0.0.1", 0) as listener:
        async with trio.open_nursery() as nursery:

            async def serve(*, task_status: trio.TaskStatus[None]) -> None:
                limits = Limits(drain_timeout=0, close_timeout=0.2)
                await serve_grpc(
                    [Toys(), health], [listener], tls=lambda: CONTEXT, limits=limits, task_status=task_status
                )

            await nursery.start(serve)
            yield listener.getsockname()[1]
            nursery.cancel_scope.cancel()


async def _core(port: int, use: Callable[[grpc.Channel], T]) -> T:
    def in_thread() -> T:
        credentials = grpc.ssl_channel_credentials(ANCHORS)
        with grpc.secure_channel(f"localhost:{port}", credentials, [("grpc.enable_http_proxy", 0)]) as channel:
            return use(channel)

    return await trio.to_thread.run_sync(in_thread)


def _check(service: str) -> Callable[[grpc.Channel], Any]:
    def use(channel: grpc.Channel) -> Any:
        method = channel.unary_unary(
            "/grpc.health.v1.Health/Check", HealthCheckRequest.SerializeToString, HealthCheckResponse.FromString
        )
        try:
            return method(HealthCheckRequest(service=service), timeout=60).status
        except grpc.RpcError as error:
            return error.code(), error.details()

    return use


async def _watch(peer: Peer, stream_id: int, service: str) -> None:
    request = HealthCheckRequest(service=service).SerializeToString()
    peer.compose(stream_id, request_head(path="/grpc.health.v1.Health/Watch"), frame_message(request))
    await peer.flush()


async def _statuses(peer: Peer, stream_id: int, number: int) -> list[int]:
    """Statuses that a watch received, as soon as there are so many."""
    await peer.wait_for(DataReceived, stream_id, number=number)
    return [HealthCheckResponse.FromString(event.data[5:]).status for event in peer.having(DataReceived, stream_id)]


# --- Check


async def test_a_check_returns_the_status_that_was_set() -> None:
    health = HealthService()
    async with _served(health) as port:
        assert await _core(port, _check("")) == NOT_SERVING
        assert await _core(port, _check("a.B")) == (grpc.StatusCode.NOT_FOUND, "unknown service")
        health.set_serving("", True)
        health.set_serving("a.B", False)
        assert await _core(port, _check("")) == SERVING
        assert await _core(port, _check("a.B")) == NOT_SERVING
        health.close()
        assert await _core(port, _check("")) == SERVING


async def test_a_check_of_too_long_a_name_is_rejected() -> None:
    longest = "a" * (16 * 1024 - 3)  # beside the field's number and size
    async with _served(HealthService()) as port:
        assert await _core(port, _check(longest)) == (grpc.StatusCode.NOT_FOUND, "unknown service")
        too_long = grpc.StatusCode.INVALID_ARGUMENT, "the request has 16385 bytes; at most 16384 are accepted"
        assert await _core(port, _check(longest + "a")) == too_long


async def test_a_check_of_nothing_is_refused() -> None:
    async with _served(HealthService()) as port, peering(port) as peer:
        peer.h2.send_headers(1, request_head(path="/grpc.health.v1.Health/Check"), end_stream=True)
        await peer.flush()
        assert (await peer.answer(1)).status == 12


# --- Watch


async def test_a_watch_gets_the_status_at_once_and_each_change() -> None:
    health = HealthService()
    health.set_serving("a.B", True)
    async with _served(health) as port, peering(port) as peer:
        await _watch(peer, 1, "a.B")
        await _watch(peer, 3, "")
        assert await _statuses(peer, 1, 1) == [SERVING]
        assert await _statuses(peer, 3, 1) == [NOT_SERVING]
        health.set_serving("a.B", True)  # no news
        await wait_all_tasks_blocked()
        health.set_serving("a.B", False)
        assert await _statuses(peer, 1, 2) == [SERVING, NOT_SERVING]
        health.set_serving("a.B", True)
        assert await _statuses(peer, 1, 3) == [SERVING, NOT_SERVING, SERVING]
        assert await _statuses(peer, 3, 1) == [NOT_SERVING]


async def test_a_watch_of_an_unknown_service_waits_until_it_is_known() -> None:
    health = HealthService()
    async with _served(health) as port, peering(port) as peer:
        await _watch(peer, 1, "to.Come")
        assert await _statuses(peer, 1, 1) == [SERVICE_UNKNOWN]
        health.set_serving("other", True)
        await wait_all_tasks_blocked()
        health.set_serving("to.Come", True)
        assert await _statuses(peer, 1, 2) == [SERVICE_UNKNOWN, SERVING]


async def test_a_slow_watcher_gets_the_last_status() -> None:
    health = HealthService()
    async with _served(health) as port, peering(port) as peer:
        peer.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 0})
        peer.opens_window = False
        await _watch(peer, 1, "")
        await peer.receive()
        for serving in (True, False, True):
            await wait_all_tasks_blocked()
            health.set_serving("", serving)
        peer.h2.increment_flow_control_window(1000, 1)
        await peer.flush()
        assert await _statuses(peer, 1, 2) == [NOT_SERVING, SERVING]


@pytest.mark.parametrize("before", [True, False])
async def test_closing_ends_watches(autojump_clock: MockClock, before: bool) -> None:
    health = HealthService()
    async with _served(health) as port, peering(port) as peer:
        if before:
            health.close()
        await _watch(peer, 1, "")
        if not before:
            await _statuses(peer, 1, 1)
            health.close()
            health.close()
        assert await peer.status(1) == (14, "the server is shutting down")


async def test_core_watches_until_it_cancels() -> None:
    health = HealthService()
    token = trio.lowlevel.current_trio_token()

    def use(channel: grpc.Channel) -> tuple[list[int], Any]:
        method = channel.unary_stream(
            "/grpc.health.v1.Health/Watch", HealthCheckRequest.SerializeToString, HealthCheckResponse.FromString
        )
        watch = method(HealthCheckRequest(), timeout=60)
        reported = [next(watch).status]
        trio.from_thread.run_sync(health.set_serving, "", True, trio_token=token)
        reported.append(next(watch).status)
        watch.cancel()
        return reported, watch.code()

    async with _served(health) as port:
        assert await _core(port, use) == ([NOT_SERVING, SERVING], grpc.StatusCode.CANCELLED)


def test_it_needs_no_asyncio() -> None:
    code = "import sys, sentry_trio.grpc.health; sys.exit('asyncio' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)

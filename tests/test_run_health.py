"""The standard health service beside the CA, through a run's life: asked by grpclib's client, and frame by frame."""

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import pytest
import trio
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from grpclib.health.v1.health_grpc import HealthStub
from grpclib.health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from h2.events import ConnectionTerminated, DataReceived, PingReceived

from sentry_trio.grpc.framing import frame_message
from testkit.authorities import Served, serving
from testkit.clients.grpclib_channel import with_channel
from testkit.grpc.raw import Peer, peering, request_head

SERVING, NOT_SERVING = 1, 2
CA = "dapr.proto.sentry.v1.CA"
T = TypeVar("T")


def _context(served: Served) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=(served.credentials / "ca.crt").read_text())
    context.check_hostname = False  # the authority's certificate has a SPIFFE ID and no host's name
    context.set_alpn_protocols(["h2"])
    return context


async def _asked(served: Served, ask: Callable[[HealthStub], Awaitable[T]]) -> T:
    """Asks by grpclib's client on a connection of its own, on asyncio in a thread."""
    return await with_channel(served.application.grpc_port, _context(served), lambda channel: ask(HealthStub(channel)))


async def _checked(served: Served, service: str = CA) -> int:
    async def ask(stub: HealthStub) -> int:
        return (await stub.Check(HealthCheckRequest(service=service), timeout=60)).status

    return await _asked(served, ask)


@asynccontextmanager
async def _peer(served: Served) -> AsyncIterator[Peer]:
    async with peering(served.application.grpc_port, context=_context(served)) as peer:
        yield peer


async def _ask(peer: Peer, stream_id: int, method: str, service: str) -> None:
    head = request_head(path=f"/grpc.health.v1.Health/{method}")
    peer.compose(stream_id, head, frame_message(HealthCheckRequest(service=service).SerializeToString()))
    await peer.flush()


def _reported(data: bytes) -> list[int]:
    """The statuses in the messages of a stream."""
    reported: list[int] = []
    at = 0
    while at < len(data):
        size = int.from_bytes(data[at + 1 : at + 5], "big")
        reported.append(HealthCheckResponse.FromString(data[at + 5 : at + 5 + size]).status)
        at += 5 + size
    return reported


@pytest.mark.parametrize("service", ["", CA])
async def test_a_serving_run_reports_serving(tmp_path: Path, service: str) -> None:
    async with serving(tmp_path) as served:
        assert await _checked(served, service) == SERVING


async def test_another_service_is_not_known(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        with pytest.raises(GRPCError) as caught:
            await _checked(served, "another")
    assert caught.value.status is Status.NOT_FOUND


async def test_health_watches_move_to_the_next_run(tmp_path: Path) -> None:
    """Frame by frame: grpclib's client takes the GOAWAY for the end of the watch."""
    async with serving(tmp_path, "--drain-timeout=1h") as served, _peer(served) as peer:
        for stream_id, service in ((1, CA), (3, "")):
            await _ask(peer, stream_id, "Watch", service)
            await peer.wait_for(DataReceived, stream_id)
        await served.application.authority.restart()
        for stream_id in (1, 3):
            answer = await peer.answer(stream_id)
            assert (answer.status, _reported(answer.data)) == (14, [SERVING])
        await peer.closed()
        assert await _checked(served) == SERVING


async def _left(peer: Peer) -> None:
    """Waits, answering nothing, for the first of the server's two goodbyes."""
    while not peer.having(PingReceived):
        await peer.receive()
    assert len(peer.having(ConnectionTerminated)) == 1


async def test_a_restart_changes_no_health_status(tmp_path: Path) -> None:
    """A check that crosses the GOAWAY of the old run gets the authority's status, which serves with the new run."""
    async with serving(tmp_path) as served, _peer(served) as peer:
        await served.application.authority.restart()
        await _left(peer)
        await _ask(peer, 1, "Check", CA)
        assert _reported((await peer.answer(1)).data) == [SERVING]
        assert (await served.get("/healthz"))[0] == 200


async def test_an_authority_that_stops_serves_no_more(tmp_path: Path) -> None:
    async with serving(tmp_path) as served, _peer(served) as peer:
        served.scope.cancel()
        with trio.CancelScope(shield=True):
            await _left(peer)
            await _ask(peer, 1, "Check", CA)
            await _ask(peer, 3, "Check", "")
            assert (await served.get("/healthz"))[0] == 503
            assert _reported((await peer.answer(1)).data) == [NOT_SERVING]
            assert _reported((await peer.answer(3)).data) == [NOT_SERVING]


async def test_a_watch_holds_no_stop(tmp_path: Path) -> None:
    async with serving(tmp_path, "--drain-timeout=1h") as served, _peer(served) as peer:
        await _ask(peer, 1, "Watch", "")
        await _ask(peer, 3, "Watch", CA)
        await peer.wait_for(DataReceived, 1)
        await peer.wait_for(DataReceived, 3)
        served.scope.cancel()
        with trio.CancelScope(shield=True):
            assert (await peer.answer(1)).status == 14
            assert (await peer.answer(3)).status == 14
        # The connection gets GOAWAY, the watches end, the application with them: nothing waits for the hour.

"""The standard health service beside the CA, through a run's life."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from grpclib.health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from h2.events import ConnectionTerminated, DataReceived

from sentry_trio.grpc.wire import frame_message
from tests.authorities import Served, serving
from tests.grpc.raw import Peer, peering, request_head

SERVING, NOT_SERVING = 1, 2
CA = "dapr.proto.sentry.v1.CA"


@asynccontextmanager
async def _peer(served: Served) -> AsyncIterator[Peer]:
    context = ssl.create_default_context(cadata=(served.credentials / "ca.crt").read_text())
    context.check_hostname = False  # the authority's certificate has a SPIFFE ID and no host's name
    context.set_alpn_protocols(["h2"])
    async with peering(served.application.grpc_port, context=context) as peer:
        yield peer


async def _ask(peer: Peer, stream_id: int, method: str, service: str) -> None:
    head = request_head(path=f"/grpc.health.v1.Health/{method}")
    peer.compose(stream_id, head, frame_message(HealthCheckRequest(service=service).SerializeToString()))
    await peer.flush()


def _told(data: bytes) -> list[int]:
    """The statuses in the messages of a stream."""
    told: list[int] = []
    at = 0
    while at < len(data):
        size = int.from_bytes(data[at + 1 : at + 5], "big")
        told.append(HealthCheckResponse.FromString(data[at + 5 : at + 5 + size]).status)
        at += 5 + size
    return told


@pytest.mark.parametrize("service", ["", CA])
async def test_a_run_that_serves_says_so(tmp_path: Path, service: str) -> None:
    async with serving(tmp_path) as served, _peer(served) as peer:
        await _ask(peer, 1, "Check", service)
        answer = await peer.answer(1)
        assert (answer.status, _told(answer.data)) == (0, [SERVING])


async def test_another_service_is_not_known(tmp_path: Path) -> None:
    async with serving(tmp_path) as served, _peer(served) as peer:
        await _ask(peer, 1, "Check", "another")
        assert (await peer.answer(1)).status == 5


async def test_who_watches_is_sent_to_the_next_run(tmp_path: Path) -> None:
    async with serving(tmp_path) as served, _peer(served) as peer:
        await _ask(peer, 1, "Watch", CA)
        await peer.wait_for(DataReceived, 1)
        await served.application.authority.restart()
        answer = await peer.answer(1)
        assert answer.status == 14
        assert _told(answer.data)[0] == SERVING
        await peer.wait_for(ConnectionTerminated)
        async with _peer(served) as other:
            await _ask(other, 1, "Check", CA)
            assert _told((await other.answer(1)).data) == [SERVING]


async def test_a_watch_holds_no_stop(tmp_path: Path) -> None:
    async with serving(tmp_path, "--drain-timeout=1h") as served, _peer(served) as peer:
        await _ask(peer, 1, "Watch", "")
        await peer.wait_for(DataReceived, 1)
        served.scope.cancel()
        # The connection is told to go, the watch ends, the application with it: nothing waits for the hour.

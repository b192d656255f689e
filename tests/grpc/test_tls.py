"""TLS on a socket, with Python's own client at the other end."""

import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import trio
import trustme
from trio.testing import MockClock, wait_all_tasks_blocked

from sentry_trio.grpc import Limits, server_context
from sentry_trio.grpc.tls import HandshakeFailedError, TLSTransport
from testkit.grpc.raw import client_context, connect, key_update, peering
from testkit.grpc.toys import AUTHORITY, CONTEXT, IDENTITY, Served, open_descriptors, serving

Client = trio.SSLStream[trio.SocketStream]


@asynccontextmanager
async def _connected(context: ssl.SSLContext = CONTEXT) -> AsyncIterator[tuple[TLSTransport, Client]]:
    """Both ends of a connection, no hands shaken yet."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    transport = TLSTransport(ours, context)
    stream = trio.SocketStream(trio.socket.from_stdlib_socket(theirs))
    client = trio.SSLStream(stream, client_context(), server_hostname="localhost", https_compatible=True)
    try:
        yield transport, client
    finally:
        transport.close()
        await trio.aclose_forcefully(client)


@asynccontextmanager
async def _shaken(context: ssl.SSLContext = CONTEXT) -> AsyncIterator[tuple[TLSTransport, Client]]:
    async with _connected(context) as (transport, client):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.do_handshake)
            await transport.handshake()
        yield transport, client


# --- the context


@pytest.mark.parametrize(
    ("chain", "key"),
    [
        (b"", b""),
        (b"garbage", b"garbage"),
        (IDENTITY.cert_chain_pems[0].bytes(), b""),
        (b"", IDENTITY.private_key_pem.bytes()),
        (IDENTITY.cert_chain_pems[0].bytes(), AUTHORITY.issue_cert("other").private_key_pem.bytes()),
    ],
)
def test_invalid_identities(chain: bytes, key: bytes) -> None:
    before = open_descriptors()
    with pytest.raises(ssl.SSLError):
        server_context(chain, key)
    assert open_descriptors() <= before


def test_a_key_is_left_on_no_disk_and_in_no_descriptor() -> None:
    before = open_descriptors()
    server_context(IDENTITY.cert_chain_pems[0].bytes(), IDENTITY.private_key_pem.bytes())
    assert open_descriptors() <= before


def test_old_protocols_and_tickets_are_off() -> None:
    assert CONTEXT.minimum_version is ssl.TLSVersion.TLSv1_2
    assert CONTEXT.num_tickets == 0
    assert CONTEXT.verify_mode is ssl.CERT_NONE
    names = {cipher["name"] for cipher in CONTEXT.get_ciphers()}
    assert all(name.startswith(("TLS_", "ECDHE-")) and ("GCM" in name or "CHACHA20" in name) for name in names)


# --- handshakes


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_versions(served: Served, version: ssl.TLSVersion) -> None:
    context = client_context()
    context.minimum_version = context.maximum_version = version
    stream = await connect(served.port, context=context)
    assert stream.version() == {"TLSv1_2": "TLSv1.2", "TLSv1_3": "TLSv1.3"}[version.name]
    assert stream.selected_alpn_protocol() == "h2"
    await trio.aclose_forcefully(stream)


@pytest.mark.parametrize("protocols", [[], ["http/1.1"], ["h2c", "http/1.1"]])
async def test_a_peer_without_h2_is_closed_after_the_handshake(served: Served, protocols: list[str]) -> None:
    context = client_context(alpn=False)
    if protocols:
        context.set_alpn_protocols(protocols)
    stream = await connect(served.port, context=context)
    assert await stream.receive_some() == b""
    await trio.aclose_forcefully(stream)
    await wait_all_tasks_blocked()
    assert served.witness.handshakes_failed == ["the peer did not choose h2 by ALPN"]
    assert served.witness.open == 0


async def test_ciphers_without_forward_secrecy_are_rejected(served: Served) -> None:
    context = client_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE-ECDSA-AES128-SHA:AES128-GCM-SHA256")
    with pytest.raises(trio.BrokenResourceError) as caught:
        await connect(served.port, context=context)
    assert "HANDSHAKE_FAILURE" in str(caught.value.__cause__), "the alert says why"
    await wait_all_tasks_blocked()
    [reason] = served.witness.handshakes_failed
    assert "NO_SHARED_CIPHER" in reason


@pytest.mark.parametrize("said", [b"GET / HTTP/1.1\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\0" * 20])
async def test_plain_text_is_not_a_handshake(served: Served, said: bytes) -> None:
    async with await trio.open_tcp_stream("127.0.0.1", served.port) as stream:
        await stream.send_all(said)
        while await stream.receive_some():
            pass
    await wait_all_tasks_blocked()
    assert len(served.witness.handshakes_failed) == 1
    assert served.witness.open == 0


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"", "no TLS handshake: the peer closed before it sent anything"),
        (b"\x16\x03\x01\0", "the peer closed during the TLS handshake"),
    ],
)
async def test_a_connection_that_closes_has_no_handshake(served: Served, said: bytes, reason: str) -> None:
    async with await trio.open_tcp_stream("127.0.0.1", served.port) as stream:
        await stream.send_all(said)
    await wait_all_tasks_blocked()
    assert served.witness.handshakes_failed == [reason]


@pytest.mark.parametrize("said", [b"", b"\x16\x03\x01\0"])
async def test_a_handshake_has_a_time_limit(autojump_clock: MockClock, said: bytes) -> None:
    async with serving(Limits(handshake_timeout=3)) as server:
        begin = trio.current_time()
        async with await trio.open_tcp_stream("127.0.0.1", server.port) as stream:
            await stream.send_all(said)
            assert await stream.receive_some() == b""
        assert 3 <= trio.current_time() - begin < 3.5
        assert server.witness.handshakes_failed == ["no TLS handshake within 3 s"]


async def test_an_untrusting_client_is_a_failed_handshake(served: Served) -> None:
    context = ssl.create_default_context(cadata=trustme.CA().cert_pem.bytes().decode())
    context.set_alpn_protocols(["h2"])
    with pytest.raises(trio.BrokenResourceError):
        await connect(served.port, context=context)
    await wait_all_tasks_blocked()
    assert len(served.witness.handshakes_failed) == 1


async def test_a_renewed_identity_is_seen_by_new_connections_only() -> None:
    renewed = AUTHORITY.issue_cert("localhost", common_name="renewed")
    contexts = [
        CONTEXT,
        server_context(b"".join(blob.bytes() for blob in renewed.cert_chain_pems), renewed.private_key_pem.bytes()),
    ]
    async with (
        serving(tls=lambda: contexts.pop(0)) as server,
        peering(server.port) as old,
        peering(server.port) as new,
    ):
        for peer, name in ((old, None), (new, "renewed")):
            await peer.call(1)
            assert (await peer.answer(1)).value == "hello"
            certificate = peer.stream.getpeercert()
            subject = {name: value for [(name, value), *_] in certificate["subject"]}
            assert subject.get("commonName") == name


# --- data


async def test_nothing_is_read_before_the_peer_has_a_turn() -> None:
    turn = trio.Event()
    async with _shaken() as (transport, client), trio.open_nursery() as nursery:
        transport.before_read = turn.wait
        await client.send_all(b"hello")
        received: list[bytes] = []

        async def receive() -> None:
            received.append(await transport.receive())

        nursery.start_soon(receive)
        await wait_all_tasks_blocked()
        assert (received, transport.arrived()) == ([], None)
        turn.set()
    assert received == [b"hello"]


@pytest.mark.parametrize("size", [0, 1, 16_384, 16_385, 1_000_000])
async def test_data_goes_both_ways(size: int) -> None:
    data = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    async with _shaken() as (transport, client):

        async def answer() -> None:
            await client.send_all(data)
            received = bytearray()
            while len(received) < size:
                received += await client.receive_some()
            assert received == data

        async with trio.open_nursery() as nursery:
            nursery.start_soon(answer)
            received = bytearray()
            while len(received) < size:
                received += await transport.receive()
            assert received == data
            transport.write(data)
            await transport.send()


async def test_buffers_of_openssl_stay_small() -> None:
    """They would keep the size of the largest read for as long as the connection is open."""
    async with _shaken() as (transport, client):
        for _ in range(200):
            await client.send_all(bytes(100))
        pending = []
        for _ in range(200):
            assert await transport.receive() == bytes(100)
            pending.append(transport._arrived.pending)
        assert 3000 < max(pending) < 4096
        transport.write(bytes(200_000))
        assert transport._leaving.pending < 20_000


async def test_a_record_in_pieces_has_the_overhead_of_one() -> None:
    async with _shaken() as (transport, client), trio.open_nursery() as nursery:
        for size in (1, 16_384):
            nursery.start_soon(client.send_all, bytes(size))
            assert len(await transport.receive()) == size
            assert transport.overhead == 22  # head, content type and tag (RFC 8446, 5.2)


async def test_records_without_data_are_reported_before_data_comes() -> None:
    async with _shaken() as (transport, client), trio.open_nursery() as nursery:
        reported: list[int] = []
        transport.on_no_data = lambda size: reported.extend([size] if size else [])
        nursery.start_soon(transport.receive)
        updates = [key_update(client) for _ in range(7)]
        size = len(updates[0])
        for part in (b"".join(updates[:4]), updates[4][:3], updates[4][3:-1], updates[4][-1:] + updates[5][:7]):
            await client.transport_stream.send_all(part)
            await wait_all_tasks_blocked()
        assert reported == [4 * size, size]
        await client.transport_stream.send_all(updates[5][7:] + updates[6])
        await wait_all_tasks_blocked()
        await client.send_all(b"data")
        await wait_all_tasks_blocked()
        assert reported == [4 * size, size, 2 * size]
        assert transport.overhead == 22


async def test_a_cancelled_send_loses_nothing() -> None:
    data = bytes(range(256)) * 20_000
    async with _shaken() as (transport, client):
        transport.write(data)
        with trio.move_on_after(0) as scope:
            await transport.send()
        assert scope.cancelled_caught
        received = bytearray()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(transport.send)
            while len(received) < len(data):
                received += await client.receive_some()
        assert received == data


async def test_readiness_may_be_a_mistake() -> None:
    class Hasty(socket.socket):
        tries = 0

        def recv(self, *args: int) -> bytes:
            self.tries += 1
            if self.tries == 1:
                raise BlockingIOError
            return super().recv(*args)

    async with _connected() as (transport, client):
        ours = Hasty(fileno=transport._socket.detach())
        transport._socket = ours
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.do_handshake)
            await transport.handshake()
        assert ours.tries > 1


async def test_a_close_is_the_end_however_it_comes() -> None:
    async def politely(client: Client) -> None:
        await trio.SSLStream.unwrap(client)

    async def rudely(client: Client) -> None:
        await trio.aclose_forcefully(client)

    async def half(client: Client) -> None:
        await client.transport_stream.send_eof()

    async def garbage(client: Client) -> None:
        await client.transport_stream.send_all(b"no record at all, and then some more of it")

    for way in (politely, rudely, half, garbage):
        async with _shaken() as (transport, client), trio.open_nursery() as nursery:
            nursery.start_soon(way, client)
            assert await transport.receive() == b""
            nursery.cancel_scope.cancel()


async def test_a_peer_that_is_gone_is_an_error_to_a_sender_and_none_to_a_leaver() -> None:
    async with _shaken() as (transport, client):
        await trio.aclose_forcefully(client)
        transport.write(b"x")
        with pytest.raises(OSError, match="Broken pipe"):
            await transport.send()
        transport.half_close()


async def test_after_half_close_the_peer_may_still_talk() -> None:
    async with _shaken() as (transport, client):
        transport.write(b"last words")
        transport.half_close()
        transport.write(b"too late")
        await transport.send()
        assert await client.receive_some() == b"last words"
        assert await client.receive_some() == b""
        await client.send_all(b"still here")
        assert await transport.receive() == b"still here"
        await client.send_all(b"and here")
        assert await transport.receive() == b"and here"


async def test_half_close_does_not_wait_for_a_peer_that_does_not_read() -> None:
    async with _shaken() as (transport, client):
        transport.write(b"x" * 5_000_000)
        transport.half_close()
        received = bytearray()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(transport.send)
            while data := await client.receive_some():
                received += data
        assert received == b"x" * 5_000_000


async def test_a_handshake_that_cannot_be_answered_has_failed() -> None:
    async with _connected() as (transport, client):
        with trio.move_on_after(0):
            await client.do_handshake()
        await trio.aclose_forcefully(client)
        with pytest.raises(HandshakeFailedError):
            await transport.handshake()


async def test_closing_wakes_waiting_tasks() -> None:
    async with _shaken() as (transport, _), trio.open_nursery() as nursery:

        async def wait(receive: Callable[[], object]) -> None:
            with pytest.raises(trio.ClosedResourceError):
                await transport.receive()

        nursery.start_soon(wait, transport.receive)
        await wait_all_tasks_blocked()
        transport.close()

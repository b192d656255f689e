"""Limits on a ClientHello: clients that keep it, in any pieces, and peers that do not."""

import os
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from sentry_trio.grpc import server_context
from sentry_trio.grpc.client_hello import ClientHelloCheck, is_retry_request
from sentry_trio.grpc.tls import HandshakeFailedError, TLSTransport
from testkit.attackers.handshakes import ANNOUNCED_HELLO
from testkit.grpc.raw import Recorder, client_context
from testkit.grpc.toys import CONTEXT, IDENTITY

HANDSHAKE, CHANGE_CIPHER_SPEC, ALERT, DATA = 22, 20, 21, 23
CLIENT_HELLO = 1
MOST = 8 * 1024
TOO_LONG = "a ClientHello of more than 8192 bytes or 100 records"
# TLS 1.3 clients send a share for X25519 first.
P384_CONTEXT = server_context(IDENTITY.cert_chain_pems[0].bytes(), IDENTITY.private_key_pem.bytes())
P384_CONTEXT.set_ecdh_curve("secp384r1")

Cut = Callable[[bytes], Iterable[bytes]]


def record(record_type: int, payload: bytes) -> bytes:
    return bytes([record_type]) + b"\3\3" + len(payload).to_bytes(2, "big") + payload


def hello_of(length: int, sent: int = 0) -> bytes:
    """A message that announces a length, and the first bytes of it."""
    return bytes([CLIENT_HELLO]) + length.to_bytes(3, "big") + bytes(sent)


def in_pieces(data: bytes, *cuts: int) -> list[bytes]:
    return [data[begin:end] for begin, end in zip((0, *cuts), (*cuts, len(data)), strict=True)]


def records_of(data: bytes) -> Iterable[tuple[int, bytes]]:
    while data:
        end = 5 + int.from_bytes(data[3:5], "big")
        yield data[0], data[5:end]
        data = data[end:]


def first_flight(context: ssl.SSLContext) -> bytes:
    leaving = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), leaving, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return leaving.read()


def context_of(version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext:
    context = client_context()
    context.minimum_version = context.maximum_version = version
    return context


def long_context(length: int) -> ssl.SSLContext:
    """A client whose ClientHello has this length after its head, by many protocols for ALPN."""

    def offer(extra: int) -> int:
        names = ["h2"]
        while extra > 256:
            names.append("x" * 100)
            extra -= 101
        context.set_alpn_protocols([*names, "x" * (extra - 1)])
        return len(b"".join(payload for _, payload in records_of(first_flight(context)))) - 4

    context = context_of()
    assert offer(1000 + length - offer(1000)) == length
    return context


CHANGED = record(CHANGE_CIPHER_SPEC, b"\1")
EARLY_DATA = record(DATA, bytes(100))


# --- clients


def whole(data: bytes) -> Iterable[bytes]:
    return [data]


def single_bytes(data: bytes) -> Iterable[bytes]:
    return (data[at : at + 1] for at in range(len(data)))


def small_records(data: bytes) -> Iterable[bytes]:
    """Fragments each ClientHello over records, at first of one byte (RFC 8446, 5.1)."""
    for record_type, payload in records_of(data):
        is_hello = record_type == HANDSHAKE and payload[0] == CLIENT_HELLO and len(payload) > 64
        cuts = [*range(1, 10), *range(10, len(payload), 32)] if is_hello else []
        for part in in_pieces(payload, *cuts):
            yield record(record_type, part)


class Cutting(Recorder):
    """Sends what it is given in pieces; the server reads each of them alone."""

    def __init__(self, inner: trio.SocketStream, cut: Cut) -> None:
        super().__init__(inner)
        self.cut = cut

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        for piece in self.cut(bytes(data)):
            await super().send_all(piece)
            await wait_all_tasks_blocked()


@asynccontextmanager
async def ends(context: ssl.SSLContext = CONTEXT) -> AsyncIterator[tuple[TLSTransport, trio.SocketStream]]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with closing(TLSTransport(ours, context)) as transport:
        async with trio.SocketStream(trio.socket.from_stdlib_socket(theirs)) as stream:
            yield transport, stream


async def complete(transport: TLSTransport) -> None:
    await transport.hear()
    await transport.handshake()


async def shake(client: ssl.SSLContext, server: ssl.SSLContext = CONTEXT, cut: Cut = whole) -> bytes:
    """Shakes hands; returns the server's bytes."""
    async with ends(server) as (transport, stream):
        cutting = Cutting(stream, cut)
        tls = trio.SSLStream(cutting, client, server_hostname="localhost")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(tls.do_handshake)
            await complete(transport)
        assert transport.protocol == "h2"
        return bytes(cutting.received)


@pytest.mark.parametrize("cut", [whole, single_bytes, small_records])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_usual_clients(version: ssl.TLSVersion, cut: Cut) -> None:
    assert not is_retry_request(await shake(context_of(version), cut=cut))


@pytest.mark.parametrize("cut", [whole, single_bytes, small_records])
async def test_a_second_hello(cut: Cut) -> None:
    assert is_retry_request(await shake(context_of(), P384_CONTEXT, cut))


async def test_the_longest_hello() -> None:
    await shake(long_context(MOST))
    # The second one has a longer key share.
    assert is_retry_request(await shake(long_context(MOST - 100), P384_CONTEXT))


# --- peers that announce too much


async def rejection(pieces: Sequence[bytes], server: ssl.SSLContext = CONTEXT) -> str:
    async with ends(server) as (transport, stream), trio.open_nursery() as nursery:

        async def send() -> None:
            async with stream:
                for piece in pieces:
                    await stream.send_all(piece)
                    await wait_all_tasks_blocked()

        nursery.start_soon(send)
        with pytest.raises(HandshakeFailedError) as caught:
            await complete(transport)
        nursery.cancel_scope.cancel()
    return str(caught.value)


@pytest.mark.parametrize(
    "pieces",
    [
        [ANNOUNCED_HELLO],
        in_pieces(ANNOUNCED_HELLO, 1, 4),
        in_pieces(ANNOUNCED_HELLO, 5, 6),
        list(single_bytes(ANNOUNCED_HELLO)),
        [record(HANDSHAKE, hello_of(MOST + 1))],
        [record(HANDSHAKE, byte) for byte in single_bytes(hello_of(131_000))],
        [b"".join(record(HANDSHAKE, byte) for byte in single_bytes(hello_of(2**24 - 1)))],
    ],
)
async def test_too_long_a_hello(pieces: list[bytes]) -> None:
    assert await rejection(pieces) == TOO_LONG


@pytest.mark.parametrize("part", [record(HANDSHAKE, b"x"), CHANGED, record(HANDSHAKE, b"")])
def test_too_many_records(part: bytes) -> None:
    hello = record(HANDSHAKE, hello_of(MOST))
    assert ClientHelloCheck().accepts(hello + part * 99)
    assert not ClientHelloCheck().accepts(hello + part * 100)


async def test_too_long_a_hello_of_a_real_client() -> None:
    assert await rejection([first_flight(long_context(MOST + 1))]) == TOO_LONG


@pytest.mark.parametrize("between", [b"", CHANGED, CHANGED + CHANGED])
@pytest.mark.parametrize("at_once", [True, False])
async def test_too_long_a_second_hello(between: bytes, at_once: bool) -> None:
    flights = [first_flight(context_of()), between + record(HANDSHAKE, hello_of(131_000))]
    assert await rejection([b"".join(flights)] if at_once else flights, P384_CONTEXT) == TOO_LONG


async def test_messages_after_a_server_hello_are_not_checked() -> None:
    """Resumed sessions of TLS 1.2 begin with an encrypted handshake record, whose first byte is random."""
    flights = [first_flight(context_of(ssl.TLSVersion.TLSv1_2)), record(HANDSHAKE, hello_of(131_000))]
    assert "UNEXPECTED_MESSAGE" in await rejection(flights), "OpenSSL has read it"
    assert await rejection([b"".join(flights)]) == TOO_LONG, "no client sends it before the answer"


@pytest.mark.parametrize("other", [CHANGED, EARLY_DATA, record(ALERT, b"\1\0"), record(HANDSHAKE, b"\2\0\0\0")])
def test_records_and_messages_that_do_not_end_the_check(other: bytes) -> None:
    check = ClientHelloCheck()
    assert check.accepts(record(HANDSHAKE, hello_of(100, 100)) + other)
    assert not check.accepts(record(HANDSHAKE, hello_of(131_000)))


async def test_a_rejected_peer_takes_no_memory() -> None:
    """OpenSSL would hold 25 MiB."""

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    kept = []
    before = resident()
    for _ in range(200):
        async with ends() as (transport, stream):
            await stream.send_all(ANNOUNCED_HELLO)
            with pytest.raises(HandshakeFailedError):
                await transport.hear()
            kept.append(transport)
    assert resident() - before < 8 * 2**20


# --- any pieces


def _fragments() -> st.SearchStrategy[bytes]:
    hellos = st.builds(hello_of, st.sampled_from([0, 1, 50, MOST, MOST + 1, 131_000]), st.integers(0, 60))
    payloads = hellos | st.binary(max_size=20)
    return st.builds(record, st.sampled_from([HANDSHAKE, HANDSHAKE, CHANGE_CIPHER_SPEC, DATA, 0]), payloads)


@given(st.lists(_fragments(), max_size=6).map(b"".join), st.data())
def test_pieces_do_not_matter(data: bytes, drawn: st.DataObject) -> None:
    expected = ClientHelloCheck().accepts(data)
    cuts = drawn.draw(st.lists(st.integers(0, len(data)), max_size=20).map(sorted))
    for pieces in (in_pieces(data, *cuts), single_bytes(data)):
        check = ClientHelloCheck()
        assert all(check.accepts(piece) for piece in pieces) == expected


@given(st.lists(st.integers(0, MOST + 1), max_size=5), st.data())
def test_lengths_decide_wherever_records_begin(lengths: list[int], drawn: st.DataObject) -> None:
    messages = b"".join(hello_of(length, length) for length in lengths)
    cuts = drawn.draw(st.lists(st.integers(0, len(messages)), max_size=10).map(sorted))
    data = (CHANGED + EARLY_DATA).join(
        record(HANDSHAKE, part[at : at + MOST])
        for part in in_pieces(messages, *cuts)
        for at in range(0, len(part) or 1, MOST)
    )
    assert ClientHelloCheck().accepts(data) == all(length <= MOST for length in lengths)

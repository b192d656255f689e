"""Measures the work that peers can cause in the gRPC server, beside the prices charged for it.

`python -m benchmarks.prices`. Each line is one unit of work: its CPU time without TLS and sockets, its price, and the
time of a price of 1. That should be near 20 us or below: a dearer price only slows a flood down.
"""

import gzip
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Final

from hpack import Encoder

from sentry_trio.grpc import frames
from sentry_trio.grpc.cpu_budget import HANDSHAKE, HANDSHAKE_READ, CPUBudget
from sentry_trio.grpc.framing import MessageReader
from sentry_trio.grpc.headers import Header
from sentry_trio.grpc.http2 import ServerConnection
from sentry_trio.grpc.turn_scheduler import SLICE
from testkit.attackers.http2 import prefixed
from testkit.deflate import empty_blocks
from testkit.grpc.raw import client_context
from testkit.grpc.toys import CONTEXT

_NUMBER: Final = 200
_ROUNDS: Final = 7
_HEAD: Final = (
    *((":method", "POST"), (":scheme", "https"), (":path", "/a.B/C"), (":authority", "localhost")),
    *(("content-type", "application/grpc"), ("te", "trailers"), ("user-agent", "grpc-go/1.60"), ("grpc-timeout", "9S")),
)
_HEADER_BYTES: Final = 16 * 1024


class _Payer(CPUBudget):
    """Adds prices up, without a limit or a clock."""

    def __init__(self) -> None:
        self.used = 0.0
        self.charged = False
        self.paid = 0.0

    def charge(self, price: float = 1) -> None:
        self.used += price

    def next_slice(self) -> None:
        self.paid += self.used
        self.used = 0.0


class _Events:
    """Does nothing."""

    def request_received(self, stream_id: int, headers: list[Header], *, ended: bool) -> None:
        pass

    def data_received(self, *_data: object, **_more: object) -> bool:
        return True

    def stream_lost(self, stream_id: int) -> None:
        pass

    def window_opened(self) -> None:
        pass

    def ping_answered(self, payload: bytes) -> None:
        pass


def _frames(data: bytes) -> tuple[float, float]:
    """CPU time and price of frames after a preface."""
    payer = _Payer()
    server = ServerConnection(_Events(), payer, streams=10 * _NUMBER, header_bytes=_HEADER_BYTES)
    server.receive(frames.PREFACE + frames.settings_frame(()))
    payer.used = payer.paid = 0.0
    begin = time.process_time()
    more = server.receive(data)
    while more:
        payer.next_slice()
        more = server.resume()
    seconds = time.process_time() - begin
    payer.next_slice()
    return seconds, payer.paid


def _messages(data: bytes) -> tuple[float, float]:
    """CPU time and price of a read of messages."""
    payer = _Payer()
    reader = MessageReader(limit=4 * 1024 * 1024, gzip=True)
    begin = time.process_time()
    messages = reader.feed(data)
    seconds = time.process_time() - begin
    payer.spend_on_messages(len(messages), reader.work, 0)
    return seconds, payer.used


def _handshake(piece_bytes: int) -> tuple[float, float]:
    """CPU time and price of the server's part of a handshake, whose first message comes in pieces."""
    arrived, leaving = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context().wrap_bio(arrived, leaving, server_hostname="localhost")
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    seconds = price = 0.0
    with suppress(ssl.SSLWantReadError):
        client.do_handshake()
    hello = leaving.read()
    pieces = [hello[at : at + piece_bytes] for at in range(0, len(hello), piece_bytes)]
    begin = time.process_time()
    server = CONTEXT.wrap_bio(incoming, outgoing, server_side=True)
    for piece in pieces:
        incoming.write(piece)
        with suppress(ssl.SSLWantReadError):
            server.do_handshake()
        price += HANDSHAKE_READ
    seconds += time.process_time() - begin
    arrived.write(outgoing.read())
    client.do_handshake()
    finished = leaving.read()
    begin = time.process_time()
    incoming.write(finished)
    server.do_handshake()
    seconds += time.process_time() - begin
    return seconds, price + HANDSHAKE + HANDSHAKE_READ


def _heads(*blocks: bytes) -> bytes:
    """Requests with these headers, or with these headers and trailers."""
    flags = [frames.END_HEADERS] * (len(blocks) - 1) + [frames.END_HEADERS | frames.END_STREAM]
    return b"".join(
        frames.frame(frames.HEADERS, flag, stream_id, block)
        for stream_id in range(1, 2 * _NUMBER, 2)
        for flag, block in zip(flags, blocks, strict=True)
    )


def _units() -> Iterator[tuple[str, Callable[[], tuple[float, float]], int]]:
    """Name, measurement, and number of units in it."""
    ping = frames.frame(frames.PING, 0, 0, bytes(8))
    settings = frames.settings_frame([(frames.INITIAL_WINDOW_SIZE, 1)] * 1000)
    usual = Encoder().encode(_HEAD)
    literal = usual + b"\x40\x01x\0" * 300
    codes = Encoder().encode([("x", "a" * 12_000)])
    references = usual + b"\x8f" * 300
    zeros = gzip.compress(bytes(4 * 1024 * 1024))
    empty = empty_blocks(256 * 1024)
    tiny = prefixed(gzip.compress(b""), compressed=True)
    yield "PING", lambda: _frames(ping * _NUMBER), _NUMBER
    yield "1,000 settings", lambda: _frames(settings), 1
    yield "usual head", lambda: _frames(_heads(usual)), _NUMBER
    yield "300 references", lambda: _frames(_heads(references)), _NUMBER
    yield "300 new fields", lambda: _frames(_heads(literal)), _NUMBER
    yield "7 KiB of Huffman codes", lambda: _frames(_heads(usual + codes)), _NUMBER
    yield "7 KiB as trailers", lambda: _frames(_heads(usual, codes)), _NUMBER
    yield "1,000 messages", lambda: _messages(bytes(5) * 1000), 1
    yield "TLS handshake", lambda: _handshake(4096), 1
    yield "TLS handshake, by 1 byte", lambda: _handshake(1), 1
    yield "4 MiB decompressed", lambda: _messages(prefixed(zeros, compressed=True)), 1
    yield "1,000 tiny gzip messages", lambda: _messages(tiny * 1000), 1
    yield "256 KiB of empty gzip", lambda: _messages(prefixed(empty, compressed=True)), 1


def main() -> None:
    """Prints a line for each unit of work."""
    print(f"a slice is {SLICE} prices, about 2 ms; the least of {_ROUNDS} rounds")
    for name, measure, number in _units():
        seconds, price = min(measure() for _ in range(_ROUNDS))
        each = 1e6 * seconds / number
        print(f"{name:24} {each:9.1f} us   price {price / number:7.1f}   {1e6 * seconds / price:6.1f} us for 1")


if __name__ == "__main__":
    main()

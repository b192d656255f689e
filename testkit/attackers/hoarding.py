"""Kinds that hold resources: streams, memory, responses."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import lru_cache
from typing import Final

import trio
from h2.settings import SettingCodes

from .http2 import (
    DATA,
    END_HEADERS,
    HEADERS,
    HIGHEST_WINDOW,
    LARGEST_FRAME,
    WINDOW_UPDATE,
    Hostile,
    frame,
    head_block,
    hostile,
    prefixed,
)
from .target import Course, Target

_STREAMS: Final = 100
_DEADLINES: Final = 2.0  # seconds between two
# As much as a frame takes, and a header list of 16 KiB, each header counted with 32 bytes more (RFC 9113, 6.5.2).
_LARGE_HEADER: Final = "x" * 15_500
_LARGE_WEIGHT: Final = 10  # in frames
_LARGE_STREAMS: Final = 2  # of one connection; of more, the third would end


async def idle(target: Target, course: Course) -> None:
    """Opens an HTTP/2 connection, answers PINGs, and makes no call."""
    async with hostile(target, course):
        course.established.set()
        await trio.sleep_forever()


async def never_reads(target: Target, course: Course) -> None:
    """The same, but answers no PING, as if it were gone without a word."""
    async with hostile(target, course, answers=False):
        course.established.set()
        await trio.sleep_forever()


async def slow_writer(target: Target, course: Course) -> None:
    """Begins a call whose message comes a byte at a time."""
    async with hostile(target, course) as peer:
        prefix = prefixed(b"x" * 10_000)[:5]
        for stream_id in range(1, HIGHEST_WINDOW, 2):
            await peer.send(frame(HEADERS, stream_id, head_block(target.path), END_HEADERS))
            await peer.send(frame(DATA, stream_id, prefix))
            course.established.set()
            while stream_id not in course.ended:
                await peer.send(frame(DATA, stream_id, b"x"))
                await trio.sleep(target.pause)


async def headers_without_body(target: Target, course: Course) -> None:
    """Holds as many streams as it may with heads as large as they may be, and sends no message."""
    large = head_block(target.path, huffman=False, x=_LARGE_HEADER)
    async with hostile(target, course) as peer:
        await _keep_open(
            peer, lambda stream_id: peer.send(frame(HEADERS, stream_id, large, END_HEADERS), weight=_LARGE_WEIGHT)
        )


async def zero_window(target: Target, course: Course) -> None:
    """Asks as much as it may and opens no window for the answers."""
    async with hostile(target, course, announced={SettingCodes.INITIAL_WINDOW_SIZE: 0}) as peer:
        await _keep_open(peer, peer.call)


async def shared_deadlines(target: Target, course: Course) -> None:
    """The same, with one deadline for the calls of all connections, every two seconds."""
    async with hostile(target, course, announced={SettingCodes.INITIAL_WINDOW_SIZE: 0}) as peer:

        async def call_until_then(stream_id: int) -> None:
            left = _DEADLINES - trio.current_time() % _DEADLINES
            await peer.call(stream_id, replace(target, timeout=f"{int(1000 * left) + 1}m"))

        await _keep_open(peer, call_until_then)


async def endless_responses(target: Target, course: Course) -> None:
    """Holds as many calls as it may of a method whose replies do not end, as watching health."""
    async with hostile(target, course) as peer:
        watching = replace(target, path=target.streaming_path, message=b"")
        await _keep_open(peer, lambda stream_id: peer.call(stream_id, watching))


async def _keep_open(peer: Hostile, begin: Callable[[int], Awaitable[None]]) -> None:
    """Opens streams; one more for each that the server ends."""
    for opened, stream_id in enumerate(range(1, HIGHEST_WINDOW, 2)):
        while opened - len(peer.course.ended) >= _STREAMS:
            await peer.stream_ended()
        await begin(stream_id)
        peer.course.established.set()


async def stops_reading(target: Target, course: Course) -> None:
    """Asks and never reads, until the server's own end of the socket is full."""
    announced = {SettingCodes.INITIAL_WINDOW_SIZE: HIGHEST_WINDOW}
    async with hostile(target, course, announced=announced, listens=False, narrow=True) as peer:
        await peer.send(frame(WINDOW_UPDATE, payload=(2**30).to_bytes(4, "big")))
        for stream_id in range(1, HIGHEST_WINDOW, 2):
            await peer.call(stream_id)
            course.established.set()


async def unread_bytes(target: Target, course: Course) -> None:
    """Holds most of a message, as large as may be, on each of some streams."""
    async with hostile(target, course) as peer, trio.open_nursery() as nursery:
        body = _most_of_a_message(target.message_bytes)
        stream_ids = iter(range(1, HIGHEST_WINDOW, 2))
        opening = trio.Lock()

        async def hold() -> None:
            while True:
                async with opening:  # streams are opened in their order
                    stream_id = next(stream_ids)
                    await peer.send(frame(HEADERS, stream_id, head_block(target.path), END_HEADERS))
                await peer.send_body(stream_id, body)
                course.established.set()
                while stream_id not in course.ended:
                    await peer.stream_ended()

        for _ in range(_LARGE_STREAMS):
            nursery.start_soon(hold)


@lru_cache(maxsize=1)
def _most_of_a_message(size: int) -> bytes:
    """One for all: a thousand attackers would need more memory than their victim."""
    return prefixed(bytes(size))[:-LARGEST_FRAME]


async def partial_header_block(target: Target, course: Course) -> None:
    """Holds a head that does not end, as large as it may be; a PING answered in its midst would end it."""
    async with hostile(target, course, answers=False) as peer:
        await peer.send(frame(HEADERS, 1, bytes(LARGEST_FRAME)))
        course.established.set()
        await trio.sleep_forever()

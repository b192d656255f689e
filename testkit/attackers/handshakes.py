"""Kinds that never come to HTTP/2, or leave right after."""

import random
import ssl
from typing import Final

import trio

from .http2 import PREFACE, call, connect_tcp, settings, shaken
from .target import Course, Target

# TLS would be an alert at its first byte; HTTP/2 is none at its first byte.
_GARBAGE: Final = random.Random(0).randbytes(16 * 1024)
_ANNOUNCED_BYTES: Final = 131_000  # OpenSSL accepts a little more
ANNOUNCED_HELLO: Final = b"\x16\3\1\0\4\1" + _ANNOUNCED_BYTES.to_bytes(3, "big")
"""A record with the head of a ClientHello, which makes OpenSSL allocate the whole of it."""


def _client_hello(context: ssl.SSLContext) -> bytes:
    leaving = ssl.MemoryBIO()
    tls = context.wrap_bio(ssl.MemoryBIO(), leaving, server_hostname="localhost")
    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        return leaving.read()
    raise AssertionError("a handshake needs an answer")


async def _until_closed(stream: trio.abc.ReceiveStream) -> None:
    while await stream.receive_some(64 * 1024):
        pass


async def silent(target: Target, course: Course) -> None:
    """Connects and sends nothing."""
    async with await connect_tcp(target) as stream:
        course.established.set()
        await _until_closed(stream)


async def partial_handshake(target: Target, course: Course) -> None:
    """Begins a TLS handshake, stops within its first message."""
    async with await connect_tcp(target) as stream:
        hello = _client_hello(target.context)
        await stream.send_all(hello[: len(hello) // 2])
        course.established.set()
        await _until_closed(stream)


async def announced_hello(target: Target, course: Course) -> None:
    """Announces a ClientHello of 128 KiB and sends 9 bytes."""
    async with await connect_tcp(target) as stream:
        await stream.send_all(ANNOUNCED_HELLO)
        course.established.set()
        await _until_closed(stream)


async def slow_handshake(target: Target, course: Course) -> None:
    """Sends its handshake a byte at a time."""
    async with await connect_tcp(target) as stream, trio.open_nursery() as nursery:

        async def listen() -> None:
            await _until_closed(stream)
            nursery.cancel_scope.cancel()

        nursery.start_soon(listen)
        for byte in _client_hello(target.context):
            await stream.send_all(bytes([byte]))
            course.established.set()
            await trio.sleep(target.pause)
        await trio.sleep_forever()


async def no_preface(target: Target, course: Course) -> None:
    """Completes the handshake and sends nothing more."""
    async with shaken(target) as stream:
        course.established.set()
        await _until_closed(stream)


async def garbage(target: Target, course: Course) -> None:
    """Completes the handshake and sends garbage without end."""
    async with shaken(target) as stream:
        course.established.set()
        while True:
            if target.frames is not None:
                await target.frames.take()
            await stream.send_all(_GARBAGE)


async def handshake_and_gone(target: Target, course: Course) -> None:
    """Completes the handshake, which costs the server most of a call, and disconnects, again and again."""
    async with shaken(target):
        course.established.set()


async def half_closed(target: Target, course: Course) -> None:
    """Completes the handshake, closes its sending side, and stays."""
    async with shaken(target) as stream:
        await stream.transport_stream.send_eof()
        course.established.set()
        await _until_closed(stream.transport_stream)


async def half_closed_after_call(target: Target, course: Course) -> None:
    """The same after a whole request, whose answer it takes."""
    async with shaken(target) as stream:
        if target.calls is not None:
            await target.calls.take()
        await stream.send_all(PREFACE + settings({}) + call(1, target))
        await stream.transport_stream.send_eof()
        course.established.set()
        await _until_closed(stream.transport_stream)

"""HTTP/2 without any of its rules: frames as bytes, composed once and sent a thousand times."""

import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from functools import lru_cache
from typing import Final

import trio
from h2.errors import ErrorCodes
from h2.settings import SettingCodes
from hpack import Decoder, Encoder

from .target import Course, Target

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
ACK = END_STREAM = 1
END_HEADERS: Final = 4
LARGEST_FRAME: Final = 16 * 1024
HIGHEST_WINDOW: Final = 2**31 - 1
_USUAL_WINDOW: Final = 65_535
_FRAME_HEAD_BYTES: Final = 9

Bytes = trio.SSLStream[trio.SocketStream]


def frame(kind: int, stream_id: int = 0, payload: bytes = b"", flags: int = 0) -> bytes:
    """One frame with any content (RFC 9113, 4.1)."""
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream_id.to_bytes(4, "big") + payload


def settings(values: Mapping[SettingCodes, int]) -> bytes:
    return frame(
        SETTINGS, payload=b"".join(code.to_bytes(2, "big") + v.to_bytes(4, "big") for code, v in values.items())
    )


def prefixed(message: bytes, *, compressed: bool = False) -> bytes:
    """A gRPC message as it goes into DATA; one that is compressed already is only marked so."""
    return bytes([compressed]) + len(message).to_bytes(4, "big") + message


@lru_cache(maxsize=4096)
def head_block(path: str, *, huffman: bool = True, **extra: str) -> bytes:
    """The head of a call, encoded without memory (RFC 7541, 6.2.3), so that every connection can send the same."""
    head = {":method": "POST", ":scheme": "https", ":path": path, ":authority": "localhost"}
    head |= {"content-type": "application/grpc", "te": "trailers", **extra}
    return Encoder().encode([(name, value, True) for name, value in head.items()], huffman=huffman)


def call(stream_id: int, target: Target) -> bytes:
    """A whole call."""
    extra = {"grpc-timeout": target.timeout} if target.timeout else {}
    head = frame(HEADERS, stream_id, head_block(target.path, **extra), END_HEADERS)
    return head + frame(DATA, stream_id, prefixed(target.message), END_STREAM)


async def connect_tcp(target: Target) -> trio.SocketStream:
    """Connects at the target's pace, from the target's source."""
    if target.connections is not None:
        await target.connections.take()
    return await trio.open_tcp_stream(target.host, target.port, local_address=target.source)


async def connect_narrow(target: Target) -> trio.SocketStream:
    """Connects so that little fits on the way back: small segments and a small buffer keep the server's own small."""
    if target.connections is not None:
        await target.connections.take()
    narrow = trio.socket.socket()
    try:
        narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        narrow.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
        if target.source is not None:
            await narrow.bind((target.source, 0))
        await narrow.connect((target.host, target.port))
    except BaseException:
        narrow.close()
        raise
    return trio.SocketStream(narrow)


@asynccontextmanager
async def shaken(target: Target, *, narrow: bool = False) -> AsyncIterator[Bytes]:
    """A connection whose TLS handshake is done; in the end it is gone without a word."""
    tcp = await (connect_narrow(target) if narrow else connect_tcp(target))
    stream = trio.SSLStream(tcp, target.context, server_hostname="localhost", https_compatible=True)
    try:
        await stream.do_handshake()
        yield stream
    finally:
        await trio.aclose_forcefully(stream)


class Hostile:
    """One connection whose preface is sent.

    Args:
        stream: the connection, its handshake done.
        target: sets the pace.
        course: record of what the server sends.
        answers: True if SETTINGS and PINGs of the server are answered, as by a well-behaved peer.
    """

    def __init__(self, stream: Bytes, target: Target, course: Course, *, answers: bool) -> None:
        self.target = target
        self.course = course
        self._stream = stream
        self._answers = answers
        self._decoder = Decoder()
        self._windows: dict[int, int] = {}
        self._sending = trio.Lock()
        self._opened = trio.lowlevel.ParkingLot()
        self._ended = trio.lowlevel.ParkingLot()

    async def send(self, *frames: bytes, weight: int = 1) -> None:
        """Sends frames in one write, at the target's pace, each counted as so many."""
        if self.target.frames is not None:
            await self.target.frames.take(len(frames) * weight)
        await self._send(b"".join(frames))

    async def call(self, stream_id: int, target: Target | None = None) -> None:
        """Sends a whole call in one write, at the target's pace; to another target's path if one is given."""
        if self.target.calls is not None:
            await self.target.calls.take()
        await self._send(call(stream_id, target or self.target))

    async def _send(self, data: bytes) -> None:
        async with self._sending:
            await self._stream.send_all(data)

    async def send_body(self, stream_id: int, body: bytes) -> None:
        """Sends DATA as the server's windows allow: a violation of flow control would close the connection too soon."""
        rest = memoryview(body)
        while rest and stream_id not in self.course.ended:
            window = min(self._windows.setdefault(number, _USUAL_WINDOW) for number in (0, stream_id))
            size = min(len(rest), window, LARGEST_FRAME)
            if size == 0:
                await self._opened.park()
                continue
            for number in (0, stream_id):
                self._windows[number] -= size
            await self.send(frame(DATA, stream_id, bytes(rest[:size])))
            rest = rest[size:]

    async def stream_ended(self) -> None:
        """Waits until the server has ended one more stream."""
        await self._ended.park()

    def _stream_over(self, stream_id: int) -> None:
        self.course.ended.add(stream_id)
        self._ended.unpark_all()
        self._opened.unpark_all()

    async def listen(self) -> None:
        """Reads until the server closes."""
        buffer = bytearray()
        while data := await self._stream.receive_some():
            buffer += data
            while len(buffer) >= _FRAME_HEAD_BYTES:
                end = _FRAME_HEAD_BYTES + int.from_bytes(buffer[:3], "big")
                if len(buffer) < end:
                    break
                stream_id = int.from_bytes(buffer[5:9], "big")
                await self._heard(buffer[3], buffer[4], stream_id, bytes(buffer[_FRAME_HEAD_BYTES:end]))
                del buffer[:end]

    async def _heard(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        if kind == GOAWAY:
            self.course.goaway = ErrorCodes(int.from_bytes(payload[4:8], "big"))
        elif kind == RST_STREAM:
            self.course.resets[stream_id] = ErrorCodes(int.from_bytes(payload, "big"))
            self._stream_over(stream_id)
        elif kind == HEADERS:
            headers = dict(self._decoder.decode(payload, raw=True))
            if flags & END_STREAM:
                self.course.statuses[stream_id] = int(headers.get(b"grpc-status", -1))
                self._stream_over(stream_id)
        elif kind == WINDOW_UPDATE:
            self._windows[stream_id] = self._windows.get(stream_id, _USUAL_WINDOW) + int.from_bytes(payload, "big")
            self._opened.unpark_all()
        elif kind == SETTINGS and not flags & ACK and self._answers:
            await self._send(frame(SETTINGS, flags=ACK))
        elif kind == PING and not flags & ACK and self._answers:
            await self._send(frame(PING, payload=payload, flags=ACK))


@asynccontextmanager
async def hostile(
    target: Target,
    course: Course,
    *,
    announced: Mapping[SettingCodes, int] | None = None,
    listens: bool = True,
    answers: bool = True,
    narrow: bool = False,
) -> AsyncIterator[Hostile]:
    """A connection whose preface is sent; the block is cancelled when the server closes, if it is listened to."""
    async with shaken(target, narrow=narrow) as stream, trio.open_nursery() as nursery:
        peer = Hostile(stream, target, course, answers=answers)

        async def listen() -> None:
            with suppress(trio.BrokenResourceError):  # a reset is a way of closing, too
                await peer.listen()
            nursery.cancel_scope.cancel()

        await stream.send_all(PREFACE + settings(announced or {}))
        if listens:
            nursery.start_soon(listen)
        yield peer
        nursery.cancel_scope.cancel()

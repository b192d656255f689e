"""HTTP/2 frames as bytes (RFC 9113, 4 and 6). No IO."""

import enum
import struct
from collections.abc import Iterable, Iterator
from typing import Final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEAD_BYTES: Final = 9
# RFC 9113, 6.5.2: the default of SETTINGS_MAX_FRAME_SIZE, which our settings never change.
FRAME_BYTES: Final = 2**14
LARGEST_FRAME_BYTES: Final = 2**24 - 1
WINDOW_BYTES: Final = 2**16 - 1
LARGEST_WINDOW: Final = 2**31 - 1
HIGHEST_STREAM: Final = 2**31 - 1
HEADER_TABLE_BYTES: Final = 4096

DATA: Final = 0
HEADERS: Final = 1
PRIORITY: Final = 2
RST_STREAM: Final = 3
SETTINGS: Final = 4
PUSH_PROMISE: Final = 5
PING: Final = 6
GOAWAY: Final = 7
WINDOW_UPDATE: Final = 8
CONTINUATION: Final = 9

ACK: Final = 0x1
END_STREAM: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
WITH_PRIORITY: Final = 0x20

HEADER_TABLE_SIZE: Final = 1
ENABLE_PUSH: Final = 2
MAX_CONCURRENT_STREAMS: Final = 3
INITIAL_WINDOW_SIZE: Final = 4
MAX_FRAME_SIZE: Final = 5
MAX_HEADER_LIST_SIZE: Final = 6

HEAD: Final = struct.Struct(">HBBBL")
_SETTING: Final = struct.Struct(">HL")


class ErrorCode(enum.IntEnum):
    """Error codes (RFC 9113, 7)."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    SETTINGS_TIMEOUT = 4
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    CONNECT_ERROR = 10
    ENHANCE_YOUR_CALM = 11
    INADEQUATE_SECURITY = 12
    HTTP_1_1_REQUIRED = 13


class ViolationError(Exception):
    """The peer has broken a rule of the connection (RFC 9113, 5.4.1).

    Attributes:
        code: the error code.
    """

    def __init__(self, code: ErrorCode) -> None:
        super().__init__(code.name)
        self.code = code


Frame = tuple[int, int, int, bytes]
"""Type, flags, stream and payload."""


class Splitter:
    """Cuts the bytes of a client into frames.

    Attributes:
        rest: bytes of an incomplete frame.
    """

    __slots__ = ("_expects_preface", "rest")

    def __init__(self) -> None:
        self._expects_preface = True
        self.rest = b""

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Adds bytes; yields the frames that are now complete.

        Raises:
            ViolationError: the preface is wrong, or a frame is longer than allowed; as soon as its head has arrived.
        """
        if self.rest:
            data = self.rest + data
        at, end = 0, len(data)
        if self._expects_preface:
            if not data.startswith(PREFACE[:end]):
                raise ViolationError(ErrorCode.PROTOCOL_ERROR)
            if end < len(PREFACE):
                self.rest = data
                return
            self._expects_preface = False
            at = len(PREFACE)
        while end - at >= HEAD_BYTES:
            high, low, kind, flags, stream_id = HEAD.unpack_from(data, at)
            size = high << 8 | low
            if size > FRAME_BYTES:
                raise ViolationError(ErrorCode.FRAME_SIZE_ERROR)
            payload_at = at + HEAD_BYTES
            if payload_at + size > end:
                break
            at = payload_at + size
            yield kind, flags, stream_id & HIGHEST_STREAM, data[payload_at:at]
        self.rest = data[at:]


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    """Composes a frame; its payload has 2^24 - 1 bytes at most."""
    size = len(payload)
    return HEAD.pack(size >> 8, size & 0xFF, kind, flags, stream_id) + payload


def reset_frame(stream_id: int, code: ErrorCode) -> bytes:
    """Composes RST_STREAM."""
    return frame(RST_STREAM, 0, stream_id, code.to_bytes(4, "big"))


def go_away_frame(last_stream: int, code: ErrorCode) -> bytes:
    """Composes GOAWAY without debug data."""
    return frame(GOAWAY, 0, 0, last_stream.to_bytes(4, "big") + code.to_bytes(4, "big"))


def window_frame(stream_id: int, increment: int) -> bytes:
    """Composes WINDOW_UPDATE; stream 0 means the connection."""
    return frame(WINDOW_UPDATE, 0, stream_id, increment.to_bytes(4, "big"))


def settings_frame(settings: Iterable[tuple[int, int]]) -> bytes:
    """Composes SETTINGS with pairs of identifier and value."""
    return frame(SETTINGS, 0, 0, b"".join(_SETTING.pack(name, value) for name, value in settings))


def read_settings(payload: bytes) -> Iterable[tuple[int, int]]:
    """Returns the pairs in a SETTINGS payload of complete pairs, in their order."""
    return _SETTING.iter_unpack(payload)


SETTINGS_ACK: Final = frame(SETTINGS, ACK, 0)

"""What an HTTP/2 server composes: frames, in the order of their sending, within the windows of its peer. No IO."""

from collections.abc import Sequence
from typing import Final

from . import frames
from .fields import Header, compose
from .frames import ErrorCode
from .streams import Streams

_TABLE_EMPTIED: Final = b"\x20"  # RFC 7541, 6.3: the dynamic table has size 0 from here on


class Sender:
    """Composes frames.

    Args:
        settings: what the peer is told, pairs of identifier and value.

    Attributes:
        broken: one side has broken off: nothing but what is composed already can be sent.
    """

    def __init__(self, settings: Sequence[tuple[int, int]]) -> None:
        self.broken = False
        self._settings = settings
        self._streams = Streams()
        self._out: list[bytes] = []
        self._window = frames.WINDOW_BYTES
        self._frame_bytes = frames.FRAME_BYTES
        self._table_change = b""

    @property
    def highest_stream(self) -> int:
        """The last stream that the peer has opened."""
        return self._streams.highest

    def begin(self) -> None:
        """Composes the server's preface."""
        self._out.append(frames.settings_frame(self._settings))

    def data_to_send(self) -> bytes:
        """What has been composed since it was last asked for."""
        if not self._out:
            return b""
        data = b"".join(self._out)
        self._out.clear()
        return data

    def can_send(self, stream_id: int) -> bool:
        """Whether anything may still be sent on a stream."""
        stream = self._streams.get(stream_id)
        return stream is not None and stream.local_open and not self.broken

    def window(self, stream_id: int) -> int:
        """How many bytes of data may be sent in one frame now; may be negative (RFC 9113, 6.9.2)."""
        return min(self._streams[stream_id].window, self._window, self._frame_bytes)

    def send_headers(self, stream_id: int, headers: tuple[Header, ...], *, end_stream: bool = False) -> None:
        """Composes HEADERS on a stream that can be sent on, with CONTINUATION where they are long."""
        block = compose(headers)
        if self._table_change:
            block, self._table_change = self._table_change + block, b""
        flags = frames.END_STREAM if end_stream else 0
        kind = frames.HEADERS
        while len(block) > self._frame_bytes:
            self._out.append(frames.frame(kind, flags, stream_id, block[: self._frame_bytes]))
            kind, flags, block = frames.CONTINUATION, 0, block[self._frame_bytes :]
        self._out.append(frames.frame(kind, flags | frames.END_HEADERS, stream_id, block))
        if end_stream:
            self._streams.end_local(stream_id)

    def send_data(self, stream_id: int, data: bytes, *, end_stream: bool = False) -> None:
        """Composes a DATA frame, on a stream that can be sent on, of no more than its `window`."""
        self._window -= len(data)
        self._streams[stream_id].window -= len(data)
        self._out.append(frames.frame(frames.DATA, frames.END_STREAM if end_stream else 0, stream_id, data))
        if end_stream:
            self._streams.end_local(stream_id)

    def empty_table(self) -> None:
        """The peer keeps a smaller table of our headers: the next block says that ours is empty (RFC 7541, 4.2)."""
        self._table_change = _TABLE_EMPTIED

    def reset(self, stream_id: int, code: ErrorCode) -> None:
        """Composes RST_STREAM, unless the stream is closed; what is still on its way on it is passed over."""
        if self._streams.get(stream_id) is not None and not self.broken:
            self._out.append(frames.reset_frame(stream_id, code))
            self._streams.close(stream_id, by_us=True)

    def ping(self, payload: bytes) -> None:
        """Composes PING with eight bytes of payload."""
        self._out.append(frames.frame(frames.PING, 0, 0, payload))

    def go_away(self, last_stream: int) -> None:
        """Composes a GOAWAY that is not the end: streams up to `last_stream` go on (RFC 9113, 6.8)."""
        self._out.append(frames.go_away_frame(last_stream, ErrorCode.NO_ERROR))

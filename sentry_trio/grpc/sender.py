"""Sending side of an HTTP/2 server: its streams, the peer's windows, and frames in their order. No IO."""

from array import array
from collections.abc import Sequence
from typing import Final

from . import frames
from .frames import ErrorCode, ViolationError
from .headers import Header, compose
from .limits import REMEMBERED_STREAMS

_TABLE_EMPTIED: Final = b"\x20"  # RFC 7541, 6.3: the dynamic table has size 0 from here on


class Stream:
    """Stream that is open on one side at least.

    Attributes:
        window: bytes that we may still send on it; may be negative (RFC 9113, 6.9.2).
        received: bytes received since its window was last given back.
        expected: bytes that its content-length still announces; None without one.
        price: price of its headers and trailers, beyond that of their frames.
        local_open: true if we may send on it.
        remote_open: true if the peer may send on it.
    """

    __slots__ = ("expected", "local_open", "price", "received", "remote_open", "window")

    def __init__(self, window: int, expected: int | None, price: int) -> None:
        self.price = price
        self.window = window
        self.received = 0
        self.expected = expected
        self.local_open = True
        self.remote_open = True


class ClosedStreams:
    """Remembers how the latest streams were closed.

    In arrays: dictionaries took up to 100 KiB of a connection, and several times as long for each stream.
    """

    __slots__ = ("_closed", "_reset")

    def __init__(self) -> None:
        self._closed = array("I")
        self._reset = array("I")

    def add(self, stream_id: int, *, by_us: bool) -> None:
        """Adds a stream, closed by our RST_STREAM or otherwise; forgets the oldest if there are too many."""
        streams = self._reset if by_us else self._closed
        streams.append(stream_id)
        if len(streams) > REMEMBERED_STREAMS:
            del streams[: REMEMBERED_STREAMS // 2]

    def was_reset(self, stream_id: int) -> bool:
        """Returns whether we have reset a stream, so that frames on it may still arrive."""
        return stream_id in self._reset

    def was_closed(self, stream_id: int) -> bool:
        """Returns whether a stream was closed otherwise."""
        return stream_id in self._closed

    def reset_ended(self, stream_id: int) -> None:
        """Notes that the peer has ended a stream that we had reset: nothing can follow."""
        self._reset.remove(stream_id)
        self.add(stream_id, by_us=False)


class Sender:
    """Composes frames and tracks the streams that they belong to.

    Args:
        settings: announced to the peer, pairs of identifier and value.

    Attributes:
        broken: true if the connection has failed: nothing can follow the composed frames.
        highest_stream: last stream that the peer has opened.
    """

    def __init__(self, settings: Sequence[tuple[int, int]]) -> None:
        self.broken = False
        self.highest_stream = 0
        self._settings = settings
        self._streams: dict[int, Stream] = {}  # open on one side at least
        self._closed = ClosedStreams()
        self._initial_window = frames.WINDOW_BYTES
        self._out: list[bytes] = []
        self._window = frames.WINDOW_BYTES
        self._frame_bytes = frames.FRAME_BYTES
        self._table_change = b""

    def begin(self) -> None:
        """Composes the server's preface."""
        self._out.append(frames.settings_frame(self._settings))

    def data_to_send(self) -> bytes:
        """Returns the bytes composed since the last call."""
        if not self._out:
            return b""
        data = b"".join(self._out)
        self._out.clear()
        return data

    def can_send(self, stream_id: int) -> bool:
        """Returns whether a stream is still open for sending."""
        stream = self._streams.get(stream_id)
        return stream is not None and stream.local_open and not self.broken

    def window(self, stream_id: int) -> int:
        """Returns the bytes of data that one frame may have now; may be negative (RFC 9113, 6.9.2)."""
        return min(self._streams[stream_id].window, self._window, self._frame_bytes)

    def send_headers(self, stream_id: int, headers: tuple[Header, ...], *, end_stream: bool = False) -> None:
        """Composes HEADERS, with CONTINUATION if they are long; nothing if the stream is closed."""
        # The peer may have reset the stream in the very read that opened it.
        if not self.can_send(stream_id):
            return
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
            self._end_local(stream_id)

    def send_data(self, stream_id: int, data: bytes, *, end_stream: bool = False) -> None:
        """Composes a DATA frame within the `window` of a stream that is open for sending."""
        self._window -= len(data)
        self._streams[stream_id].window -= len(data)
        self._out.append(frames.frame(frames.DATA, frames.END_STREAM if end_stream else 0, stream_id, data))
        if end_stream:
            self._end_local(stream_id)

    def reset(self, stream_id: int, code: ErrorCode = ErrorCode.CANCEL) -> None:
        """Composes RST_STREAM, unless the stream is closed; later frames of the peer on it are ignored."""
        if stream_id in self._streams and not self.broken:
            self._out.append(frames.reset_frame(stream_id, code))
            self._close(stream_id, by_us=True)

    def ping(self, payload: bytes) -> None:
        """Composes PING with eight bytes of payload."""
        self._out.append(frames.frame(frames.PING, 0, 0, payload))

    def go_away(self, last_stream: int) -> None:
        """Composes a GOAWAY that is not the end: streams up to `last_stream` continue (RFC 9113, 6.8)."""
        self._out.append(frames.go_away_frame(last_stream, ErrorCode.NO_ERROR))

    # --- streams

    def _end_local(self, stream_id: int) -> None:
        stream = self._streams[stream_id]
        stream.local_open = False
        if not stream.remote_open:
            self._close(stream_id, by_us=False)

    def _end_remote(self, stream_id: int) -> None:
        stream = self._streams[stream_id]
        stream.remote_open = False
        if not stream.local_open:
            self._close(stream_id, by_us=False)

    def _close(self, stream_id: int, *, by_us: bool) -> None:
        self._streams.pop(stream_id, None)
        self._closed.add(stream_id, by_us=by_us)

    def _set_initial_window(self, value: int) -> None:
        """Sets the window of new streams; open ones gain or lose the difference (RFC 9113, 6.9.2)."""
        for stream in self._streams.values():
            stream.window += value - self._initial_window
            if stream.window > frames.LARGEST_WINDOW:
                raise ViolationError(ErrorCode.FLOW_CONTROL_ERROR)
        self._initial_window = value

    def _empty_table(self) -> None:
        """Announces an empty table of headers in the next block, as the peer keeps a smaller one (RFC 7541, 4.2)."""
        self._table_change = _TABLE_EMPTIED

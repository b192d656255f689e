"""The streams of one HTTP/2 connection: which are open, on which side, and how much may be sent on them. No IO."""

from . import frames
from .frames import ErrorCode, ViolationError
from .limits import REMEMBERED_STREAMS


class Stream:
    """A stream that is open on one side at least.

    Attributes:
        window: bytes that we may still send on it; may be negative (RFC 9113, 6.9.2).
        received: bytes received since its window was last given back.
        expected: bytes still to come by its content-length, if it has one.
        local_open: we may send on it.
        remote_open: the peer may.
    """

    __slots__ = ("expected", "local_open", "received", "remote_open", "window")

    def __init__(self, window: int, expected: int | None) -> None:
        self.window = window
        self.received = 0
        self.expected = expected
        self.local_open = True
        self.remote_open = True


class Streams:
    """The streams that a peer has opened.

    Attributes:
        highest: the last of them.
    """

    __slots__ = ("_closed", "_initial_window", "_open", "highest")

    def __init__(self) -> None:
        self.highest = 0
        self._open: dict[int, Stream] = {}
        self._closed: dict[int, bool] = {}  # by us with RST_STREAM, so that more may be on its way
        self._initial_window = frames.WINDOW_BYTES

    def __len__(self) -> int:
        return len(self._open)

    def __getitem__(self, stream_id: int) -> Stream:
        return self._open[stream_id]

    def get(self, stream_id: int) -> Stream | None:
        """The stream, if it is open on one side at least."""
        return self._open.get(stream_id)

    def open(self, stream_id: int, expected: int | None) -> Stream:
        """The peer has opened a stream."""
        stream = self._open[stream_id] = Stream(self._initial_window, expected)
        return stream

    def end_remote(self, stream_id: int) -> None:
        """The peer sends nothing more on it."""
        stream = self._open[stream_id]
        stream.remote_open = False
        if not stream.local_open:
            self.close(stream_id, by_us=False)

    def end_local(self, stream_id: int) -> None:
        """We send nothing more on it."""
        stream = self._open[stream_id]
        stream.local_open = False
        if not stream.remote_open:
            self.close(stream_id, by_us=False)

    def close(self, stream_id: int, *, by_us: bool) -> None:
        """It is closed, or was refused; `by_us` with RST_STREAM, which the peer may not have seen yet."""
        self._open.pop(stream_id, None)
        self._closed[stream_id] = by_us
        if len(self._closed) > REMEMBERED_STREAMS:
            del self._closed[next(iter(self._closed))]

    def was_reset(self, stream_id: int) -> bool | None:
        """Whether we have reset a stream that is closed; None where it never was open, or that is forgotten."""
        return self._closed.get(stream_id)

    def set_initial_window(self, value: int) -> None:
        """RFC 9113, 6.9.2: streams that are open gain or lose the difference.

        Raises:
            ViolationError: a window would be too large.
        """
        for stream in self._open.values():
            stream.window += value - self._initial_window
            if stream.window > frames.LARGEST_WINDOW:
                raise ViolationError(ErrorCode.FLOW_CONTROL_ERROR)
        self._initial_window = value

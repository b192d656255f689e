"""The server's side of one HTTP/2 connection (RFC 9113): frames in, events out; frames composed. No IO, no clock.

It has the parts of HTTP/2 that a gRPC server needs: no push, no priorities, one table of headers (the peer's). h2, the
general state machine that grpclib uses, takes three to four times as long per call, which was the largest cost after
the TLS handshake and signing.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import ClassVar, Final, Protocol

from . import frames
from .cpu_budget import CALL, RECORD_OVERHEAD, CPUBudget, settings_price
from .frames import ErrorCode, Splitter, ViolationError
from .header_blocks import HeaderBlocks
from .headers import Header, MalformedHeadersError, check_request, check_trailers
from .sender import Sender, Stream
from .turn_scheduler import SLICE

# A window is given back when half of it is used.
_GIVEN_BACK: Final = frames.WINDOW_BYTES // 2


class BrokenOffError(Exception):
    """The peer has broken the protocol or a limit; a GOAWAY with the reason is composed, and nothing can follow it.

    Attributes:
        code: error code of the GOAWAY.
    """

    def __init__(self, code: ErrorCode) -> None:
        super().__init__(code.name)
        self.code = code


class Events(Protocol):
    """Events of a connection. Those of a stream come between `request_received` and its end or loss."""

    def request_received(self, stream_id: int, headers: list[Header], *, ended: bool) -> None:
        """The peer has opened a stream; `ended` if it sends nothing more on it."""

    def data_received(self, stream_id: int, data: bytes, *, ended: bool) -> bool:
        """The peer has sent data, or the end of the stream, or both.

        Returns False if the slice does not suffice. Then the next slice calls it again, with no data.
        """

    def stream_lost(self, stream_id: int) -> None:
        """The stream was reset: by the peer, or because it broke a rule."""

    def window_opened(self) -> None:
        """More may be sent than before, on the connection or on some of its streams."""

    def ping_answered(self, payload: bytes) -> None:
        """The peer has answered a PING."""


class ServerConnection(Sender):
    """Server's side of one HTTP/2 connection: received frames, and by `Sender` composed ones.

    Args:
        events: notified of events while `receive` runs.
        cpu: budget that pays for the peer's work.
        streams: calls that the peer may have open at once; more are refused.
        header_bytes: largest header list that the peer may send, and largest header block.
    """

    def __init__(self, events: Events, cpu: CPUBudget, *, streams: int, header_bytes: int) -> None:
        super().__init__(((frames.MAX_CONCURRENT_STREAMS, streams), (frames.MAX_HEADER_LIST_SIZE, header_bytes)))
        self._events = events
        self._cpu = cpu
        self._limit = streams
        self._splitter = Splitter()
        self._blocks = HeaderBlocks(header_bytes)
        self._frames: Iterator[frames.Frame] = iter(())
        self._expects_settings = True
        self._unfinished: tuple[int, bool] | None = None  # stream and `ended` of data that needs another slice
        self._received = 0  # since the connection's window was last given back

    def receive(self, data: bytes, *, overhead: int = 0) -> bool:
        """Processes bytes from the peer: notifies `Events`, and composes the answers of HTTP/2 itself.

        Returns True if the slice of this turn of the event loop is used up before all is processed. Then `resume`
        continues, before more is received.

        Args:
            data: bytes from the peer.
            overhead: bytes of TLS beside the data.

        Raises:
            BrokenOffError: the peer has broken the protocol, or `Events` have raised ViolationError.
        """
        self._frames = self._splitter.feed(data)
        used = self._cpu.used
        try:
            more = self._process()
            if self._cpu.used == used or overhead > RECORD_OVERHEAD:
                self._cpu.charge_record(overhead, len(data))
        except ViolationError as violation:
            raise self._broken_off(violation) from violation
        return more

    def charge_records(self, size: int) -> None:
        """Charges TLS records without data, of `size` bytes; raises as `receive` does."""
        try:
            self._cpu.charge_record(size, 0)
        except ViolationError as violation:
            raise self._broken_off(violation) from violation

    def resume(self) -> bool:
        """Continues after `receive`, in the same way."""
        try:
            return self._process()
        except ViolationError as violation:
            raise self._broken_off(violation) from violation

    def _broken_off(self, violation: ViolationError) -> BrokenOffError:
        self._out.append(frames.go_away_frame(self.highest_stream, violation.code))
        self.broken = True
        return BrokenOffError(violation.code)

    def _process(self) -> bool:
        if self._unfinished is not None:
            stream_id, ended = self._unfinished
            self._notify_data(stream_id, b"", ended=ended)
            if self._unfinished is not None:
                return True
        for kind, flags, stream_id, payload in self._frames:
            if self._blocks.stream_id and (kind != frames.CONTINUATION or stream_id != self._blocks.stream_id):
                raise ViolationError(ErrorCode.PROTOCOL_ERROR)
            if self._expects_settings:
                if kind != frames.SETTINGS or flags & frames.ACK:
                    raise ViolationError(ErrorCode.PROTOCOL_ERROR)
                self._expects_settings = False
            if kind >= len(self._REACTIONS):
                self._cpu.charge()  # RFC 9113, 5.5: unknown frames are ignored
                continue
            of_a_stream, size, react = self._REACTIONS[kind]
            if of_a_stream is not None and of_a_stream is not (stream_id != 0):
                raise ViolationError(ErrorCode.PROTOCOL_ERROR)
            if size is not None and len(payload) != size:
                raise ViolationError(ErrorCode.FRAME_SIZE_ERROR)
            react(self, flags, stream_id, payload)
            self._cpu.used += 1
            if self._cpu.used >= SLICE or self._unfinished is not None:
                return True
        return False

    def _notify_data(self, stream_id: int, data: bytes, *, ended: bool) -> None:
        finished = self._events.data_received(stream_id, data, ended=ended)
        self._unfinished = None if finished else (stream_id, ended)

    def _data(self, flags: int, stream_id: int, payload: bytes) -> None:
        size = len(payload)
        data = self._unpadded(payload) if flags & frames.PADDED else payload
        self._received += size
        if self._received >= _GIVEN_BACK:
            if self._received > frames.WINDOW_BYTES:
                raise ViolationError(ErrorCode.FLOW_CONTROL_ERROR)
            self._out.append(frames.window_frame(0, self._received))
            self._received = 0
        ended = bool(flags & frames.END_STREAM)
        if not data and not ended:
            self._cpu.charge()
        stream = self._streams.get(stream_id)
        if stream is None:
            self._ignore_data(stream_id, ended=ended)
            return
        if not stream.remote_open:
            self._fail(stream_id, ErrorCode.STREAM_CLOSED)
            return
        stream.received += size
        if stream.received > frames.WINDOW_BYTES:
            self._fail(stream_id, ErrorCode.FLOW_CONTROL_ERROR)
            return
        if stream.expected is not None:
            stream.expected -= len(data)
            if stream.expected < 0 or (ended and stream.expected):
                self._fail(stream_id, ErrorCode.PROTOCOL_ERROR)
                return
        if ended:
            self._end_remote(stream_id)
        elif stream.received >= _GIVEN_BACK:
            # At once: the memory of calls is bounded by its own limits, not by the window, so that two large messages
            # on one connection cannot wait for each other.
            self._out.append(frames.window_frame(stream_id, stream.received))
            stream.received = 0
        self._notify_data(stream_id, data, ended=ended)

    def _ignore_data(self, stream_id: int, *, ended: bool) -> None:
        """Processes DATA on a stream that is not open."""
        if stream_id > self.highest_stream:
            raise ViolationError(ErrorCode.PROTOCOL_ERROR)
        if not self._closed.was_reset(stream_id):
            self._out.append(frames.reset_frame(stream_id, ErrorCode.STREAM_CLOSED))
        elif ended:
            self._closed.reset_ended(stream_id)  # it was on its way
            return
        self._cpu.charge()

    def _headers(self, flags: int, stream_id: int, payload: bytes) -> None:
        if not stream_id % 2:
            raise ViolationError(ErrorCode.PROTOCOL_ERROR)
        if flags & frames.PADDED:
            payload = self._unpadded(payload)
        if flags & frames.WITH_PRIORITY:
            if len(payload) < 5:
                raise ViolationError(ErrorCode.FRAME_SIZE_ERROR)
            self._check_dependency(stream_id, payload)
            payload = payload[5:]
        self._blocks.begin(stream_id, ends_stream=bool(flags & frames.END_STREAM))
        self._continuation(flags, stream_id, payload)

    def _continuation(self, flags: int, stream_id: int, payload: bytes) -> None:
        if not self._blocks.stream_id:
            raise ViolationError(ErrorCode.PROTOCOL_ERROR)
        # The block is read also for a rejected stream, or later ones would be decoded wrongly (RFC 7541, 2.2).
        try:
            headers = self._blocks.add(payload, last=bool(flags & frames.END_HEADERS))
        except ViolationError:
            self._cpu.charge(self._blocks.price)  # the network's budget outlives the connection
            raise
        if headers is None:
            return
        ended = self._blocks.ends_stream
        stream = self._streams.get(stream_id)
        if stream is not None:
            self._trailers(stream_id, stream, headers, ended=ended)
        elif stream_id > self.highest_stream:
            self._open(stream_id, headers, ended=ended)
        elif self._closed.was_reset(stream_id):
            self._cpu.charge(1 + self._blocks.price)
        elif self._closed.was_closed(stream_id):
            raise ViolationError(ErrorCode.STREAM_CLOSED)
        else:
            # RFC 9113, 5.1.1: it was passed by when a higher one was opened, and cannot be opened now.
            raise ViolationError(ErrorCode.PROTOCOL_ERROR)

    def _open(self, stream_id: int, headers: list[Header], *, ended: bool) -> None:
        self.highest_stream = stream_id
        try:
            expected = check_request(headers, ended=ended)
        except MalformedHeadersError:
            self._refuse(stream_id, ErrorCode.PROTOCOL_ERROR)
            return
        if len(self._streams) >= self._limit:
            self._refuse(stream_id, ErrorCode.REFUSED_STREAM)  # RFC 9113, 5.1.2
            return
        self._streams[stream_id] = Stream(self._initial_window, expected, self._blocks.price)
        self._cpu.used += CALL + self._blocks.price
        if ended:
            self._end_remote(stream_id)
        self._events.request_received(stream_id, headers, ended=ended)

    def _trailers(self, stream_id: int, stream: Stream, headers: list[Header], *, ended: bool) -> None:
        stream.price += self._blocks.price
        self._cpu.used += self._blocks.price
        if not stream.remote_open:
            self._fail(stream_id, ErrorCode.STREAM_CLOSED)
            return
        try:
            check_trailers(headers, ended=ended and not stream.expected)
        except MalformedHeadersError:
            self._fail(stream_id, ErrorCode.PROTOCOL_ERROR)
            return
        self._end_remote(stream_id)
        self._notify_data(stream_id, b"", ended=True)

    def _priority(self, _flags: int, stream_id: int, payload: bytes) -> None:
        self._check_dependency(stream_id, payload)
        self._cpu.charge()

    def _check_dependency(self, stream_id: int, payload: bytes) -> None:
        if int.from_bytes(payload[:4], "big") & frames.HIGHEST_STREAM == stream_id:
            raise ViolationError(ErrorCode.PROTOCOL_ERROR)

    def _rst_stream(self, _flags: int, stream_id: int, _payload: bytes) -> None:
        if stream_id > self.highest_stream:
            raise ViolationError(ErrorCode.PROTOCOL_ERROR)
        price = 1
        if stream := self._streams.get(stream_id):
            price += stream.price
            self._close(stream_id, by_us=False)
            self._events.stream_lost(stream_id)
        self._cpu.charge(price)

    def _settings_frame(self, flags: int, _stream_id: int, payload: bytes) -> None:
        if len(payload) % 6 or (flags & frames.ACK and payload):
            raise ViolationError(ErrorCode.FRAME_SIZE_ERROR)
        self._cpu.charge(settings_price(len(payload)))
        if flags & frames.ACK:
            return
        window = None
        for name, value in frames.read_settings(payload):
            if name == frames.INITIAL_WINDOW_SIZE:
                if value > frames.LARGEST_WINDOW:
                    raise ViolationError(ErrorCode.FLOW_CONTROL_ERROR)
                window = value
            else:
                self._set(name, value)
        if window is not None:
            # Only the last one of a frame, because each takes time for every open stream.
            self._set_initial_window(window)
            self._events.window_opened()
        self._out.append(frames.SETTINGS_ACK)

    def _set(self, name: int, value: int) -> None:
        """Applies a setting (RFC 9113, 6.5.2)."""
        if name == frames.HEADER_TABLE_SIZE:
            if value < frames.HEADER_TABLE_BYTES:
                self._empty_table()
        elif name == frames.ENABLE_PUSH:
            if value > 1:
                raise ViolationError(ErrorCode.PROTOCOL_ERROR)
        elif name == frames.MAX_FRAME_SIZE:
            if not frames.FRAME_BYTES <= value <= frames.LARGEST_FRAME_BYTES:
                raise ViolationError(ErrorCode.PROTOCOL_ERROR)
            self._frame_bytes = value

    def _push_promise(self, _flags: int, _stream_id: int, _payload: bytes) -> None:
        raise ViolationError(ErrorCode.PROTOCOL_ERROR)  # RFC 9113, 8.4: clients do not push

    def _ping(self, flags: int, _stream_id: int, payload: bytes) -> None:
        self._cpu.charge()
        if flags & frames.ACK:
            self._events.ping_answered(payload)
        else:
            self._out.append(frames.frame(frames.PING, frames.ACK, 0, payload))

    def _goaway(self, _flags: int, _stream_id: int, payload: bytes) -> None:
        # RFC 9113, 6.8: a peer that leaves opens nothing new for us to refuse, but still sends and wants its answers.
        if len(payload) < 8:
            raise ViolationError(ErrorCode.FRAME_SIZE_ERROR)
        self._cpu.charge()

    def _window_update(self, _flags: int, stream_id: int, payload: bytes) -> None:
        increment = int.from_bytes(payload, "big") & frames.LARGEST_WINDOW
        self._cpu.charge()
        if stream_id == 0:
            if not increment:
                raise ViolationError(ErrorCode.PROTOCOL_ERROR)
            self._window += increment
            if self._window > frames.LARGEST_WINDOW:
                raise ViolationError(ErrorCode.FLOW_CONTROL_ERROR)
        elif stream := self._streams.get(stream_id):
            stream.window += increment
            if not increment or stream.window > frames.LARGEST_WINDOW:
                self._fail(stream_id, ErrorCode.FLOW_CONTROL_ERROR if increment else ErrorCode.PROTOCOL_ERROR)
        elif stream_id > self.highest_stream:
            raise ViolationError(ErrorCode.PROTOCOL_ERROR)
        self._events.window_opened()

    def _unpadded(self, payload: bytes) -> bytes:
        if not payload or payload[0] >= len(payload):
            raise ViolationError(ErrorCode.PROTOCOL_ERROR)
        return payload[1 : len(payload) - payload[0]]

    def _refuse(self, stream_id: int, code: ErrorCode) -> None:
        """Resets a stream that has not been reported."""
        self._out.append(frames.reset_frame(stream_id, code))
        self._close(stream_id, by_us=True)
        self._cpu.charge(1 + self._blocks.price)

    @property
    def incomplete(self) -> int:
        """Bytes of an incomplete frame and of an incomplete header block."""
        return len(self._splitter.rest) + self._blocks.size

    @property
    def table_bytes(self) -> int:
        """Approximate bytes of memory for the peer's table of headers beyond a usual one."""
        return self._blocks.table_bytes

    @property
    def head_price(self) -> int:
        """Price of the last header block, beyond that of its frame."""
        return self._blocks.price

    def _fail(self, stream_id: int, code: ErrorCode) -> None:
        """Resets a stream after an error of its own (RFC 9113, 5.4.2); its headers have served no call."""
        price = 1 + self._streams[stream_id].price
        self.reset(stream_id, code)
        self._events.stream_lost(stream_id)
        self._cpu.charge(price)

    # By type of frame: True if it must belong to a stream, False to the connection, None to either; the size of its
    # payload, None for any; the method.
    _REACTIONS: ClassVar[
        Sequence[tuple[bool | None, int | None, Callable[["ServerConnection", int, int, bytes], None]]]
    ] = (
        (True, None, _data),
        (True, None, _headers),
        (True, 5, _priority),
        (True, 4, _rst_stream),
        (False, None, _settings_frame),
        (True, None, _push_promise),
        (False, 8, _ping),
        (False, None, _goaway),
        (None, 4, _window_update),
        (True, None, _continuation),
    )

"""What leaves on one connection: who composes, who waits for the peer's windows, and who for its socket."""

from contextlib import suppress

import trio

from .fields import Header
from .frames import ErrorCode
from .holdings import WHOLE_CONNECTION, Holder
from .limits import FRAMES_EARNED_BY_DATA, MUCH_DATA
from .sender import Sender
from .shared import Shared
from .tls import TLSTransport
from .token_bucket import TokenBucket


class Outgoing:
    """Composes frames for all calls of a connection and sends them, as far as the peer takes them.

    Args:
        connection: who waits, as far as `Holdings` is told.
        h2: composes.
        transport: sends.
        shared: what the connection shares with others.
        control_frames: earned by data that is sent.
        scope: of the connection's nursery; cancelled when the transport turns out to be broken.

    Attributes:
        stalled: streams whose answers wait for the peer's window, since when on Trio's clock.
    """

    __slots__ = (
        "_connection",
        "_control_frames",
        "_h2",
        "_holdings",
        "_scope",
        "_sending",
        "_transport",
        "_window_opened",
        "stalled",
    )

    def __init__(
        self,
        connection: Holder,
        h2: Sender,
        transport: TLSTransport,
        shared: Shared,
        control_frames: TokenBucket,
        scope: trio.CancelScope,
    ) -> None:
        self.stalled: dict[int, float] = {}
        self._connection = connection
        self._h2 = h2
        self._transport = transport
        self._holdings = shared.holdings
        self._control_frames = control_frames
        self._scope = scope
        self._sending = trio.Lock()
        self._window_opened = trio.lowlevel.ParkingLot()

    def send_headers(self, stream_id: int, headers: tuple[Header, ...], *, end_stream: bool = False) -> None:
        """Composes a HEADERS frame, unless the stream is closed; `flush` sends it."""
        # The peer may have reset the stream in the very read that opened it.
        if self._h2.can_send(stream_id):
            self._h2.send_headers(stream_id, headers, end_stream=end_stream)

    async def send_data(self, stream_id: int, data: bytes, *, end_stream: bool = False) -> None:
        """Composes DATA frames until the stream is closed; waits, having flushed, while the peer's window is full."""
        at, end = 0, len(data)
        while at < end and self._h2.can_send(stream_id):
            size = min(end - at, self._h2.window(stream_id))
            if size > 0:
                part = data[at : at + size]
                at += size
                self._h2.send_data(stream_id, part, end_stream=end_stream and at == end)
                if size >= MUCH_DATA or at == end:
                    self._control_frames.earn(FRAMES_EARNED_BY_DATA)
                self.forget(stream_id)
            else:
                self.stalled.setdefault(stream_id, trio.current_time())
                self._holdings.begin(self._connection, stream_id)
                await self.flush()
                await self._window_opened.park()

    def forget(self, stream_id: int) -> None:
        """A stream's answer waits for the peer's window no more, if it did."""
        if stream_id in self.stalled:
            del self.stalled[stream_id]
            self._holdings.end(self._connection, stream_id)

    def window_opened(self) -> None:
        """Wakes whoever waits for that."""
        self._window_opened.unpark_all()

    def reset(self, stream_id: int, *, code: ErrorCode = ErrorCode.CANCEL) -> None:
        """Composes RST_STREAM, unless the stream is closed."""
        self._h2.reset(stream_id, code)

    async def flush(self) -> None:
        """Sends what is composed and returns when it has left; a broken transport ends the connection."""
        try:
            if data := self._h2.data_to_send():
                self._transport.write(data)
            elif not self._transport.unsent:
                return
            # Nearly always the socket takes all of it at once.
            if self._sending.locked() or not self._transport.send_at_once():
                await self._send_in_turn()
        except OSError:  # ssl.SSLError is one
            self._scope.cancel()

    async def _send_in_turn(self) -> None:
        async with self._sending:
            self._holdings.begin(self._connection, WHOLE_CONNECTION)
            try:
                await self._transport.send()
            finally:
                self._holdings.end(self._connection, WHOLE_CONNECTION)

    def say_goodbye(self) -> None:
        """Tells the peer, as far as its socket takes it now, that this is the end."""
        if not self._h2.broken:
            self._h2.go_away(self._h2.highest_stream)
        with suppress(OSError):
            self._transport.write(self._h2.data_to_send())
        self._transport.half_close()

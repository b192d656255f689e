"""Sending on one connection, within the peer's windows and as fast as its socket accepts."""

from contextlib import suppress
from typing import TYPE_CHECKING

import trio

from .cpu_budget import CPUBudget
from .limits import FRAMES_EARNED_BY_DATA, MUCH_DATA
from .memory_budget import WHOLE_CONNECTION, MemoryBudget
from .sender import Sender
from .tls import TLSTransport

if TYPE_CHECKING:
    from .connection import Connection


class Outgoing:
    """Sends composed frames, and composes DATA within the peer's windows.

    Args:
        connection: key in the memory budget.
        h2: composes frames.
        transport: sends bytes.
        memory: registers streams that wait for the peer.
        cpu: budget that earns by sent data.

    Attributes:
        stalled: times since which answers wait for the peer's window, on Trio's clock, by stream.
    """

    __slots__ = (
        "_connection",
        "_cpu",
        "_h2",
        "_memory",
        "_sending",
        "_transport",
        "_waiting",
        "stalled",
    )

    def __init__(
        self,
        connection: "Connection",
        h2: Sender,
        transport: TLSTransport,
        memory: MemoryBudget,
        cpu: CPUBudget,
    ) -> None:
        self.stalled: dict[int, float] = {}
        self._connection = connection
        self._h2 = h2
        self._transport = transport
        self._memory = memory
        self._cpu = cpu
        self._sending = trio.Lock()
        self._waiting: dict[int, trio.Event] = {}  # for a window, by stream

    async def send_data(self, stream_id: int, data: bytes, *, end_stream: bool = False) -> None:
        """Composes DATA frames until the stream is closed; while the peer's window is full, flushes and waits."""
        at, end = 0, len(data)
        try:
            while at < end and self._h2.can_send(stream_id):
                size = min(end - at, self._h2.window(stream_id))
                if size > 0:
                    part = data[at : at + size]
                    at += size
                    self._h2.send_data(stream_id, part, end_stream=end_stream and at == end)
                    if size >= MUCH_DATA or at == end:
                        self._cpu.earn(FRAMES_EARNED_BY_DATA)
                    self.forget(stream_id)
                else:
                    self.stalled.setdefault(stream_id, trio.current_time())
                    self._memory.add(self._connection, stream_id)
                    await self.flush()
                    await self._wait_for_window(stream_id)
        finally:
            self.window_opened()

    async def _wait_for_window(self, stream_id: int) -> None:
        if self._may_continue(stream_id):
            return  # it was opened during the flush
        self.window_opened()
        self._waiting[stream_id] = opened = trio.Event()
        try:
            await opened.wait()
        finally:
            del self._waiting[stream_id]

    def _may_continue(self, stream_id: int) -> bool:
        return not self._h2.can_send(stream_id) or self._h2.window(stream_id) > 0

    def forget(self, stream_id: int) -> None:
        """Removes a stream from `stalled`, if it is there."""
        if stream_id in self.stalled:
            del self.stalled[stream_id]
            self._memory.discard(self._connection, stream_id)

    def window_opened(self) -> None:
        """Wakes the first task whose window is open; it wakes the next. A hundred at once would make a long turn."""
        for stream_id, opened in self._waiting.items():
            if self._may_continue(stream_id):
                opened.set()
                return

    async def flush(self) -> None:
        """Sends the composed bytes and returns when all are sent; if the transport is broken, reading ends."""
        try:
            if data := self._h2.data_to_send():
                self._transport.write(data)
            elif not self._transport.unsent:
                return
            # Nearly always the socket takes all of it at once.
            if self._sending.locked() or not self._transport.send_at_once():
                await self._send_in_turn()
        except OSError:  # ssl.SSLError is one
            self._transport.abandon()

    async def _send_in_turn(self) -> None:
        # Before the lock, which takes a turn: of calls with composed answers nothing else can be reclaimed.
        self._memory.add(self._connection, WHOLE_CONNECTION)
        async with self._sending:
            await self._transport.send()
        self._memory.discard(self._connection, WHOLE_CONNECTION)

    def say_goodbye(self) -> None:
        """Sends a GOAWAY, as far as the socket accepts it now, and closes this side."""
        if not self._h2.broken:
            self._h2.go_away(self._h2.highest_stream)
        with suppress(OSError):
            self._transport.write(self._h2.data_to_send())
        self._transport.half_close()

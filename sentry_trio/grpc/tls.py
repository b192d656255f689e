"""TLS on a Trio-driven socket: an `ssl.SSLObject` between two memory buffers.

`trio.SSLStream` does the same for any stream, with locks and checkpoints that one reader and one writer at a time do
not need; on a new connection it costs about a third more.
"""

import socket
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

import trio

from .client_hello import CLIENT_HELLO_BYTES, CLIENT_HELLO_RECORDS, ClientHelloCheck, is_retry_request

_RECORD_BYTES: Final = 16 * 1024  # of data, at most (RFC 8446, 5.1)
_RECORD_BUFFER: Final = 17 * 1024  # OpenSSL allocates it only while it waits for the rest of a record of any length
# Passed to OpenSSL at a time. Its buffers in memory keep the largest size that they ever had: with 64 KiB they took
# 80 KiB of each connection, with 4 KiB they take 5.
_PIECE_BYTES: Final = 4 * 1024
_HEAD_BYTES: Final = 5  # of a record


class HandshakeFailedError(Exception):
    """The peer did not complete a TLS handshake, or not for this protocol."""


class _RecordCounter:
    """Follows the heads of TLS records that OpenSSL has read without returning data (RFC 8446, 5.1).

    Attributes:
        size: bytes of the current record that have arrived.
    """

    __slots__ = ("_head", "_left", "size")

    def __init__(self) -> None:
        self._head = b""
        self._left = 0  # bytes of the current record that are missing
        self.size = 0

    def feed(self, data: bytes) -> int:
        """Adds bytes that OpenSSL has read; returns the size of the records that are now complete."""
        whole = at = 0
        while at < len(data):
            if self._left:
                part = min(self._left, len(data) - at)
                self._left -= part
            else:
                part = min(_HEAD_BYTES - len(self._head), len(data) - at)
                self._head += data[at : at + part]
                if len(self._head) == _HEAD_BYTES:
                    self._left = int.from_bytes(self._head[3:], "big")
                    self._head = b""
            at += part
            self.size += part
            if not (self._left or self._head):
                whole += self.size
                self.size = 0
        return whole

    def begin_next(self) -> int:
        """Begins another record after returned data; returns the bytes of the current one that had arrived."""
        size, self.size, self._left, self._head = self.size, 0, 0, b""
        return size


class TLSTransport:
    """Server's end of one TLS connection.

    One task may receive while another sends; two may not do the same at once.

    Args:
        connected: accepted socket in non-blocking mode; this object owns and closes it.
        context: TLS context with the server's identity.

    Attributes:
        sent: number of bytes that the socket has accepted.
        overhead: bytes of TLS beside the data, in the records that `arrived` has read last.
        before_read: awaited after each wait for the peer, before reading and decrypting.
        on_no_data: called before `receive` waits for more if no data has arrived: only part of a record, or complete
            records without data, e.g. key updates. Its argument is their bytes since the last data. `receive` raises
            its errors.
    """

    __slots__ = (
        "_arrived",
        "_dataless",
        "_fed",
        "_half_closed",
        "_hello",
        "_leaving",
        "_lost",
        "_received",
        "_record",
        "_socket",
        "_tls",
        "_unsent",
        "before_read",
        "on_no_data",
        "overhead",
        "sent",
    )

    def __init__(self, connected: socket.socket, context: ssl.SSLContext) -> None:
        self._socket = connected
        self._arrived = ssl.MemoryBIO()
        self._leaving = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._arrived, self._leaving, server_side=True)
        self._received = b""  # not yet passed to OpenSSL
        self._fed = b""  # the last piece that was passed to it
        self._hello: ClientHelloCheck | None = ClientHelloCheck()
        self._record = _RecordCounter()
        self._dataless = 0  # bytes of whole records since the last data
        self._unsent = bytearray()
        self._half_closed = False
        self._lost = False
        self.sent = 0
        self.overhead = 0
        self.before_read: Callable[[], Awaitable[None]] | None = None
        self.on_no_data: Callable[[int], None] | None = None

    @property
    def protocol(self) -> str | None:
        """The protocol that ALPN chose."""
        return self._tls.selected_alpn_protocol()

    @property
    def unsent(self) -> bool:
        """True if the socket has not yet accepted all that was written."""
        return bool(self._unsent or self._leaving.pending)

    def was_reset(self) -> bool:
        """Returns True if the peer has reset the connection since the last call and reads no more."""
        return self._lost or self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0

    async def hear(self) -> None:
        """Waits until the peer has sent something, and receives it for the handshake.

        Raises:
            HandshakeFailedError: the peer closed, is gone, or announced too long a ClientHello.
        """
        try:
            data = await self._receive_early()
        except OSError as error:
            raise HandshakeFailedError(f"no TLS handshake: {error}") from error
        if not data:
            raise HandshakeFailedError("no TLS handshake: the peer closed before it sent anything")
        self._received = data
        self._feed()

    async def handshake(self) -> None:
        """Shakes hands; has no time limit of its own.

        Raises:
            HandshakeFailedError: the peer closed, or its handshake is invalid or not supported.
        """
        try:
            while True:
                try:
                    self._tls.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    if answer := self._leaving.read():
                        self._unsent += answer
                        if not is_retry_request(answer):
                            self._hello = None
                    if self._feed():
                        continue
                    await self.send()
                    # Never without a checkpoint: a peer may send its handshake byte by byte, as fast as it is read.
                    self._received = await self._receive_raw()
                    if not self._feed():
                        raise HandshakeFailedError("the peer closed during the TLS handshake") from None
            self._hello = None
            await self.send()
        except (ssl.SSLError, OSError) as error:
            self.half_close()  # an alert with the reason may be waiting for the peer
            raise HandshakeFailedError(str(error)) from error

    async def receive(self) -> bytes:
        """Waits for data and returns it; empty when the peer has closed or is gone.

        A connection closed without a TLS close_notify is not an error here: HTTP/2 frames carry their own lengths.
        """
        while True:
            if (here := self.arrived()) is not None:
                return here
            if (self._dataless or self._record.size) and self.on_no_data is not None:
                dataless, self._dataless = self._dataless, 0
                self.on_no_data(dataless)
            try:
                self._received = await self._receive_raw()
            except OSError:
                return b""
            if not self._received:
                return b""

    def arrived(self) -> bytes | None:
        """Returns data already received, empty if the peer has closed; None if there is none, or no whole record."""
        while self._arrived.pending or self._feed():
            here = self._arrived.pending
            try:
                data = self._tls.read(_RECORD_BYTES)
            except ssl.SSLWantReadError:
                self._dataless += self._record.feed(self._fed[-here:])
                self._fed = b""
                if not self._feed():
                    return None
            except ssl.SSLError:
                return b""
            else:
                self.overhead = here - self._arrived.pending - len(data)
                if self._dataless or self._record.size:
                    self.overhead += self._dataless + self._record.begin_next()
                    self._dataless = 0
                if not self._arrived.pending:
                    self._fed = b""
                return data
        return None

    @property
    def buffered(self) -> int:
        """Received bytes that are not decrypted yet."""
        return len(self._received) + self._arrived.pending

    @property
    def incomplete(self) -> int:
        """Bytes of memory for an incomplete record."""
        return _RECORD_BUFFER if self._record.size else 0

    def _feed(self) -> bool:
        """Passes a piece of the received bytes to OpenSSL; returns False if there is none.

        Raises:
            HandshakeFailedError: it announces too long a ClientHello.
        """
        if not self._received:
            return False
        self._fed = self._received[:_PIECE_BYTES]
        if self._hello is not None and not self._hello.accepts(self._fed):
            limits = f"{CLIENT_HELLO_BYTES} bytes or {CLIENT_HELLO_RECORDS} records"
            raise HandshakeFailedError(f"a ClientHello of more than {limits}")
        self._arrived.write(self._fed)
        self._received = self._received[_PIECE_BYTES:]
        return True

    async def discard(self) -> None:
        """Receives until the peer closes or is gone, and decrypts nothing; to be called after `half_close`."""
        self._received = b""
        self._arrived = ssl.MemoryBIO()
        del self._tls  # with the buffers of OpenSSL
        with suppress(OSError):
            while await self._receive_raw():
                pass

    def write(self, data: bytes) -> None:
        """Encrypts data for `send`; sends nothing yet. After `half_close`, drops it.

        Raises:
            ssl.SSLError: the connection is broken.
        """
        if self._half_closed:
            return
        # OpenSSL accepts all of it, as a buffer in memory is never full; it would take empty data for the end.
        for at in range(0, len(data), _PIECE_BYTES):
            if self._leaving.pending:
                self._unsent += self._leaving.read()
            self._tls.write(data[at : at + _PIECE_BYTES])

    async def send(self) -> None:
        """Sends all that was written. If cancelled, the next call sends the rest.

        Raises:
            OSError: the connection is broken.
        """
        while not self.send_at_once():
            await trio.lowlevel.wait_writable(self._socket)

    def send_at_once(self) -> bool:
        """Sends as much as the socket accepts without waiting; returns whether that was all.

        Raises:
            OSError: the connection is broken.
        """
        data = self._leaving.read()
        if self._unsent:
            self._unsent += data
            taken = self._send_some(self._unsent)
            del self._unsent[:taken]
        elif data:
            # Nearly always the socket accepts all of it, and nothing is copied.
            taken = self._send_some(data)
            if taken < len(data):
                self._unsent += data[taken:]
        return not self._unsent

    def _send_some(self, data: bytes | bytearray) -> int:
        try:
            taken = self._socket.send(data)
        except BlockingIOError:
            return 0
        self.sent += taken
        return taken

    async def _receive_early(self) -> bytes:
        """Returns the peer's first bytes, empty if it has closed; no checkpoint if they are buffered.

        Raises:
            OSError: the connection is broken.
        """
        try:
            return self._socket.recv(_RECORD_BYTES)
        except BlockingIOError:
            return await self._receive_raw()

    async def _receive_raw(self) -> bytes:
        while True:
            # Waiting first is also the checkpoint that keeps a busy peer from holding the loop.
            await trio.lowlevel.wait_readable(self._socket)
            if self.before_read is not None:
                await self.before_read()
            if self._lost:
                return b""
            try:
                return self._socket.recv(_RECORD_BYTES)
            except BlockingIOError:
                continue

    def abandon(self) -> None:
        """Drops what was written and will be; `receive` returns what is decrypted, then the end."""
        self._lost = self._half_closed = True
        self._unsent.clear()
        self._leaving.read()
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes the task that receives

    def half_close(self) -> None:
        """Sends close_notify, as far as the socket accepts it; the peer may still send."""
        self._half_closed = True
        # The usual answer of unwrap: the peer's own close has not come yet.
        with suppress(ssl.SSLError):
            self._tls.unwrap()
        # The connection is being closed anyway: an error of the peer is not logged.
        with suppress(OSError):
            if self.send_at_once():
                self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Closes the socket; tasks that wait for it get trio.ClosedResourceError."""
        trio.lowlevel.notify_closing(self._socket)
        self._socket.close()

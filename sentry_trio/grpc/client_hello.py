"""Limits on the length and the records of a TLS ClientHello, checked before OpenSSL reads it.

OpenSSL allocates the length that a ClientHello announces, up to 128 KiB, as soon as its first 4 bytes have arrived.
"""

from collections.abc import Iterator
from typing import Final

# Usual ones have 2 KiB at most. OpenSSL searches all groups for each key share: up to 1 ms, 3.6 ms for 16 KiB.
CLIENT_HELLO_BYTES: Final = 8 * 1024
CLIENT_HELLO_RECORDS: Final = 100  # of two ClientHellos, which need up to 5; each record costs more than a microsecond
_RECORD_HEAD_BYTES: Final = 5  # type, version, 2 bytes of length (RFC 8446, 5.1)
_MESSAGE_HEAD_BYTES: Final = 4  # type, 3 bytes of length (RFC 8446, 4)
_HANDSHAKE: Final = 22  # type of a record
_RETRY_REQUEST_RANDOM: Final = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")


def is_retry_request(answer: bytes) -> bool:
    """Returns True if the server's answer to a ClientHello requests another one (RFC 8446, 4.1.3)."""
    return _RETRY_REQUEST_RANDOM in answer


class ClientHelloCheck:
    """Checks each ClientHello, before the server has answered with anything but a HelloRetryRequest.

    Until then OpenSSL accepts no other message. It skips ChangeCipherSpec and early data, so records of other types do
    not end the check. Afterwards a TLS 1.2 client may send encrypted messages in records of the same type.
    """

    __slots__ = ("_messages", "_records")

    def __init__(self) -> None:
        self._records = _Blocks(_RECORD_HEAD_BYTES, length_at=3)
        self._messages = _Blocks(_MESSAGE_HEAD_BYTES, length_at=1)

    def accepts(self, data: bytes) -> bool:
        """Follows bytes from the peer; returns False if they announce too long a message, or have too many records."""
        for record_type, _, fragment in self._records.split(data):
            if self._records.complete == CLIENT_HELLO_RECORDS:
                return False
            if record_type == _HANDSHAKE:
                for _, length, _ in self._messages.split(fragment):
                    if length > CLIENT_HELLO_BYTES:
                        return False
        return True


class _Blocks:
    """Splits bytes into blocks: a head that begins with the type and ends with the length of the body, and the body.

    Attributes:
        complete: number of blocks that have arrived.
    """

    __slots__ = ("_arrived", "_head", "_head_bytes", "_length_at", "complete")

    def __init__(self, head_bytes: int, *, length_at: int) -> None:
        self._head_bytes = head_bytes
        self._length_at = length_at
        self._head = b""  # of the current block
        self._arrived = 0  # bytes of its body
        self.complete = 0

    def split(self, data: bytes) -> Iterator[tuple[int, int, bytes]]:
        """Yields type, length of the body, and the part of it that has arrived now, of each block with a whole head."""
        while data:
            missing = self._head_bytes - len(self._head)
            self._head += data[:missing]
            if len(self._head) < self._head_bytes:
                return
            length = int.from_bytes(self._head[self._length_at :], "big")
            end = missing + length - self._arrived
            part, data = data[missing:end], data[end:]
            self._arrived += len(part)
            yield self._head[0], length, part
            if self._arrived == length:
                self._head, self._arrived = b"", 0
                self.complete += 1

"""What a peer may take, in one frozen place."""

from dataclasses import dataclass, fields
from typing import Final

from .wire import PREFIX_BYTES

# What a length prefix of four bytes can say.
_LARGEST_MESSAGE: Final = 2**32 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds on peers and on how long they are waited for. Durations are in seconds, sizes in bytes.

    Attributes:
        handshake_timeout: from accepting a connection to the end of its TLS handshake; what takes longer is closed.
        streams: calls open at once on one connection, announced as SETTINGS_MAX_CONCURRENT_STREAMS (RFC 9113, 5.1.2).
            More are refused with REFUSED_STREAM, which says that they can be tried again; twice as many lose the
            connection.
        message_bytes: the largest message, before and after decompression; a larger one is answered ResourceExhausted.
        unread_bytes: what one connection may hold of messages that no handler has taken yet, whole ones and parts, of
            all its calls together; the call that goes over is answered ResourceExhausted.
        header_bytes: the largest header list (RFC 9113, 10.5.1); a larger one loses the connection.
        refused_bytes: what may follow the head of a request that is no gRPC before it is answered, which else is done
            when it has ended.
        refused_timeout: how long the end of such a request is waited for, and then for its peer to take the answer.
        control_frames: frames that ask for work and bring none (RST_STREAM, PING, SETTINGS, PRIORITY, empty DATA,
            streams over the limit), at once on one connection. The allowance comes back within a minute, and by two
            frames for each request that is answered; a peer that sends more loses the connection (RFC 9113, 10.5:
            ENHANCE_YOUR_CALM).
        drain_timeout: how long calls under way may go on once the server has been cancelled; then they are answered
            Unavailable. Zero is allowed.
        goodbye_timeout: how long a closing connection waits for its peer: for the first byte of a handshake not begun,
            for the answer to the ping between the two GOAWAYs, for the peer to close after the last answer.
    """

    handshake_timeout: float = 5.0
    streams: int = 100
    message_bytes: int = 4 * 1024 * 1024
    unread_bytes: int = 8 * 1024 * 1024
    header_bytes: int = 16 * 1024
    refused_bytes: int = 64 * 1024
    refused_timeout: float = 5.0
    control_frames: int = 1000
    drain_timeout: float = 10.0
    goodbye_timeout: float = 1.0

    def __post_init__(self) -> None:
        """Refuses values that mean nothing.

        Raises:
            ValueError: a limit is negative, or zero where nothing could be served, or contradicts another.
        """
        for field in fields(self):
            value = getattr(self, field.name)
            if not value >= 0 or (value == 0 and field.name != "drain_timeout"):
                raise ValueError(f"{field.name} must be positive, got {value}")
        if self.message_bytes > _LARGEST_MESSAGE:
            raise ValueError(f"message_bytes must be below 2^32, got {self.message_bytes}")
        if self.unread_bytes < self.message_bytes + PREFIX_BYTES:
            raise ValueError(
                f"unread_bytes must have room for one message and its prefix, message_bytes + {PREFIX_BYTES}, "
                f"got {self.unread_bytes}"
            )

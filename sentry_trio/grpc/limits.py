"""Limits on peers."""

from typing import Final

import msgspec

# The greatest length in a prefix of four bytes.
_LARGEST_MESSAGE: Final = 2**32 - 1

PREFIX_BYTES: Final = 5
"""Bytes of a message's prefix: a flag and the length."""

# Bounds that no service has a reason to change.

HEADER_FRAMES: Final = 32
"""Most frames of a header block; under the usual limit on its size, a normal one has two at most."""
REMEMBERED_STREAMS: Final = 256
"""Most closed streams of a connection that are remembered, of each way of closing. At least half as many are: more
than a peer can have open when they are reset."""
CONTROL_FRAMES_REFILL: Final = 60.0
"""Seconds in which the whole budget `control_frames` is refilled."""
FRAMES_EARNED_BY_CALL: Final = 4
"""Control frames that each answered request adds to the budget."""
FRAMES_EARNED_BY_DATA: Final = 2
"""Control frames that each sent data frame adds, if it is the last of an answer or has `MUCH_DATA` bytes."""
MUCH_DATA: Final = 1024
"""Least bytes of such a frame: a peer that opens its window byte by byte must not earn as much as it costs."""
CALL_BYTES: Final = 2048
"""Approximate bytes of `unread_bytes_in_all` for a call, in addition to its data."""
TASK_BYTES: Final = 6 * 1024
"""Approximate bytes for the task that runs its handler."""
FIELD_BYTES: Final = 128
"""Approximate bytes for a header field, in addition to its name and value."""
CONNECTION_BYTES: Final = 36 * 1024
"""Approximate bytes of a connection without calls: 24 KiB of OpenSSL, 12 KiB of Python; a seventh less until it has
received a large TLS record."""
USUAL_ENTRIES: Final = 32
"""Entries of a peer's table of headers that `CONNECTION_BYTES` includes; a request has about 10."""
ENTRY_BYTES: Final = 192
"""Approximate bytes for each further entry: a table may have 128 short ones (RFC 7541, 4.1)."""
MESSAGE_BYTES: Final = 64
"""Approximate bytes for an unread message, in addition to its own: an empty one is an object, too."""
PARSED_SIZE: Final = 3
"""Approximate bytes for each byte of a parsed message: in the message, and in the strings that are read from it.
Services bound their repeated fields before they parse."""
RECLAIM_PRICE: Final = 5
"""Price of finding the connection that holds most, as in `cpu_budget`."""
CALLS_STARTED_AT_ONCE: Final = 8
"""Most handlers with one reply that start in one turn of the event loop; one that never waits takes up to 1 ms."""
CALLS_ENDED_AT_ONCE: Final = 16
"""Most calls that a timeout or deadline ends in one turn of the event loop; each takes up to 0.15 ms."""
JITTER: Final = 0.1
"""Largest part by which idle_timeout and age are shortened at random, so that peers do not all reconnect at once."""
TEND_INTERVAL: Final = 1.0
"""Seconds between two checks of all connections."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds on peers. Durations are in seconds, sizes in bytes.

    A peer is an IPv4 address or an IPv6 network of 64 bits. Connections are checked every `TEND_INTERVAL`:
    idle_timeout, age, the keepalive, receive_timeout, send_timeout and deadlines of incomplete calls take effect up to
    one interval late.

    Attributes:
        handshake_timeout: time from accepting a connection to the end of its TLS handshake, and again from there to
            the peer's first frame; a slower connection is closed.
        handshakes: TLS handshakes under way at once, and the same number of connections that have sent nothing yet;
            one more closes the oldest of the same kind, of the peer that has most.
        connections: connections at once, fewer if calls take memory, see `unread_bytes_in_all`. One more
            closes a connection without running calls, or is closed if there is none. The peer with the most
            connections loses one: first those that never completed a call, then the one that has been idle longest.
        connections_per_peer: connections at once of one peer; one more closes another of that peer by the same rule.
        idle_timeout: time without a call after which a connection gets GOAWAY; up to a tenth less, so that peers do
            not reconnect all at once.
        age: age at which a connection gets GOAWAY and ends when its calls have; up to a tenth less. Clients then
            reconnect, also to servers that were added later.
        keepalive_time: silence of the peer after which a connection sends a PING.
        keepalive_timeout: further silence after which a connection is closed.
        streams: calls open at once on one connection, announced as SETTINGS_MAX_CONCURRENT_STREAMS (RFC 9113, 5.1.2).
            More are refused with REFUSED_STREAM, so clients retry them.
        calls: running handlers of methods with one reply, on all connections together. More wait; peers take turns,
            and the connections of each.
        calls_waiting: number of waiting calls; more are rejected immediately with ResourceExhausted.
        waiting_timeout: longest wait of a call, which is then rejected with Unavailable. A call that would wait
            longer, or beyond its deadline, is rejected immediately.
        streaming_calls: running handlers of methods that stream their replies, on all connections together. There is
            no queue: one more ends a call of the peer, or of the connection, with the most. If that is its own, it is
            rejected with ResourceExhausted.
        receive_timeout: time from the headers of a call that has one message to its end; a slower call is answered
            DeadlineExceeded.
        send_timeout: time in which a peer must accept some of the bytes that wait for it. A peer that does not read
            from its socket loses the connection, one that does not open its flow-control window loses the call.
        message_bytes: largest message, before and after decompression; a larger one is answered ResourceExhausted.
        unread_bytes: bytes of messages that no handler has read yet, complete and incomplete ones, of all calls of one
            connection; the call that exceeds it is answered ResourceExhausted.
        unread_bytes_in_all: memory for calls on all connections. Beside unread bytes these are header lists, 2 KiB for
            each call and 6 KiB for its handler, incomplete frames and TLS records, data that waits for a turn, large
            tables of headers, parsed requests, and unsent answers. Each accepted connection reduces it by 36 KiB, to
            half of it at least, or an eighth if nearly all connections are open. If it is exceeded, the connection
            that uses most is chosen, first among those that wait for their peers: an incomplete request is rejected
            with ResourceExhausted, a call whose answer does not fit the peer's window is reset, and a connection whose
            socket accepts nothing is closed. If no connection waits for its peer, the largest call is rejected with
            ResourceExhausted, or a connection without calls is closed.
        header_bytes: largest header list (RFC 9113, 10.5.1), and largest header block; a larger one closes the
            connection.
        refused_bytes: bytes of a request that is not gRPC after which it is answered before its end.
        refused_timeout: time until the end of a request that is not gRPC, and again until its peer accepts the answer.
        control_frames: frames that cause work without a call, at once on one connection: RST_STREAM, PING, SETTINGS,
            PRIORITY, WINDOW_UPDATE, empty DATA, unknown types, streams over the limit or against the rules, requests
            that are refused without a handler, frames on streams that were reset. Many settings, and long or many
            headers of refused or reset requests, count as several. The budget is refilled within a minute; each
            answered request and each sent data frame adds some. A peer that exceeds it loses the connection (RFC 9113,
            10.5: ENHANCE_YOUR_CALM).
        drain_timeout: time for running calls after the server was cancelled; they are then answered Unavailable. Zero
            is allowed.
        close_timeout: time that a closing connection waits for its peer: for the first byte of a handshake, for the
            answer to the PING between the two GOAWAYs, for the peer to close after the last answer.
    """

    handshake_timeout: float = 5.0
    handshakes: int = 500
    connections: int = 2000
    connections_per_peer: int = 500
    idle_timeout: float = 300.0
    age: float = 1800.0
    keepalive_time: float = 60.0
    keepalive_timeout: float = 20.0
    streams: int = 100
    calls: int = 500
    calls_waiting: int = 2000
    waiting_timeout: float = 5.0
    streaming_calls: int = 500
    receive_timeout: float = 10.0
    send_timeout: float = 20.0
    message_bytes: int = 4 * 1024 * 1024
    unread_bytes: int = 8 * 1024 * 1024
    unread_bytes_in_all: int = 40 * 1024 * 1024
    header_bytes: int = 16 * 1024
    refused_bytes: int = 64 * 1024
    refused_timeout: float = 5.0
    control_frames: int = 1000
    drain_timeout: float = 10.0
    close_timeout: float = 1.0

    def __post_init__(self) -> None:
        """Rejects values that make no sense.

        Raises:
            ValueError: a limit is negative, or zero so that nothing could be served, or contradicts another.
        """
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if not value >= 0 or (value == 0 and name != "drain_timeout"):
                raise ValueError(f"{name} must be positive, got {value}")
        if self.message_bytes > _LARGEST_MESSAGE:
            raise ValueError(f"message_bytes must be below 2^32, got {self.message_bytes}")
        if self.unread_bytes < self.message_bytes + PREFIX_BYTES:
            raise ValueError(
                f"unread_bytes must have room for one message and its prefix, message_bytes + {PREFIX_BYTES}, "
                f"got {self.unread_bytes}"
            )
        if self.unread_bytes_in_all < self.unread_bytes:
            raise ValueError(
                f"unread_bytes_in_all must not be below unread_bytes, {self.unread_bytes}, "
                f"got {self.unread_bytes_in_all}"
            )

"""Limits for peers, in one frozen place."""

from dataclasses import dataclass, fields
from typing import Final

# The greatest length in a prefix of four bytes.
_LARGEST_MESSAGE: Final = 2**32 - 1

PREFIX_BYTES: Final = 5
"""Bytes of a message's prefix: a flag and the length."""

# Bounds that no service has a reason to change.

HEADER_FRAMES: Final = 32
"""Most frames of a header block; under the usual limit on its size, a normal one has two at most."""
REMEMBERED_STREAMS: Final = 256
"""Most closed streams of a connection that are remembered, by the way of closing; at least half as many are, so all
that a peer may have had open when they were reset."""
CONTROL_FRAMES_REFILL: Final = 60.0
"""Seconds in which the whole budget `control_frames` is refilled."""
FRAMES_EARNED_BY_CALL: Final = 4
"""Control frames that each answered request adds to the budget."""
FRAMES_EARNED_BY_DATA: Final = 2
"""Control frames that each sent data frame adds, if it is the last of an answer or has `MUCH_DATA` bytes."""
MUCH_DATA: Final = 1024
"""Bytes; with a lower bound, a peer that opens its window byte by byte would earn all that it costs."""
CALL_BYTES: Final = 2048
"""Approximate bytes of `unread_bytes_in_all` that a call takes in addition to the caller's data."""
TASK_BYTES: Final = 6 * 1024
"""The same for the task that runs its handler."""
FIELD_BYTES: Final = 128
"""Approximate bytes that a header field takes in addition to its name and value."""
CONNECTION_BYTES: Final = 36 * 1024
"""Approximate bytes of a connection without calls: 24 KiB of OpenSSL, 12 KiB of Python; a seventh less until it has
received a large TLS record."""
USUAL_ENTRIES: Final = 32
"""Entries of a peer's table of headers that are part of them; a request has about 10."""
ENTRY_BYTES: Final = 192
"""Approximate bytes that each further entry takes: there may be 128 short ones (RFC 7541, 4.1)."""
MESSAGE_BYTES: Final = 64
"""Approximate bytes that an unread message takes in addition to its own: an empty one is an object, too."""
PARSED_SIZE: Final = 3
"""Approximate bytes that each byte of a parsed message takes: in the message, and in the strings that are read from it.
Services bound their repeated fields before they parse."""
RECLAIM_PRICE: Final = 5
"""Work of finding the connection that holds most, in prices of `cpu_budget`."""
CALLS_STARTED_AT_ONCE: Final = 8
"""Most handlers with one reply that start in one turn of the event loop; one that never waits takes up to 1 ms."""
JITTER: Final = 0.1
"""Largest part by which idle_timeout and age are shortened at random, so that peers do not all reconnect at once."""
TEND_INTERVAL: Final = 1.0
"""Seconds between two checks of all connections."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds on peers and on how long they are waited for. Durations are in seconds, sizes in bytes.

    Connections are checked every `TEND_INTERVAL`: idle_timeout, age, the keepalive, receive_timeout, send_timeout and
    deadlines of incomplete calls take effect up to one interval late.

    Attributes:
        handshake_timeout: from accepting a connection to the end of its TLS handshake, and from there to the peer's
            first frame; what takes longer is closed.
        handshakes: TLS handshakes under way at once, and beside them as many connections that have sent nothing yet;
            one more closes the oldest of the same kind.
        connections: connections at once, fewer if calls take more than a quarter of `unread_bytes_in_all`; one more
            takes the place of one without running calls, and is closed if there is none. The peer that has most
            connections loses one: first those that never completed a call, then the one that has been idle longest.
        connections_per_peer: of these, from one IPv4 address or one IPv6 network of 64 bits; one more takes the place
            of another of its peer by the same rule.
        idle_timeout: without a call for so long, a connection gets GOAWAY; up to a tenth less, so that peers do not
            come back all at once.
        age: a connection that is so old gets GOAWAY, its calls under way being finished, so that clients spread
            over servers that were added later; up to a tenth less.
        keepalive_time: nothing heard for so long, a connection is sent a PING.
        keepalive_timeout: nothing heard for so long after it, a connection is closed.
        streams: calls open at once on one connection, announced as SETTINGS_MAX_CONCURRENT_STREAMS (RFC 9113, 5.1.2).
            More are refused with REFUSED_STREAM, which says that they can be tried again.
        calls: handlers of methods with one reply that run at once, on all connections together. More wait; connections
            take turns.
        calls_waiting: how many wait; more are answered ResourceExhausted at once.
        waiting_timeout: how long a call waits; then it is answered Unavailable. A call that would wait longer, or
            past its deadline, is answered so at once.
        streaming_calls: handlers of methods that stream their replies, at once on all connections together. Not
            queued: one more ends a call of the peer, or of the connection, that has most of them; if that is its own,
            it is answered ResourceExhausted.
        receive_timeout: from the head of a call that takes one message to its end; a call that takes longer is
            answered DeadlineExceeded.
        send_timeout: how long a peer may take nothing of what waits for it: one that does not empty its socket loses
            the connection, one that does not open its flow-control window the call.
        message_bytes: the largest message, before and after decompression; a larger one is answered ResourceExhausted.
        unread_bytes: what one connection may hold of messages that no handler has taken yet, whole ones and parts, of
            all its calls together; the call that goes over is answered ResourceExhausted.
        unread_bytes_in_all: what all connections may hold so together, added to it header lists, some 2 KiB for each
            call and 6 for its handler, incomplete frames, what waits for a turn, large tables of headers, parsed
            requests, and answers until they have left. Accepted connections leave less of it, some 36 KiB each, but
            half of it, or a quarter if nearly as many are open as may be. Over it, the connection that holds most gives
            way, first among those that wait for their peers: a request that is not whole is answered ResourceExhausted,
            a call whose answer the peer's window has no room for is reset, a connection whose socket takes nothing is
            closed. Where none waits so, its largest call is answered ResourceExhausted; if it has none, it is closed.
        header_bytes: the largest header list (RFC 9113, 10.5.1), and the largest block that one may come in; a larger
            one loses the connection.
        refused_bytes: bytes of a request that is not gRPC, after which it is answered before its end.
        refused_timeout: how long the end of such a request is waited for, and then for its peer to take the answer.
        control_frames: frames that cause work without a call (RST_STREAM, PING, SETTINGS, PRIORITY, WINDOW_UPDATE,
            empty DATA, unknown ones, streams over the limit or against the rules, requests that are refused without a
            handler, frames on streams that were reset), at once on one connection. Long or many headers of such a
            frame or of a call that is reset, and many settings, count as several. The
            allowance comes back within a minute, and by some frames for each request that is answered and for each
            frame of data that is sent; a peer that sends more loses the connection (RFC 9113, 10.5:
            ENHANCE_YOUR_CALM).
        drain_timeout: how long calls under way may continue after the server was cancelled; then they are answered
            Unavailable. Zero is allowed.
        close_timeout: how long a closing connection waits for its peer: for the first byte of a handshake not begun,
            for the answer to the ping between the two GOAWAYs, for the peer to close after the last answer.
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
        if self.unread_bytes_in_all < self.unread_bytes:
            raise ValueError(
                f"unread_bytes_in_all must not be below unread_bytes, {self.unread_bytes}, "
                f"got {self.unread_bytes_in_all}"
            )

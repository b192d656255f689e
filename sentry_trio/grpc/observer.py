"""Observer of a server's events, for logs and metrics."""

from typing import Literal, TypeAlias

from grpclib.const import Status

Shed: TypeAlias = Literal["queue_full", "in_vain", "no_turn"]
"""Reason for rejecting a call at a limit: the queue is full, the expected wait is too long, or the wait was."""
Eviction: TypeAlias = Literal["too_many", "work", "memory"]
"""Reason for closing a connection: to make room for a newer one, too much work, or too much memory."""


class Observer:
    """Receives events of a server. A subclass overrides methods, which must not raise or wait."""

    def connection_opened(self) -> None:
        """A connection was accepted."""

    def connection_closed(self) -> None:
        """A connection, counted by `connection_opened`, is closed."""

    def connection_refused(self, peer: object, reason: str) -> None:
        """A connection was closed as soon as it was accepted: a limit on their number is reached."""

    def connection_evicted(self, peer: object, reason: Eviction) -> None:
        """A connection was closed at a limit, or for a newer one; `connection_closed` follows."""

    def handshake_failed(self, peer: object, reason: str) -> None:
        """A peer did not complete its TLS handshake."""

    def connection_failed(self, peer: object, error: Exception) -> None:
        """A connection ended by a defect: no peer should be able to cause this error."""

    def accept_failed(self, error: OSError) -> None:
        """The system could not accept a connection, e.g. for lack of descriptors; accepting is retried."""

    def call_queued(self) -> None:
        """A call waits in the queue, because all places are taken."""

    def call_dequeued(self) -> None:
        """A call that waited, counted by `call_queued`, no longer waits: it runs, or was rejected or cancelled."""

    def call_shed(self, reason: Shed, peer: object) -> None:
        """A call was rejected because of overload; `call_finished` follows."""

    def call_finished(self, path: str, status: Status, seconds: float, peer: object) -> None:
        """A call has ended after some seconds: answered, or `Status.CANCELLED` because its caller left or was lost."""

    def handler_failed(self, path: str, error: Exception) -> None:
        """A handler raised an error other than `GRPCError`; its caller got Unknown."""

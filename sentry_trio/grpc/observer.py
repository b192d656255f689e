"""Observer of a server's events, for logs and metrics."""

from typing import Literal, TypeAlias

from grpclib.const import Status

Shed: TypeAlias = Literal["queue_full", "in_vain", "no_turn"]
"""Reason for rejecting a call at a limit: no room left to wait in, none in time, none within the longest wait."""
Eviction: TypeAlias = Literal["too_many", "work", "memory"]
"""Reason for closing a connection: it made room for a newer one, caused too much work, or held too much memory."""


class Observer:
    """Receives events as they happen; every method may be overridden and none may raise or wait."""

    def connection_opened(self) -> None:
        """A connection was accepted."""

    def connection_closed(self) -> None:
        """A connection, counted by `connection_opened`, is closed."""

    def connection_refused(self, peer: object, reason: str) -> None:
        """A connection was closed as soon as it was accepted: a limit on their number is reached."""

    def connection_evicted(self, peer: object, reason: Eviction) -> None:
        """A connection was closed because it took too much, or for a newer one; `connection_closed` follows."""

    def handshake_failed(self, peer: object, reason: str) -> None:
        """A peer did not complete its TLS handshake."""

    def connection_failed(self, peer: object, error: Exception) -> None:
        """A connection ended by an error that nothing on it should have been able to cause."""

    def accept_failed(self, error: OSError) -> None:
        """The system could not accept a connection, e.g. for lack of descriptors; accepting continues in a moment."""

    def call_queued(self) -> None:
        """A call waits for its turn, since as many as may run do."""

    def call_dequeued(self) -> None:
        """A call that waited, counted by `call_queued`, no longer waits: it runs, or was rejected or cancelled."""

    def call_shed(self, reason: Shed, peer: object) -> None:
        """A call is refused because there is too much to do; `call_finished` follows."""

    def call_finished(self, path: str, status: Status, seconds: float, peer: object) -> None:
        """A call is over after so many seconds: answered, or `Status.CANCELLED` because its caller left or was lost."""

    def handler_failed(self, path: str, error: Exception) -> None:
        """A handler raised another error than `GRPCError`; its caller got Unknown."""

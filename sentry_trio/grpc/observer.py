"""Who is told what happens on a server, for logs and metrics."""

from grpclib.const import Status


class Observer:
    """Told of events as they happen; every method may be overridden and none may raise or wait."""

    def connection_opened(self) -> None:
        """A connection was accepted."""

    def connection_closed(self) -> None:
        """A connection, counted by `connection_opened`, is closed."""

    def connection_refused(self, peer: object, reason: str) -> None:
        """A connection was closed as soon as it was accepted: a limit on their number is reached."""

    def handshake_failed(self, peer: object, reason: str) -> None:
        """A peer did not complete its TLS handshake."""

    def connection_failed(self, peer: object, error: Exception) -> None:
        """A connection ended by an error that nothing on it should have been able to cause."""

    def accept_failed(self, error: OSError) -> None:
        """The system could not hand over a connection, e.g. out of descriptors; accepting goes on in a moment."""

    def call_finished(self, path: str, status: Status, seconds: float) -> None:
        """A call is over after so many seconds: answered, or `Status.CANCELLED` because its caller left or was lost."""

    def handler_failed(self, path: str, error: Exception) -> None:
        """A handler raised what is no `GRPCError`; its caller was answered Unknown."""

"""The standard health service, `grpc.health.v1.Health`, beside any other service.

The messages are grpclib's; its service is not: it checks on asyncio. Importing this module adds `health.proto` to
protobuf's pool, so the package does not do so by itself.
"""

from collections.abc import Mapping
from typing import Final

import trio
from grpclib.const import Cardinality, Handler, Status
from grpclib.exceptions import GRPCError
from grpclib.health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from .interfaces import ServerStream

Stream = ServerStream[HealthCheckRequest, HealthCheckResponse]

_SERVING: Final = HealthCheckResponse.SERVING
_NOT_SERVING: Final = HealthCheckResponse.NOT_SERVING
_SERVICE_UNKNOWN: Final = HealthCheckResponse.SERVICE_UNKNOWN
_REQUEST_BYTES: Final = 16 * 1024


class _BoundedRequest:
    """Request type: 4 MiB of empty names take 30 ms to parse, in one turn of the event loop."""

    @staticmethod
    def FromString(data: bytes) -> HealthCheckRequest:  # noqa: N802  # protobuf's name
        """Parses a request.

        Raises:
            GRPCError: InvalidArgument for more than 16 KiB.
            google.protobuf.message.DecodeError: the bytes are not a request.
        """
        if len(data) > _REQUEST_BYTES:
            text = f"the request has {len(data)} bytes; at most {_REQUEST_BYTES} are accepted"
            raise GRPCError(Status.INVALID_ARGUMENT, text)
        return HealthCheckRequest.FromString(data)


class HealthService:
    """Health service of the gRPC health checking protocol.

    The empty name means the server as a whole, which does not serve until `set_serving` is called. Other names are
    unknown until then.
    """

    def __init__(self) -> None:
        self._statuses = {"": _NOT_SERVING}
        self._changed = trio.Event()
        self._closed = False

    def set_serving(self, service: str, serving: bool) -> None:  # noqa: FBT001  # the value that is set
        """Sets the status of a service, and notifies its watchers if it has changed."""
        self._statuses[service] = _SERVING if serving else _NOT_SERVING
        self._wake()

    def close(self) -> None:
        """Ends all watches, also later ones, with Unavailable: a server that stops need not wait for them.

        Checks are still answered. Closing again changes nothing.
        """
        self._closed = True
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    async def check(self, stream: Stream) -> None:
        """Answers with the status of a service.

        Raises:
            GRPCError: NotFound if the service is unknown, InvalidArgument for a request of more than 16 KiB.
        """
        service = await _service(stream)
        if service not in self._statuses:
            raise GRPCError(Status.NOT_FOUND, "unknown service")
        await stream.send_message(HealthCheckResponse(status=self._statuses[service]))

    async def watch(self, stream: Stream) -> None:
        """Sends the status of a service, SERVICE_UNKNOWN included, and sends it again after each change.

        If changes are faster than the caller reads them, only the last is sent. Ends when the caller leaves.

        Raises:
            GRPCError: Unavailable after `close`, InvalidArgument for a request of more than 16 KiB.
        """
        service = await _service(stream)
        sent = None
        while not self._closed:
            changed = self._changed
            status = self._statuses.get(service, _SERVICE_UNKNOWN)
            if status != sent:
                await stream.send_message(HealthCheckResponse(status=status))
                sent = status
            else:
                await changed.wait()
        raise GRPCError(Status.UNAVAILABLE, "the server is shutting down")

    def __mapping__(self) -> Mapping[str, Handler]:
        """Returns the handlers by path."""
        check, watch = Cardinality.UNARY_UNARY, Cardinality.UNARY_STREAM
        return {
            "/grpc.health.v1.Health/Check": Handler(self.check, check, _BoundedRequest, HealthCheckResponse),
            "/grpc.health.v1.Health/Watch": Handler(self.watch, watch, _BoundedRequest, HealthCheckResponse),
        }


async def _service(stream: Stream) -> str:
    request = await stream.recv_message()
    assert request is not None  # noqa: S101  # for the type checker: a call without a message raises
    return request.service

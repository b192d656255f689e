"""A call without a connection, for handlers of the CA service."""

from sentry_trio.grpc.turn_scheduler import TurnScheduler
from sentry_trio.proto.sentry_pb2 import SignCertificateRequest, SignCertificateResponse


class InMemoryStream:
    """Call as its handler sees it, with one request; keeps the answer.

    Args:
        request: received by the handler; an exception is raised instead.
        turns: turns of the event loop; by default its own, which are never full.

    Attributes:
        answer: sent by the handler; None before.
    """

    peer = ("192.0.2.1", 4711)
    network = "192.0.2.1"

    def __init__(self, request: SignCertificateRequest | Exception, turns: TurnScheduler | None = None) -> None:
        self.answer: SignCertificateResponse | None = None
        self._request = request
        self._place: int | None = None
        self._turns = turns or TurnScheduler(lambda: 0.0)

    async def recv_message(self) -> SignCertificateRequest:
        """Returns or raises the request."""
        if isinstance(self._request, Exception):
            raise self._request
        return self._request

    async def send_message(self, message: SignCertificateResponse) -> None:
        """Keeps the answer."""
        self.answer = message

    async def wait_for_turn(self, seconds: float) -> None:
        """Waits for a turn; all streams are of one peer."""
        self._place = await self._turns.wait_for_part(self.network, seconds, self._place)

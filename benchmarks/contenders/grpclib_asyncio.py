"""grpclib's own server, on asyncio."""

import asyncio

from grpclib.server import Server, Stream

from benchmarks.contenders import serving
from sentry_trio.ca.issue import Issuer
from sentry_trio.proto.sentry_grpc import CABase
from sentry_trio.proto.sentry_pb2 import SignCertificateRequest, SignCertificateResponse


class _Service(CABase):
    def __init__(self, signer: serving.Signer) -> None:
        self._signer = signer

    async def SignCertificate(  # noqa: N802  # the name on the wire
        self, stream: Stream[SignCertificateRequest, SignCertificateResponse]
    ) -> None:
        request = await stream.recv_message()
        if request is not None:
            await stream.send_message(self._signer.sign(request))


async def serve(issuer: Issuer) -> None:
    """Serves on the asyncio loop that runs, whichever that is, until cancelled."""
    server = Server([_Service(serving.Signer(issuer))])
    listener = serving.listening_socket()
    await server.start(sock=listener, ssl=serving.tls_context(serving.serving_leaf(issuer)))
    serving.announce(listener.getsockname()[1])
    await server.wait_closed()


if __name__ == "__main__":
    asyncio.run(serve(serving.issuer_from_command_line()))

"""grpcio's C core, calling Python on an asyncio loop."""

import asyncio

import grpc

from benchmarks.contenders import serving
from benchmarks.contenders.grpcio_threads import METHOD, SERVICE, credentials
from sentry_trio.ca.issue import Issuer
from sentry_trio.proto.sentry_pb2 import SignCertificateRequest, SignCertificateResponse


def _handlers(signer: serving.Signer) -> grpc.GenericRpcHandler:
    async def sign(request: SignCertificateRequest, _: grpc.aio.ServicerContext) -> SignCertificateResponse:
        return signer.sign(request)

    method = grpc.unary_unary_rpc_method_handler(
        sign, SignCertificateRequest.FromString, SignCertificateResponse.SerializeToString
    )
    return grpc.method_handlers_generic_handler(SERVICE, {METHOD: method})


async def _serve(issuer: Issuer) -> None:
    server = grpc.aio.server()
    server.add_generic_rpc_handlers([_handlers(serving.Signer(issuer))])
    port = server.add_secure_port("127.0.0.1:0", credentials(issuer))
    await server.start()
    serving.announce(port)
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(_serve(serving.issuer_from_command_line()))

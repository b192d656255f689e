"""grpcio's C core, calling Python in a pool of threads."""

from concurrent.futures import ThreadPoolExecutor
from typing import Final

import grpc

from benchmarks.contenders import serving
from sentry_trio.ca.issue import Issuer
from sentry_trio.proto.sentry_pb2 import SignCertificateRequest, SignCertificateResponse

SERVICE: Final = "dapr.proto.sentry.v1.CA"
METHOD: Final = "SignCertificate"
_THREADS: Final = 8  # as many as there are callers


def credentials(issuer: Issuer) -> grpc.ServerCredentials:
    """A serving certificate in the form that C core accepts."""
    leaf = serving.serving_leaf(issuer)
    return grpc.ssl_server_credentials([(leaf.key, leaf.chain)])


def _handlers(signer: serving.Signer) -> grpc.GenericRpcHandler:
    def sign(request: SignCertificateRequest, _: grpc.ServicerContext) -> SignCertificateResponse:
        return signer.sign(request)

    method = grpc.unary_unary_rpc_method_handler(
        sign, SignCertificateRequest.FromString, SignCertificateResponse.SerializeToString
    )
    return grpc.method_handlers_generic_handler(SERVICE, {METHOD: method})


def _serve(issuer: Issuer) -> None:
    server = grpc.server(ThreadPoolExecutor(_THREADS), handlers=[_handlers(serving.Signer(issuer))])
    port = server.add_secure_port("127.0.0.1:0", credentials(issuer))
    server.start()
    serving.announce(port)
    server.wait_for_termination()


if __name__ == "__main__":
    _serve(serving.issuer_from_command_line())

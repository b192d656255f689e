"""Server that daprd accepts as Sentry; it answers each request with a status or a certificate, as a test decides."""

import asyncio
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from threading import Thread

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from grpclib.server import Server, Stream

from sentry_trio.ca.keys import write_private_key
from sentry_trio.proto.sentry_grpc import CABase
from sentry_trio.proto.sentry_pb2 import SignCertificateRequest, SignCertificateResponse
from testkit.authorities import wall_clock
from testkit.ca.making import CLIENT_AUTH, DAY, HOUR, SERVER_AUTH, key_usage, name, unread_certificate
from testkit.ports import free_port

Answer = Status | timedelta
"""A status, or the lifetime of a certificate."""


@dataclass(frozen=True, slots=True)
class ScriptedCA:
    """A running server.

    Attributes:
        port: its port on loopback.
        anchors: its root, PEM.
    """

    port: int
    anchors: str


class _Service(CABase):
    """Issues certificates directly below a root.

    Args:
        answer: returns the answer to a request of an app ID.
    """

    def __init__(self, answer: Callable[[str], Answer]) -> None:
        self._answer = answer
        self._key = ec.generate_private_key(ec.SECP256R1())
        root = unread_certificate("root", self._key, not_before=wall_clock() - HOUR, not_after=wall_clock() + DAY)
        self.root = root.public_bytes(serialization.Encoding.PEM)

    def issue(self, public_key: CertificatePublicKeyTypes, path: str, lifetime: timedelta) -> bytes:
        """Returns a certificate that is valid from now on, PEM."""
        spiffe_id = x509.UniformResourceIdentifier(f"spiffe://{path}")
        now = wall_clock()
        certificate = (
            x509.CertificateBuilder(name("root"), name("leaf"), public_key, x509.random_serial_number())
            .not_valid_before(now)
            .not_valid_after(now + lifetime)
            .add_extension(key_usage("digital_signature"), critical=True)
            .add_extension(x509.ExtendedKeyUsage([SERVER_AUTH, CLIENT_AUTH]), critical=False)
            .add_extension(x509.SubjectAlternativeName([spiffe_id]), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return certificate.public_bytes(serialization.Encoding.PEM)

    async def SignCertificate(  # noqa: N802  # as the base has it
        self, stream: Stream[SignCertificateRequest, SignCertificateResponse]
    ) -> None:
        request = await stream.recv_message()
        assert request is not None
        answer = self._answer(request.id)
        if isinstance(answer, Status):
            raise GRPCError(answer, "scripted")
        csr = x509.load_pem_x509_csr(request.certificate_signing_request)
        pem = self.issue(csr.public_key(), f"public/ns/{request.namespace}/{request.id}", answer)
        response = SignCertificateResponse(workload_certificate=pem)
        response.valid_until.FromDatetime(wall_clock() + answer)
        await stream.send_message(response)


@contextmanager
def scripted_ca(directory: Path, answer: Callable[[str], Answer]) -> Iterator[ScriptedCA]:
    """Serves on loopback beside the block.

    Args:
        directory: for the server's certificate.
        answer: returns the answer to a request of an app ID. It is called in the server's thread.
    """
    service, port = _Service(answer), free_port()
    key, pem = ec.generate_private_key(ec.SECP256R1()), directory / "serving.pem"
    pem.write_bytes(service.issue(key.public_key(), "localhost/ns/default/dapr-sentry", DAY) + write_private_key(key))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    context.set_alpn_protocols(["h2"])
    # Not of the policy: trio-asyncio, which other tests import, replaces it by one whose loops cannot change threads.
    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        server = runner.run(_started(service, port, context))
        thread = Thread(target=runner.get_loop().run_forever)
        thread.start()
        try:
            yield ScriptedCA(port, service.root.decode())
        finally:
            runner.get_loop().call_soon_threadsafe(runner.get_loop().stop)
            thread.join()
            server.close()
            runner.run(server.wait_closed())


async def _started(service: _Service, port: int, context: ssl.SSLContext) -> Server:
    server = Server([service])  # in the loop that it serves on
    await server.start("127.0.0.1", port, ssl=context)
    return server

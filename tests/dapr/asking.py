"""SignCertificate calls to a server, and everything observable of the answers as flat text fields."""

import asyncio
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Final, Self

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from grpclib.client import Channel
from grpclib.exceptions import GRPCError

from sentry_trio.ca.certificates import read_certificate
from sentry_trio.client import _TidyLoop
from sentry_trio.proto.sentry_grpc import CAStub
from sentry_trio.proto.sentry_pb2 import SignCertificateRequest, SignCertificateResponse

from .comparing import Fields
from .jwts import jwt_fields
from .servers import Started

_TIMEOUT: Final = 20.0
_END: Final = b"-----END CERTIFICATE-----\n"


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to a call.

    Attributes:
        status: the gRPC code's name.
        text: of the status; empty on success.
        response: the message, on success.
        before: the time when the call began.
        after: the time when it had ended.
    """

    status: str
    text: str
    response: SignCertificateResponse | None
    before: datetime
    after: datetime


class Client:
    """A connection to a server. It does not verify the certificate: that is compared by itself."""

    def __init__(self, server: Started) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_alpn_protocols(["h2"])
        self.server = server
        self._runner = asyncio.Runner(loop_factory=_TidyLoop)
        self._channel = self._runner.run(self._opened(server.ports["port"], context))

    @staticmethod
    async def _opened(port: int, context: ssl.SSLContext) -> Channel:
        return Channel("127.0.0.1", port, ssl=context)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._channel.close()
        self._runner.close()

    def ask(self, request: SignCertificateRequest) -> Reply:
        """Calls SignCertificate once."""
        before = datetime.now(UTC)
        try:
            response = self._runner.run(self._ask(request))
        except GRPCError as error:
            return Reply(error.status.name, error.message or "", None, before, datetime.now(UTC))
        return Reply("OK", "", response, before, datetime.now(UTC))

    async def _ask(self, request: SignCertificateRequest) -> SignCertificateResponse:
        return await CAStub(self._channel).SignCertificate(request, timeout=_TIMEOUT)


@contextmanager
def clients(servers: tuple[Started, Started]) -> Iterator[tuple[Client, Client]]:
    """Connections to both."""
    with Client(servers[0]) as dapr, Client(servers[1]) as ours:
        yield dapr, ours


def replies_or_outcomes(
    servers: tuple[Started, Started], request: SignCertificateRequest, skew: timedelta
) -> tuple[Fields, Fields]:
    """Returns everything observable of both answers, or the outcomes of both starts if one does not serve."""
    if not all(server.serving for server in servers):
        return servers[0].outcome(), servers[1].outcome()
    with clients(servers) as (dapr, ours):
        return reply_fields(dapr.ask(request), skew), reply_fields(ours.ask(request), skew)


def reply_fields(reply: Reply, skew: timedelta) -> Fields:
    """Everything observable of an answer.

    Args:
        reply: the answer.
        skew: the configured allowance by which certificates begin earlier.
    """
    if reply.response is None:
        return {"status": reply.status, "text": reply.text}
    chain = reply.response.workload_certificate
    leaf, _, rest = chain.partition(_END)
    certificate, issuer = _loaded(ssl.PEM_cert_to_DER_cert((leaf + _END).decode()))
    until = reply.response.valid_until.ToDatetime(tzinfo=UTC)
    return {
        "status": reply.status,
        **certificate_fields(certificate, reply, skew),
        "issuer": issuer.hex(),
        "issuer chain": rest.decode(),
        "trust anchors": repr(list(reply.response.trust_chain_certificates)),
        "valid_until": "not after" if until == certificate.not_valid_after_utc else str(until),
        **jwt_fields(reply.response, skew),
    }


def _loaded(der: bytes) -> tuple[x509.Certificate, bytes]:
    """A certificate, and its issuer's name as bytes: an `&` in it is read by Go and refused by `cryptography`."""
    issuer = read_certificate(der).issuer
    return x509.load_der_x509_certificate(der.replace(issuer, issuer.replace(b"&", b"+"))), issuer


def certificate_fields(certificate: x509.Certificate, reply: Reply, skew: timedelta) -> Fields:
    """The fields of a certificate; times are compared with the call's, random values only by kind."""
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    earliest = reply.before.replace(microsecond=0) - skew
    fields = {
        "version": certificate.version.name,
        "serial": "up to 128 bits" if 0 <= certificate.serial_number < 2**128 else str(certificate.serial_number),
        "subject": certificate.subject.public_bytes().hex(),
        "not before": "the call minus the skew" if earliest <= begin <= reply.after - skew else str(begin),
        "lifetime": str(end - begin),
        "signature algorithm": certificate.signature_algorithm_oid.dotted_string,
        "public key": certificate.public_key()
        .public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        .hex(),
        "extensions": " ".join(extension.oid.dotted_string for extension in certificate.extensions),
    }
    for extension in certificate.extensions:
        value = extension.value.public_bytes().hex()
        fields[f"extension {extension.oid.dotted_string}"] = f"{'critical ' if extension.critical else ''}{value}"
    return fields

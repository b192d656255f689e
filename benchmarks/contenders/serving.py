"""Credentials and code that all contenders share: one issuer, one signing core, one kind of serving certificate."""

import argparse
import socket
import ssl
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from sentry_trio.ca.bundle import StoredBundle, verify
from sentry_trio.ca.csr import read_csr
from sentry_trio.ca.issue import Issuer, WorkloadIdentity
from sentry_trio.ca.keys import KeyType, generate_key, public_key_info, write_private_key
from sentry_trio.ca.spiffe import SpiffeId, dns_names
from sentry_trio.proto.sentry_pb2 import SignCertificateRequest, SignCertificateResponse
from sentry_trio.validators import check_request

NAMESPACE: Final = "default"
CLUSTER_DOMAIN: Final = "cluster.local"
LIFETIME: Final = timedelta(hours=24)
SKEW: Final = timedelta(minutes=15)
_SERVING_IDENTITY: Final = SpiffeId.make("localhost", NAMESPACE, "dapr-sentry")


def wall_clock() -> datetime:
    """The time, aware."""
    return datetime.now(UTC)


class Signer:
    """The signing core: a request in, the answer out, as the real service makes it, and nothing around it.

    Args:
        issuer: signs.
    """

    def __init__(self, issuer: Issuer) -> None:
        self._issuer = issuer

    def sign(self, request: SignCertificateRequest) -> SignCertificateResponse:
        """Authenticates every caller, reads the CSR, signs, answers.

        Raises:
            SentryError: the request is not one of the load client's.
        """
        trust_domain = check_request(request)
        public_key = read_csr(request.certificate_signing_request)
        identity = WorkloadIdentity(
            spiffe_id=SpiffeId.make(trust_domain, request.namespace, request.id),
            dns_names=dns_names(request.id, request.namespace, NAMESPACE, CLUSTER_DOMAIN),
        )
        issued = self._issuer.issue(public_key, identity, lifetime=LIFETIME, allowed_clock_skew=SKEW, now=wall_clock())
        response = SignCertificateResponse(
            workload_certificate=issued.pem, trust_chain_certificates=[self._issuer.bundle.anchors_pem]
        )
        response.valid_until.FromDatetime(issued.not_after)
        return response


@dataclass(frozen=True, slots=True)
class Leaf:
    """A serving certificate on P-256, with its chain, and its key; PEM."""

    chain: bytes
    key: bytes


def serving_leaf(issuer: Issuer) -> Leaf:
    """Signs the certificate that the load client expects of its authority."""
    key = generate_key(KeyType.P256)
    issued = issuer.issue(
        public_key_info(key.public_key()),
        WorkloadIdentity(spiffe_id=_SERVING_IDENTITY),
        lifetime=LIFETIME,
        allowed_clock_skew=SKEW,
        now=wall_clock(),
    )
    return Leaf(issued.pem, write_private_key(key))


def tls_context(leaf: Leaf) -> ssl.SSLContext:
    """A server's context, as our own server has it; without session tickets, so that no contender pays for them."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.num_tickets = 0
    context.set_alpn_protocols(["h2"])
    with tempfile.NamedTemporaryFile() as file:
        file.write(leaf.key + leaf.chain)
        file.flush()
        context.load_cert_chain(file.name)
    return context


def listening_socket() -> socket.socket:
    """A socket that listens on loopback, on a port that the system chooses."""
    # With the protocol named, as asyncio makes them itself: it switches Nagle's algorithm off for these alone, and
    # with it on, grpclib's three writes of an answer wait 40 ms for the client's acknowledgement.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen(4096)
    return listener


def announce(port: int) -> None:
    """Prints the port for the parent process; now it accepts connections."""
    print(port, flush=True)


def issuer_from_command_line() -> Issuer:
    """The issuer with the credentials in the directory that the command line names."""
    parser = argparse.ArgumentParser(description="Answers SignCertificate, to be measured.")
    parser.add_argument("credentials", type=Path, help="directory of ca.crt, issuer.crt and issuer.key")
    return read_issuer(parser.parse_args().credentials)


def read_issuer(directory: Path) -> Issuer:
    """The issuer with the credentials in a directory.

    Raises:
        InvalidBundleError: they are not what they should be.
    """
    anchors, chain, key = (directory.joinpath(name).read_bytes() for name in ("ca.crt", "issuer.crt", "issuer.key"))
    return Issuer(verify(StoredBundle(anchors, chain, key), wall_clock()))

"""Certificate authorities for tests: made in memory, or served whole on loopback."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import trio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from sentry_trio import app
from sentry_trio.ca.bundle import TrustBundle, verify
from sentry_trio.ca.generate import generate
from sentry_trio.ca.keys import KeyType, PrivateKey, generate_key
from sentry_trio.client import Authority, Obtained, Workload, obtain
from sentry_trio.grpc.admission import Network
from sentry_trio.proto.sentry_pb2 import SignCertificateRequest
from sentry_trio.settings.command_line import parse_options

SKEW = timedelta(minutes=15)
NETWORK: Network = "192.0.2.1"
"""Identifies a peer."""

LOOPBACK = (
    *("--listen-address", "127.0.0.1", "--port", "0"),
    *("--healthz-listen-address", "127.0.0.1", "--healthz-port", "0"),
    *("--metrics-listen-address", "127.0.0.1", "--metrics-port", "0"),
)


def wall_clock() -> datetime:
    return datetime.now(UTC)


def made_bundle(
    key_type: KeyType = KeyType.P256, *, now: datetime | None = None, lifetime: timedelta = timedelta(days=365)
) -> TrustBundle:
    """A verified bundle of a self-made authority."""
    now = now or wall_clock()
    stored = generate("localhost", "default", key_type, now=now, allowed_clock_skew=SKEW, lifetime=lifetime)
    return verify(stored, now)


def made_csr(key: PrivateKey | None = None) -> bytes:
    """A CSR as daprd makes them: PEM, signed by its own key."""
    key = key or generate_key(KeyType.P256)
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(key, None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()).public_bytes(
        serialization.Encoding.PEM
    )


def made_request(app_id: str, namespace: str = "default") -> SignCertificateRequest:
    """A request without a token for a certificate of an app."""
    return SignCertificateRequest(
        id=app_id,
        namespace=namespace,
        trust_domain="localhost",
        certificate_signing_request=made_csr(),
        token_validator=SignCertificateRequest.INSECURE,
    )


@dataclass(frozen=True)
class Served:
    """A whole application on loopback."""

    application: app.Application
    credentials: Path
    scope: trio.CancelScope

    def authority(self) -> Authority:
        return Authority(
            host="127.0.0.1",
            port=self.application.grpc_port,
            trust_anchors=(self.credentials / "ca.crt").read_bytes(),
            spiffe_id="spiffe://localhost/ns/default/dapr-sentry",
        )

    async def obtain(self, app_id: str = "myapp", *, namespace: str = "default") -> Obtained:
        """A workload certificate, by grpclib's client in a thread."""
        asked = partial(obtain, self.authority(), Workload(app_id=app_id, namespace=namespace))
        return await trio.to_thread.run_sync(asked)

    async def get(self, path: str, *, port: int | None = None) -> tuple[int, str]:
        """An HTTP GET of the health server, or of another port; status and body."""
        port = port or self.application.health_port
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        async with stream:
            await stream.send_all(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
            answer = b"".join([part async for part in stream])
        head, _, body = answer.partition(b"\r\n\r\n")
        return int(head.split()[1]), body.decode()


@asynccontextmanager
async def serving(
    credentials: Path,
    *flags: str,
    environ: Mapping[str, str] | None = None,
    now: Callable[[], datetime] = wall_clock,
) -> AsyncIterator[Served]:
    """Serves a standalone authority whose credentials are in the directory given, until the block is left."""
    options = parse_options(["--mode", "standalone", "--issuer-credentials", str(credentials), *LOOPBACK, *flags], {})
    async with trio.open_nursery() as nursery:
        application = await nursery.start(partial(app.serve, options, environ=environ or {}, now=now))
        yield Served(application, credentials, nursery.cancel_scope)
        nursery.cancel_scope.cancel()

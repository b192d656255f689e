"""Requests a workload certificate from a certificate authority, as daprd does.

Uses asyncio, not Trio, for grpclib's channel: an established client, and an implementation independent of our server.
"""

import asyncio
import errno
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.x509.oid import NameOID
from grpclib.client import Channel
from grpclib.const import Status
from grpclib.exceptions import GRPCError, ProtocolError, StreamTerminatedError

from sentry_trio.ca.keys import KeyType, PrivateKey, generate_key, write_private_key
from sentry_trio.ca.parsing import parsing
from sentry_trio.discreet import Discreet
from sentry_trio.errors import SentryError
from sentry_trio.proto.sentry_grpc import CAStub
from sentry_trio.proto.sentry_pb2 import SignCertificateRequest, SignCertificateResponse
from sentry_trio.reasons import openssl_reason, reason_of

# As in daprd: number of attempts, seconds for each, and statuses after which it makes another one.
_ATTEMPTS: Final = 5
_ATTEMPT_TIMEOUT: Final = 3.0
_RETRIED: Final = frozenset({Status.RESOURCE_EXHAUSTED, Status.UNAVAILABLE, Status.DEADLINE_EXCEEDED})
# Seconds by which each pause is longer than the one before. daprd's pauses are all as long as the first one, but daprd
# waits for a connection without end. These give a server that starts half a second.
_PAUSE: Final = 0.05
# OpenSSL's X509_V_ERR_*: no certificate in the store signed the one that was shown.
_UNKNOWN_ISSUER: Final = frozenset({2, 18, 19, 20, 21})


class RequestFailedError(SentryError):
    """No certificate was obtained; the text has the reason."""


class Authority(msgspec.Struct, frozen=True, kw_only=True):
    """Address and identity of a certificate authority.

    Attributes:
        host: name or address.
        port: its gRPC port.
        trust_anchors: PEM as OpenSSL reads it; its serving certificate must verify against them.
        spiffe_id: the one URI that certificate must carry. Names are not compared, as daprd does not.
    """

    host: str
    port: int
    trust_anchors: bytes
    spiffe_id: str


class Workload(Discreet, frozen=True, kw_only=True):
    """Contents of a request.

    Attributes:
        app_id: the last segment of the SPIFFE ID.
        namespace: the segment before.
        trust_domain: empty for the authority's choice.
        token: token for the validator. Not shown by `repr`.
        validator: validator of the token; UNKNOWN for the authority's default.
        audiences: audiences of JWTs.
    """

    UNSHOWN = frozenset({"token"})

    app_id: str
    namespace: str
    trust_domain: str = ""
    token: str = ""
    validator: SignCertificateRequest.TokenValidator = SignCertificateRequest.UNKNOWN
    audiences: tuple[str, ...] = ()


class Obtained(msgspec.Struct, frozen=True, kw_only=True):
    """Contents of an answer, and the key.

    Attributes:
        key: the private key, PKCS #8 PEM; made here, never sent. Not shown by `repr`.
        chain: workload certificate and issuer chain, PEM.
        anchors: the trust anchors that the authority names, PEM.
        certificate: the workload certificate.
        spiffe_id: the identity that it carries.
        valid_until: end of its validity, UTC.
        jwt: the JWT issued beside it, for the trust domain and all audiences that were asked for; None if the
            authority issues none. Not shown by `repr`.
        audience_jwts: one more for each of these audiences alone. Not shown by `repr`.
    """

    key: bytes
    chain: bytes
    anchors: bytes
    certificate: x509.Certificate
    spiffe_id: str
    valid_until: datetime
    jwt: str | None
    audience_jwts: Mapping[str, str]

    def __repr__(self) -> str:
        return f"Obtained(spiffe_id={self.spiffe_id!r}, valid_until={self.valid_until:%Y-%m-%dT%H:%M:%SZ})"


def obtain(
    authority: Authority, workload: Workload, *, key_type: KeyType = KeyType.P256, attempts: int = _ATTEMPTS
) -> Obtained:
    """Makes a key and a CSR, requests a certificate, and checks the response. Blocks, for at most about 16 s.

    An attempt ends after 3 s. As in daprd, the next one is made only if the authority is busy or does not answer; a
    rejection is final. Unlike daprd, a failed connection counts as an attempt, and an unknown server is final.

    Args:
        authority: address of the authority, and its expected identity.
        workload: the identity that is requested.
        key_type: kind of the new key.
        attempts: maximum number of attempts; daprd's number by default.

    Raises:
        RequestFailedError: the authority cannot be reached, is not the expected one, rejects the request, or does not
            answer with a certificate for this key.
    """
    context = _client_context(authority.trust_anchors)
    key = generate_key(key_type)
    request = SignCertificateRequest(
        id=workload.app_id,
        namespace=workload.namespace,
        trust_domain=workload.trust_domain,
        token=workload.token,
        token_validator=workload.validator,
        jwt_audiences=workload.audiences,
        certificate_signing_request=_csr(key, workload.app_id),
    )
    with asyncio.Runner(loop_factory=_TidyLoop) as runner:
        response = runner.run(_ask(authority, context, request, attempts))
    return _checked(response, key)


class _TidyLoop(asyncio.SelectorEventLoop):
    """Closes the connections that were opened on it at once, with their sockets.

    grpclib's channel leaves them to a TLS close_notify that the end of the loop would cut short.
    """

    def __init__(self) -> None:
        super().__init__()
        self._opened: list[asyncio.Transport] = []

    async def create_connection(self, *args: Any, **keywords: Any) -> tuple[asyncio.Transport, Any]:
        """Opens a connection and remembers it."""
        transport, protocol = await super().create_connection(*args, **keywords)
        self._opened.append(transport)
        return transport, protocol

    def close(self) -> None:
        """Closes the connections, then the loop."""
        for transport in self._opened:
            transport.abort()
        # Two rounds: TLS notifies its socket, the socket its protocol.
        for _ in range(2):
            self.run_until_complete(asyncio.sleep(0))
        super().close()


def _client_context(trust_anchors: bytes) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # The SPIFFE ID names the authority; its certificate has no DNS name.
    context.check_hostname = False
    context.set_alpn_protocols(["h2"])
    try:
        context.load_verify_locations(cadata=trust_anchors.decode("ascii"))
    except (ssl.SSLError, ValueError) as error:
        # OpenSSL's own texts name its files and lines.
        raise RequestFailedError("the trust anchors are not PEM certificates") from error
    return context


def _csr(key: PrivateKey, app_id: str) -> bytes:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, app_id[:64])] if app_id else [])
    hashing = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    csr = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashing)
    return csr.public_bytes(serialization.Encoding.PEM)


async def _ask(
    authority: Authority, context: ssl.SSLContext, request: SignCertificateRequest, attempts: int
) -> SignCertificateResponse:
    where = f"{authority.host}:{authority.port}"
    failure: Exception = RequestFailedError(f"{where} did not answer")
    for attempt in range(attempts):
        await asyncio.sleep(_PAUSE * attempt)
        try:
            async with asyncio.timeout(_ATTEMPT_TIMEOUT):
                return await _ask_and_follow(authority, context, request)
        except GRPCError as error:
            status = error.status.name.title().replace("_", "")
            failure = RequestFailedError(f"{where} answered {status}: {error.message}")
            if error.status not in _RETRIED:
                raise failure from error
        except ssl.SSLCertVerificationError as error:
            raise RequestFailedError(
                f"the certificate of {where} does not verify against the trust anchors: {error.verify_message}"
                f"{_hint(error)}"
            ) from error
        except TimeoutError:
            failure = RequestFailedError(f"{where} did not answer within {_ATTEMPT_TIMEOUT:g} s")
        except OSError as error:
            failure = RequestFailedError(f"cannot reach {where}: {_reason(error)}")
        except (StreamTerminatedError, ProtocolError) as error:
            failure = RequestFailedError(f"cannot reach {where}: {error}")
    raise failure


def _hint(error: ssl.SSLCertVerificationError) -> str:
    of_another = error.verify_code in _UNKNOWN_ISSUER
    return "; do they belong to another certificate authority?" if of_another else ""


def _reason(error: OSError) -> str:
    """Returns the reason why a connection failed; asyncio's errors name the call and not the cause."""
    # With several addresses asyncio joins the texts of all errors into one that has no number.
    if error.errno == errno.ECONNREFUSED or f"[Errno {errno.ECONNREFUSED}]" in str(error):
        return "connection refused: is the CA running?"
    if isinstance(error, ssl.SSLError) and error.reason:
        return f"the TLS handshake failed ({openssl_reason(error)}): is this the gRPC port of the CA?"
    return reason_of(error) if str(error) else "the connection was closed"


async def _ask_and_follow(
    authority: Authority, context: ssl.SSLContext, request: SignCertificateRequest
) -> SignCertificateResponse:
    """Makes one attempt, on a second connection if the server closes the first one.

    A server that restarts sends GOAWAY, and clients have to reconnect (RFC 9113, section 6.8); grpclib leaves
    that to its caller. Signing twice does no harm.
    """
    try:
        return await _ask_once(authority, context, request)
    except (StreamTerminatedError, ProtocolError):
        return await _ask_once(authority, context, request)


async def _ask_once(
    authority: Authority, context: ssl.SSLContext, request: SignCertificateRequest
) -> SignCertificateResponse:
    async with (
        Channel(authority.host, authority.port, ssl=context) as channel,
        CAStub(channel).SignCertificate.open(timeout=_ATTEMPT_TIMEOUT) as stream,
    ):
        # Headers first: the token is sent only after the server's certificate has been checked.
        await stream.send_request()
        _check_peer(stream.peer.cert() if stream.peer else None, authority)
        await stream.send_message(request, end=True)
        response = await stream.recv_message()
    if response is None:
        raise RequestFailedError(f"{authority.host}:{authority.port} sent a response without a message")
    return response


def _check_peer(certificate: object, authority: Authority) -> None:
    names = certificate.get("subjectAltName", ()) if isinstance(certificate, dict) else ()
    uris = [value for kind, value in names if kind == "URI"]
    if uris != [authority.spiffe_id]:
        shown = " ".join(uris) or "a server without SPIFFE ID"
        raise RequestFailedError(
            f"{authority.host}:{authority.port} is {shown}, not {authority.spiffe_id}: "
            "check the address, or the authority's trust domain and namespace"
        )


def _checked(response: SignCertificateResponse, key: PrivateKey) -> Obtained:
    with parsing(lambda why: RequestFailedError(f"the response has no valid workload certificate: {why}")):
        certificate = x509.load_pem_x509_certificate(response.workload_certificate)
        ours = certificate.public_key() == key.public_key()
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        (spiffe_id,) = names.get_values_for_type(x509.UniformResourceIdentifier)
        valid_until = response.valid_until.ToDatetime(tzinfo=UTC)
    if not ours:
        raise RequestFailedError("the response has a certificate for a different key")
    return Obtained(
        key=write_private_key(key),
        chain=response.workload_certificate,
        anchors=b"".join(response.trust_chain_certificates),
        certificate=certificate,
        spiffe_id=spiffe_id,
        valid_until=valid_until,
        jwt=response.jwt.value if response.HasField("jwt") else None,
        audience_jwts={audience: token.value for audience, token in response.per_audience_jwts.items()},
    )

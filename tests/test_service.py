"""SignCertificate as a foreign client meets it: grpcio, over TLS whose chain is the authority's own."""

from base64 import encodebytes
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, cast

import grpc
import pytest
import trio
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from grpclib.exceptions import GRPCError

from sentry_trio.audit.decision import Decision, Recorder
from sentry_trio.ca.issue import IssuedCertificate, Issuer, WorkloadIdentity
from sentry_trio.ca.keys import KeyType, generate_key, public_key_info, write_private_key
from sentry_trio.ca.published import Jwts, PublishedKeys
from sentry_trio.ca.spiffe import SpiffeId
from sentry_trio.errors import ApiUnavailableError, JwtError, NotPermittedError, SigningError
from sentry_trio.grpc import serve_grpc, server_context
from sentry_trio.grpc.admission import Network
from sentry_trio.grpc.turn_scheduler import PRICE_SECONDS, SLICE, TURN_SECONDS, TurnScheduler
from sentry_trio.listener import open_listener
from sentry_trio.proto.sentry_grpc import CABase
from sentry_trio.proto.sentry_pb2 import SignCertificateRequest, SignCertificateResponse
from sentry_trio.service import CertificateService, Policy
from sentry_trio.telemetry.metrics import Metrics
from sentry_trio.validators import AuthenticatedCaller, Validators
from sentry_trio.validators.insecure import InsecureValidator
from testkit.authorities import SKEW, made_bundle, made_csr, wall_clock
from testkit.grpc.in_memory import InMemoryStream

INSECURE = SignCertificateRequest.INSECURE
STANDALONE = Validators(present={INSECURE: InsecureValidator()}, default=INSECURE)
NO_DEFAULT = Validators(present={INSECURE: InsecureValidator()}, default=None)
CSR = made_csr()
DER = x509.load_pem_x509_csr(CSR).public_bytes(serialization.Encoding.DER)


def pem(label: str, der: bytes) -> bytes:
    return b"-----BEGIN %b-----\n%b-----END %b-----\n" % (label.encode(), encodebytes(der), label.encode())


def forged() -> bytes:
    """A CSR whose signature is another's."""
    broken = bytearray(DER)
    broken[-1] ^= 1
    return pem("CERTIFICATE REQUEST", bytes(broken))


@dataclass
class Oracle:
    """A service and a grpcio client for it."""

    port: int
    anchors: bytes
    metrics: Metrics

    async def sign(self, **fields: Any) -> SignCertificateResponse:
        request = SignCertificateRequest(
            **{"id": "myapp", "namespace": "shop", "certificate_signing_request": CSR} | fields
        )

        def in_thread() -> SignCertificateResponse:
            credentials = grpc.ssl_channel_credentials(self.anchors)
            with grpc.secure_channel(
                f"localhost:{self.port}", credentials, options=[("grpc.enable_http_proxy", 0)]
            ) as channel:
                call = channel.unary_unary(
                    "/dapr.proto.sentry.v1.CA/SignCertificate",
                    request_serializer=lambda message: message.SerializeToString(),
                    response_deserializer=SignCertificateResponse.FromString,
                )
                return call(request, timeout=60)  # type: ignore[no-any-return]  # grpcio has no types

        return await trio.to_thread.run_sync(in_thread)

    async def refused(self, **fields: Any) -> tuple[str, str]:
        with pytest.raises(grpc.RpcError) as caught:
            await self.sign(**fields)
        return caught.value.code().name, caught.value.details()

    def counted(self, series: str) -> float:
        lines = self.metrics.exposition()[0].decode().splitlines()
        return next((float(line.rpartition(" ")[2]) for line in lines if line.startswith(series + " ")), 0.0)


@dataclass
class Clock:
    at: datetime

    def __call__(self) -> datetime:
        return self.at


def made_service(
    issuer: Issuer,
    validators: Validators = STANDALONE,
    *,
    metrics: Metrics | None = None,
    clock: Callable[[], datetime] = wall_clock,
    jwts: Jwts | None = None,
    recorder: Recorder | None = None,
) -> CertificateService:
    policy = Policy(
        lifetime=timedelta(hours=24), allowed_clock_skew=SKEW, namespace="default", cluster_domain=lambda: "localhost"
    )
    return CertificateService(
        issuer, validators, policy, metrics=metrics or Metrics(), now=clock, jwts=jwts, recorder=recorder
    )


@asynccontextmanager
async def oracle(
    *,
    validators: Validators = STANDALONE,
    issuer: Issuer | None = None,
    clock: Callable[[], datetime] = wall_clock,
    jwts: Jwts | None = None,
) -> AsyncIterator[Oracle]:
    issuer = issuer or Issuer(made_bundle())
    key = generate_key(KeyType.P256)
    # Like the authority's own certificate, but with the DNS name that grpcio insists on.
    own = issuer.issue(
        public_key_info(key.public_key()),
        WorkloadIdentity(SpiffeId.make("localhost", "default", "dapr-sentry"), dns_names=("localhost",)),
        lifetime=timedelta(hours=1),
        allowed_clock_skew=SKEW,
        now=wall_clock(),
    )
    context = server_context(own.pem, write_private_key(key))
    metrics = Metrics()
    service = made_service(issuer, validators, metrics=metrics, clock=clock, jwts=jwts)
    with await open_listener("127.0.0.1", 0) as listener:
        async with trio.open_nursery() as nursery:
            await nursery.start(partial(serve_grpc, [service], [listener], tls=lambda: context))
            yield Oracle(listener.getsockname()[1], issuer.bundle.anchors_pem, metrics)
            nursery.cancel_scope.cancel()


@pytest.fixture
async def standalone() -> AsyncIterator[Oracle]:
    async with oracle() as served:
        yield served


def test_it_is_the_service_that_the_protocol_names() -> None:
    service = made_service(Issuer(made_bundle()))
    ((path, handler),) = service.__mapping__().items()
    generated = CABase.__mapping__(cast("CABase", service))
    assert generated == {path: handler._replace(request_type=SignCertificateRequest)}


async def test_a_certificate_is_issued(standalone: Oracle) -> None:
    response = await standalone.sign(trust_domain="example.org")
    leaf, issuer = x509.load_pem_x509_certificates(response.workload_certificate)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["spiffe://example.org/ns/shop/myapp"]
    assert names.get_values_for_type(x509.DNSName) == []
    assert response.trust_chain_certificates == [standalone.anchors]
    assert response.valid_until.ToDatetime(tzinfo=UTC) == leaf.not_valid_after_utc
    leaf.verify_directly_issued_by(issuer)
    issuer.verify_directly_issued_by(x509.load_pem_x509_certificate(standalone.anchors))
    assert not response.HasField("jwt")
    assert standalone.counted("dapr_sentry_cert_sign_request_received_total") == 1
    assert standalone.counted("dapr_sentry_cert_sign_success_total") == 1
    for stage in ("parse", "validate", "sign", "encode"):
        assert standalone.counted(f'sentry_sign_stage_duration_seconds_count{{stage="{stage}"}}') == 1


async def test_without_a_trust_domain_it_is_public(standalone: Oracle) -> None:
    leaf = x509.load_pem_x509_certificate((await standalone.sign()).workload_certificate)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["spiffe://public/ns/shop/myapp"]


async def test_control_plane_services_are_given_dns_names(standalone: Oracle) -> None:
    response = await standalone.sign(id="dapr-injector", namespace="default")
    leaf = x509.load_pem_x509_certificate(response.workload_certificate)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["dapr-sidecar-injector.default.svc"]


CHARACTERS = "path segment characters are limited to letters, numbers, dots, dashes, and underscores"


class UnaskedValidator:
    """Must not be asked."""

    async def validate(self, request: SignCertificateRequest, network: Network) -> AuthenticatedCaller:
        raise AssertionError(request.id)


EMPTY: dict[str, Any] = {"id": "", "namespace": "", "certificate_signing_request": b""}
REFUSALS: list[tuple[dict[str, Any], str, str]] = [
    # validator
    (
        {"token_validator": SignCertificateRequest.KUBERNETES},
        "INVALID_ARGUMENT",
        "the requested validator is not enabled",
    ),
    ({"token_validator": SignCertificateRequest.JWKS}, "INVALID_ARGUMENT", "the requested validator is not enabled"),
    ({"token_validator": -1}, "INVALID_ARGUMENT", "the requested validator is not enabled"),
    ({"token_validator": 77}, "INVALID_ARGUMENT", "the requested validator is not enabled"),
    # what every validator asks
    ({"id": ""}, "PERMISSION_DENIED", "invalid request: parameter app-id cannot be empty"),
    ({"id": "my.app"}, "PERMISSION_DENIED", "invalid request: parameter app-id cannot contain dots"),
    ({"id": "a" * 65}, "PERMISSION_DENIED", "invalid request: app ID must be 64 characters or less"),
    ({"id": "ü" * 33}, "PERMISSION_DENIED", "invalid request: app ID must be 64 characters or less"),
    ({"certificate_signing_request": b""}, "PERMISSION_DENIED", "invalid request: CSR is required"),
    ({"namespace": ""}, "PERMISSION_DENIED", "invalid request: namespace is required"),
    (
        EMPTY,
        "PERMISSION_DENIED",
        "invalid request: parameter app-id cannot be empty\nCSR is required\nnamespace is required",
    ),
    (
        {"id": "." * 65},
        "PERMISSION_DENIED",
        "invalid request: parameter app-id cannot contain dots\napp ID must be 64 characters or less",
    ),
    (
        {"trust_domain": "Example.org"},
        "PERMISSION_DENIED",
        "trust domain characters are limited to lowercase letters, numbers, dots, dashes, and underscores",
    ),
    # CSR
    ({"certificate_signing_request": b"not PEM"}, "INVALID_ARGUMENT", "invalid certificate signing request"),
    (
        {"certificate_signing_request": pem("PUBLIC KEY", DER)},
        "INVALID_ARGUMENT",
        "invalid certificate signing request",
    ),
    ({"certificate_signing_request": forged()}, "INVALID_ARGUMENT", "invalid signature"),
    # identity: Internal in Dapr Sentry, the caller's fault here
    ({"id": "my app"}, "INVALID_ARGUMENT", f"app ID: {CHARACTERS}"),
    ({"namespace": "a/b"}, "INVALID_ARGUMENT", f"namespace: {CHARACTERS}"),
    ({"namespace": ".."}, "INVALID_ARGUMENT", "namespace: path cannot contain dot segments"),
]


@pytest.mark.parametrize(("fields", "code", "message"), REFUSALS, ids=lambda value: str(value)[:40])
async def test_refusals(standalone: Oracle, fields: dict[str, Any], code: str, message: str) -> None:
    assert await standalone.refused(**fields) == (code, message)
    assert standalone.counted("dapr_sentry_cert_sign_success_total") == 0


@pytest.mark.parametrize("der", [b"", b"\x30\x00", DER[:-1], DER + b"\0"], ids=["empty", "hollow", "cut", "trailing"])
async def test_a_csr_that_is_no_pkcs_10(standalone: Oracle, der: bytes) -> None:
    code, message = await standalone.refused(certificate_signing_request=pem("CERTIFICATE REQUEST", der))
    assert code == "INVALID_ARGUMENT"
    assert message.startswith("failed to parse certificate signing request: ")


async def test_legacy_clients_may_label_a_csr_as_certificate(standalone: Oracle) -> None:
    assert (await standalone.sign(certificate_signing_request=pem("CERTIFICATE", DER))).workload_certificate


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"id": "a" * 257}, "id has 257 bytes; at most 256 are accepted"),
        ({"token": "t" * 16_385}, "token has 16385 bytes; at most 16384 are accepted"),
        ({"certificate_signing_request": CSR + b"\n" * 16_384}, "certificate_signing_request has "),
        ({"jwt_audiences": [""] * 2_000_000}, "jwt_audiences has more than 16 values"),
    ],
    ids=["id", "token", "csr", "audiences"],
)
async def test_a_field_out_of_bounds_is_refused_before_a_validator_is_asked(
    fields: dict[str, Any], message: str
) -> None:
    async with oracle(validators=Validators(present={INSECURE: UnaskedValidator()}, default=INSECURE)) as served:
        code, text = await served.refused(**fields)
        assert code == "INVALID_ARGUMENT"
        assert text.startswith(message)
        assert served.counted('dapr_sentry_cert_sign_failure_total{reason="invalid_request"}') == 1


async def test_the_first_failing_step_decides(standalone: Oracle) -> None:
    everything = EMPTY | {"token_validator": SignCertificateRequest.JWKS, "trust_domain": "Example.org"}
    assert (await standalone.refused(**everything))[1] == "the requested validator is not enabled"
    assert (await standalone.refused(**EMPTY, trust_domain="Example.org"))[1].startswith("invalid request: ")
    bad_csr_and_id = {"id": "my app", "certificate_signing_request": b"x"}
    assert (await standalone.refused(**bad_csr_and_id))[1] == "invalid certificate signing request"


async def test_a_validator_must_be_named_where_there_is_no_default() -> None:
    async with oracle(validators=NO_DEFAULT) as served:
        expected = ("INVALID_ARGUMENT", "a validator name must be specified in this environment")
        assert await served.refused() == expected
        assert (await served.sign(token_validator=INSECURE)).workload_certificate


async def test_failures_are_counted_by_cause(standalone: Oracle) -> None:
    assert (await standalone.refused(id=""))[0] == "PERMISSION_DENIED"
    await standalone.refused(certificate_signing_request=forged())
    assert standalone.counted('dapr_sentry_cert_sign_failure_total{reason="invalid_request"}') == 1
    assert standalone.counted('dapr_sentry_cert_sign_failure_total{reason="invalid_csr"}') == 1
    assert standalone.counted("dapr_sentry_cert_sign_request_received_total") == 2


async def test_an_expired_issuer_signs_nothing() -> None:
    clock = Clock(wall_clock())
    async with oracle(clock=clock) as served:
        clock.at += timedelta(days=366)
        code, message = await served.refused()
        assert code == "FAILED_PRECONDITION"
        assert "expired" in message
        clock.at -= timedelta(days=366 * 2)
        code, message = await served.refused()
        assert code == "FAILED_PRECONDITION"
        assert "not valid" in message


async def test_certificates_end_no_later_than_their_issuer() -> None:
    bundle = made_bundle(lifetime=timedelta(hours=2))
    async with oracle(issuer=Issuer(bundle)) as served:
        response = await served.sign()
        assert response.valid_until.ToDatetime(tzinfo=UTC) == bundle.not_after


class BrokenIssuer(Issuer):
    """Signs its own certificate and then no more."""

    signed = 0

    def issue(self, *args: object, **keywords: object):  # type: ignore[no-untyped-def]
        self.signed += 1
        if self.signed > 1:
            raise SigningError("the signature does not verify: a secret of the operator's")
        return super().issue(*args, **keywords)  # type: ignore[arg-type]


async def test_a_failure_to_sign_is_internal_without_details() -> None:
    async with oracle(issuer=BrokenIssuer(made_bundle())) as served:
        assert await served.refused() == ("INTERNAL", "failed to sign certificate")
        assert served.counted('dapr_sentry_cert_sign_failure_total{reason="signing"}') == 1


class BrokenJwts:
    """Signs for no audience but those given."""

    published = PublishedKeys(b"", "ES256")
    signing_seconds = 0.0002

    def __init__(self, *audiences: str) -> None:
        self.audiences = set(audiences)

    def issue(self, subject: SpiffeId, audiences: Sequence[str], *, now: datetime, not_after: datetime) -> str:
        if not self.audiences.issuperset(audiences):
            raise JwtError("key 'x' cannot sign")
        return "a token"


@pytest.mark.parametrize(
    ("able", "message"),
    [
        ((), "failed to generate JWT: key 'x' cannot sign"),
        (("public", "a", "b"), None),
    ],
)
async def test_a_token_that_cannot_be_made_is_internal(able: tuple[str, ...], message: str | None) -> None:
    async with oracle(jwts=BrokenJwts(*able)) as served:
        if message is None:
            assert (await served.sign(jwt_audiences=["a", "b"])).per_audience_jwts["b"].value == "a token"
        else:
            assert await served.refused(jwt_audiences=["a", "b"]) == ("INTERNAL", message)
            assert served.counted('dapr_sentry_cert_sign_failure_total{reason="signing"}') == 1


class OneByOneJwts(BrokenJwts):
    """Signs for several at once and for the trust domain, but for no other audience alone."""

    def issue(self, subject: SpiffeId, audiences: Sequence[str], *, now: datetime, not_after: datetime) -> str:
        if len(audiences) == 1 and audiences != ["public"]:
            raise JwtError("empty token")
        return "a token"


async def test_a_token_for_one_audience_that_cannot_be_made_names_it() -> None:
    async with oracle(jwts=OneByOneJwts()) as served:
        refusal = ("INTERNAL", "failed to generate JWT for audience a: empty token")
        assert await served.refused(jwt_audiences=["a", "b"]) == refusal


class AwayValidator:
    """Cannot find out."""

    async def validate(self, request: SignCertificateRequest, network: Network) -> AuthenticatedCaller:
        raise ApiUnavailableError("token review failed: https://10.0.0.1: the operator's affair")


class NetworkValidator:
    """Rejects every caller by its network."""

    async def validate(self, request: SignCertificateRequest, network: Network) -> AuthenticatedCaller:
        raise NotPermittedError(f"network {network!r}")


async def test_validators_get_the_network_of_the_caller() -> None:
    async with oracle(validators=Validators(present={INSECURE: NetworkValidator()}, default=INSECURE)) as served:
        assert await served.refused() == ("PERMISSION_DENIED", "network '127.0.0.1'")


async def test_temporary_failures_are_unavailable() -> None:
    async with oracle(validators=Validators(present={INSECURE: AwayValidator()}, default=INSECURE)) as served:
        code, message = await served.refused()
        assert code == "UNAVAILABLE"
        assert message == "validator not ready: the Kubernetes API server cannot be asked now, try again"
        assert served.counted('dapr_sentry_cert_sign_failure_total{reason="validator_unavailable"}') == 1


async def test_ec_keys_of_another_curve_are_signed(standalone: Oracle) -> None:
    csr = made_csr(ec.generate_private_key(ec.SECP384R1()))
    leaf = x509.load_pem_x509_certificate((await standalone.sign(certificate_signing_request=csr)).workload_certificate)
    assert leaf.public_key() == x509.load_pem_x509_csr(csr).public_key()


def _signing_request(audiences: Sequence[str] = ()) -> SignCertificateRequest:
    return SignCertificateRequest(
        id="myapp", namespace="shop", certificate_signing_request=CSR, jwt_audiences=audiences
    )


class Signatures(trio.abc.Instrument):
    """Counts the signatures of each turn of the event loop; each takes a given time by its own clock."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.by_turn = [0]

    @property
    def now(self) -> float:
        return sum(self.by_turn) * self.seconds

    @property
    def most(self) -> float:
        """Signatures until a turn is full, and those for which it was reserved."""
        return (TURN_SECONDS + SLICE * PRICE_SECONDS) / self.seconds + 1

    def after_io_wait(self, timeout: float) -> None:
        self.by_turn.append(0)

    def sign(self) -> None:
        self.by_turn[-1] += 1


class CountedIssuer(Issuer):
    """Counts its signatures."""

    def __init__(self, signatures: Signatures) -> None:
        super().__init__(made_bundle())
        self._signatures = signatures

    @property
    def signing_seconds(self) -> float:
        return self._signatures.seconds

    def issue(self, *args: Any, **options: Any) -> IssuedCertificate:
        self._signatures.sign()
        return super().issue(*args, **options)


class CountedJwts(BrokenJwts):
    """Counts its signatures."""

    def __init__(self, signatures: Signatures) -> None:
        super().__init__()
        self.signing_seconds = signatures.seconds
        self._signatures = signatures

    def issue(self, subject: SpiffeId, audiences: Sequence[str], *, now: datetime, not_after: datetime) -> str:
        self._signatures.sign()
        return "a token"


async def _serve(
    service: CertificateService, request: SignCertificateRequest, signatures: Signatures, *, calls: int
) -> list[int]:
    """Serves calls that arrive at the same moment; returns the signatures made before each of them ended."""
    turns = TurnScheduler(lambda: signatures.now)
    ended: list[int] = []

    async def serve_one() -> None:
        await service.SignCertificate(InMemoryStream(request, turns))
        ended.append(sum(signatures.by_turn))

    trio.lowlevel.add_instrument(signatures)
    with turns.measured():
        async with trio.open_nursery() as nursery:
            for _ in range(calls):
                nursery.start_soon(serve_one)
    trio.lowlevel.remove_instrument(signatures)
    return ended


@pytest.mark.parametrize("seconds", [0.003, 0.0005])
async def test_calls_that_arrive_together_are_signed_in_several_turns(seconds: float) -> None:
    signatures = Signatures(seconds)
    service = made_service(CountedIssuer(signatures))
    await _serve(service, _signing_request(), signatures, calls=20)
    assert max(signatures.by_turn) <= signatures.most
    assert sum(signatures.by_turn) == 20


class ReservingStream(InMemoryStream):
    """Keeps the CPU time for which a turn is awaited."""

    reserved = 0.0

    async def wait_for_turn(self, seconds: float) -> None:
        self.reserved += seconds
        await super().wait_for_turn(seconds)


async def _reserved(csr: bytes) -> float:
    request = SignCertificateRequest(id="myapp", namespace="shop", certificate_signing_request=csr)
    stream = ReservingStream(request)
    await made_service(Issuer(made_bundle())).SignCertificate(stream)
    return stream.reserved


async def test_more_time_is_reserved_for_long_csrs() -> None:
    """The longest RSA keys take half a millisecond more than others, and so do hundreds of damaged blocks."""
    longest_key = (Path(__file__).parent / "ca" / "data" / "csrs" / "rsa-8192.csr").read_bytes()
    damaged = b"-----BEGIN -----\n-----END x\n" * 550
    usual = await _reserved(CSR)
    assert usual + 0.0002 < await _reserved(longest_key) < usual + 0.001
    assert usual + 0.001 < await _reserved(damaged + CSR)


class SharedAnswerValidator:
    """Rejects calls, all when a given number of them wait."""

    def __init__(self, calls: int) -> None:
        self._missing = calls
        self._answered = trio.Event()

    async def validate(self, request: SignCertificateRequest, network: Network) -> AuthenticatedCaller:
        self._missing -= 1
        if not self._missing:
            self._answered.set()
        await self._answered.wait()
        raise NotPermittedError("unknown key")


class CountedRejections(Recorder):
    """Counts the rejections of each turn, as if they were signatures."""

    def __init__(self, rejections: Signatures) -> None:
        self._rejections = rejections

    def record(self, decision: Decision) -> None:
        self._rejections.sign()


async def test_calls_that_wait_for_one_answer_are_rejected_in_several_turns() -> None:
    rejections = Signatures(seconds=0.0001)
    validators = Validators({INSECURE: SharedAnswerValidator(500)}, INSECURE)
    service = made_service(Issuer(made_bundle()), validators=validators, recorder=CountedRejections(rejections))

    async def rejected() -> None:
        with pytest.raises(GRPCError, match="unknown key"):
            await service.SignCertificate(InMemoryStream(_signing_request(), turns))

    turns = TurnScheduler(lambda: rejections.now)
    trio.lowlevel.add_instrument(rejections)
    with turns.measured():
        async with trio.open_nursery() as nursery:
            for _ in range(500):
                nursery.start_soon(rejected)
    trio.lowlevel.remove_instrument(rejections)
    assert max(rejections.by_turn) <= rejections.most
    assert sum(rejections.by_turn) == 500


@pytest.mark.parametrize("seconds", [0.003, 0.0005])
async def test_calls_for_many_audiences_sign_few_jwts_in_a_turn(seconds: float) -> None:
    signatures = Signatures(seconds)
    service = made_service(Issuer(made_bundle()), jwts=CountedJwts(signatures))
    request = _signing_request([f"audience-{number}" for number in range(16)])
    ended = await _serve(service, request, signatures, calls=20)
    assert max(signatures.by_turn) <= signatures.most
    assert sum(signatures.by_turn) == 20 * 18
    assert ended[4] < 3 / 4 * ended[-1], "calls end one by one, not all at once"

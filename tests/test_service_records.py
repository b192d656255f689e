"""Records of each SignCertificate request, and that a certificate leaves only once it is."""

from contextlib import suppress
from typing import Any

import pytest
import trio
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from msgspec.structs import replace

from sentry_trio.audit.decision import Decision, Recorder
from sentry_trio.ca.issue import Issuer
from sentry_trio.errors import AuditUnavailableError, NotPermittedError
from sentry_trio.grpc.admission import Network
from sentry_trio.proto.sentry_pb2 import SignCertificateRequest
from sentry_trio.telemetry.metrics import Metrics, SignFailure
from sentry_trio.validators import AuthenticatedCaller, Validators
from testkit.authorities import made_bundle
from testkit.grpc.in_memory import InMemoryStream
from testkit.log_capture import capture_logs
from tests.test_service import (
    CSR,
    INSECURE,
    NO_DEFAULT,
    AwayValidator,
    BrokenIssuer,
    Oracle,
    forged,
    made_service,
)


class Book(Recorder):
    """Keeps decisions as they were when they were recorded.

    Attributes:
        decisions: in their order.
        refuses: to take down that a certificate is issued.
        hangs: while it does.
    """

    def __init__(self, *, refuses: bool = False, hangs: bool = False) -> None:
        self.decisions: list[Decision] = []
        self._refuses = refuses
        self._hangs = hangs

    def record(self, decision: Decision) -> None:
        self.decisions.append(replace(decision))

    async def commit(self, decision: Decision) -> None:
        if self._hangs:
            await trio.sleep_forever()
        if self._refuses:
            raise AuditUnavailableError
        self.record(decision)


def request_with(**fields: Any) -> SignCertificateRequest:
    return SignCertificateRequest(**{"id": "myapp", "namespace": "shop", "certificate_signing_request": CSR} | fields)


async def decided(found: SignCertificateRequest | Exception, *, book: Book | None = None, **made: Any) -> Decision:
    """Record of the only request, which has no response unless a certificate is issued."""
    book = book or Book()
    metrics = Metrics()
    service = made_service(made.pop("issuer", None) or Issuer(made_bundle()), recorder=book, metrics=metrics, **made)
    stream = InMemoryStream(found)
    with suppress(GRPCError, RuntimeError):
        await service.SignCertificate(stream)
    (decision,) = book.decisions
    assert (decision.cause is None) == (stream.answer is not None)
    counted = Oracle(0, b"", metrics).counted
    if decision.cause is None:
        assert counted("dapr_sentry_cert_sign_success_total") == 1
    else:
        # Defects are counted where the server sees calls end.
        expected = 0 if decision.cause is SignFailure.INTERNAL else 1
        assert counted(f'dapr_sentry_cert_sign_failure_total{{reason="{decision.cause.value}"}}') == expected
    return decision


async def test_issued_certificates_are_recorded() -> None:
    decision = await decided(request_with(trust_domain="example.org"))
    assert decision.issued is not None
    assert (decision.caller, decision.validator, decision.cause) == (("192.0.2.1", 4711), INSECURE, None)
    assert str(decision.spiffe_id) == "spiffe://example.org/ns/shop/myapp"
    assert decision.request == request_with(trust_domain="example.org")


class PodValidator:
    """Knows a pod, and authenticates it or not."""

    def __init__(self, error: Exception | None = None) -> None:
        self._error = error

    async def validate(self, request: SignCertificateRequest, network: Network) -> AuthenticatedCaller:
        if self._error is not None:
            raise self._error
        return AuthenticatedCaller("public", pod_uid="uid-1")


def of_pods(error: Exception | None = None) -> Validators:
    kind = SignCertificateRequest.KUBERNETES
    return Validators(present={kind: PodValidator(error)}, default=kind)


async def test_the_pod_is_recorded_if_authenticated_and_if_not() -> None:
    decision = await decided(request_with(), validators=of_pods())
    assert (decision.cause is None, decision.pod_uid, decision.validator) == (
        True,
        "uid-1",
        SignCertificateRequest.KUBERNETES,
    )
    error = NotPermittedError("app-id mismatch")
    error.pod_uid = "uid-2"
    decision = await decided(request_with(), validators=of_pods(error))
    assert (decision.cause, decision.pod_uid) == (SignFailure.NOT_PERMITTED, "uid-2")


@pytest.mark.parametrize(
    ("found", "cause"),
    [
        (request_with(id="my.app"), SignFailure.INVALID_REQUEST),
        (request_with(id=""), SignFailure.INVALID_REQUEST),
        (request_with(id="a" * 65), SignFailure.INVALID_REQUEST),
        (request_with(trust_domain="A"), SignFailure.INVALID_REQUEST),
        (request_with(id="my app"), SignFailure.INVALID_REQUEST),
        (request_with(certificate_signing_request=forged()), SignFailure.INVALID_CSR),
        (request_with(token_validator=SignCertificateRequest.JWKS), SignFailure.VALIDATOR_NOT_ENABLED),
        (GRPCError(Status.INTERNAL, "cannot be read"), SignFailure.INVALID_REQUEST),
        (RuntimeError("a defect"), SignFailure.INTERNAL),
    ],
    ids=lambda value: getattr(value, "value", ""),
)
async def test_rejected_requests_are_recorded(found: SignCertificateRequest | Exception, cause: SignFailure) -> None:
    decision = await decided(found)
    assert decision.cause is cause
    assert decision.issued is None
    assert (decision.request is None) == isinstance(found, Exception)
    assert decision.validator == (
        None if cause is SignFailure.VALIDATOR_NOT_ENABLED or decision.request is None else INSECURE
    )


async def test_a_failure_to_sign_and_to_choose_are_recorded() -> None:
    assert (await decided(request_with(), validators=NO_DEFAULT)).cause is SignFailure.VALIDATOR_REQUIRED
    broken = BrokenIssuer(made_bundle())
    broken.signed = 1
    assert (await decided(request_with(), issuer=broken)).cause is SignFailure.SIGNING
    away = Validators(present={INSECURE: AwayValidator()}, default=INSECURE)
    assert (await decided(request_with(), validators=away)).cause is SignFailure.VALIDATOR_UNAVAILABLE


async def test_certificates_that_cannot_be_recorded_are_not_sent() -> None:
    book = Book(refuses=True)
    service = made_service(Issuer(made_bundle()), recorder=book)
    stream = InMemoryStream(request_with())
    with capture_logs() as lines, pytest.raises(GRPCError) as caught:
        await service.SignCertificate(stream)
    assert [(line["log_level"], line["event"]) for line in lines] == [
        ("error", "failed to sign certificate: the audit log cannot be written now, try again")
    ]
    assert caught.value.status is Status.UNAVAILABLE
    assert caught.value.message == "the audit log cannot be written now, try again"
    assert stream.answer is None
    assert [decision.cause for decision in book.decisions] == [SignFailure.AUDIT_UNAVAILABLE]


async def test_callers_that_leave_during_recording_are_recorded_as_cancelled(autojump_clock: trio.abc.Clock) -> None:
    book = Book(hangs=True)
    service = made_service(Issuer(made_bundle()), recorder=book)
    stream = InMemoryStream(request_with())
    with trio.move_on_after(3):
        await service.SignCertificate(stream)
    assert stream.answer is None
    (decision,) = book.decisions
    assert decision.cause is SignFailure.CANCELLED
    assert decision.issued is not None


async def test_each_call_has_a_name_of_its_own() -> None:
    book = Book()
    service = made_service(Issuer(made_bundle()), recorder=book)
    with capture_logs() as logged:
        for _ in range(2):
            await service.SignCertificate(InMemoryStream(request_with()))
        with suppress(GRPCError):
            await service.SignCertificate(InMemoryStream(request_with(id="")))
    assert [line["request"] for line in logged] == [decision.request_id for decision in book.decisions]
    assert len({decision.request_id for decision in book.decisions}) == 3

"""SignCertificate: choose a validator, authenticate the caller, read the CSR, sign, answer."""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime, timedelta
from functools import partial
from typing import Final, NamedTuple, TypeAlias, cast

import msgspec
from grpclib.const import Cardinality, Handler, Status
from grpclib.exceptions import GRPCError

from sentry_trio.audit.decision import Decision, Recorder
from sentry_trio.ca.csr import read_csr
from sentry_trio.ca.issue import IssuedCertificate, Issuer, WorkloadIdentity
from sentry_trio.ca.published import Jwts
from sentry_trio.ca.spiffe import SpiffeId, dns_names
from sentry_trio.errors import (
    ApiUnavailableError,
    AuditUnavailableError,
    InvalidCSRError,
    InvalidIdentityError,
    InvalidRequestError,
    IssuerNotValidError,
    JwtError,
    MalformedRequestError,
    NotPermittedError,
    SentryError,
    SigningError,
    ValidatorNotEnabledError,
    ValidatorNotReadyError,
    ValidatorRequiredError,
    entry_for,
)
from sentry_trio.grpc import ServerStream
from sentry_trio.proto.bounds import BoundedRequest
from sentry_trio.proto.sentry_pb2 import SignCertificateRequest, SignCertificateResponse
from sentry_trio.telemetry.logs import get_logger
from sentry_trio.telemetry.metrics import Metrics, SignFailure
from sentry_trio.validators import AuthenticatedCaller, Validators

_log: Final = get_logger("dapr.sentry.server")
_Stream: TypeAlias = ServerStream[SignCertificateRequest, SignCertificateResponse]

_CERTIFICATE_SECONDS: Final = 0.0004
"""Approximate CPU time of a certificate, beside the signature: mostly the check of the CSR."""
_CSR_OCTET_SECONDS: Final = 0.1e-6
"""As much more for each octet of the CSR: one with a long RSA key, or after hundreds of damaged ones, takes longer."""
_REJECTION_SECONDS: Final = 0.0001
"""Approximate CPU time of a rejection."""


class _Answer(NamedTuple):
    """Answer to an error: to the caller, in the metrics, and in the log.

    Attributes:
        status: gRPC status.
        reason: counted.
        text: sent to the caller in place of the error's own text, which may hold internals.
        is_fault: True if the operator has to act: the error is logged as an error, any other at debug.
    """

    status: Status
    reason: SignFailure
    text: str | None = None
    is_fault: bool = False


# The only place that maps errors to gRPC statuses. daprd repeats a request up to four times after Unavailable. After
# any other of these a sidecar that starts exits, and one that renews its certificate tries again after 10 s.
_ANSWERS: Final[dict[type[SentryError], _Answer]] = {
    ValidatorRequiredError: _Answer(Status.INVALID_ARGUMENT, SignFailure.VALIDATOR_REQUIRED),
    ValidatorNotEnabledError: _Answer(Status.INVALID_ARGUMENT, SignFailure.VALIDATOR_NOT_ENABLED),
    NotPermittedError: _Answer(Status.PERMISSION_DENIED, SignFailure.NOT_PERMITTED),
    MalformedRequestError: _Answer(Status.PERMISSION_DENIED, SignFailure.INVALID_REQUEST),
    ApiUnavailableError: _Answer(
        Status.UNAVAILABLE,
        SignFailure.VALIDATOR_UNAVAILABLE,
        "validator not ready: the Kubernetes API server cannot be asked now, try again",
    ),
    ValidatorNotReadyError: _Answer(Status.UNAVAILABLE, SignFailure.VALIDATOR_UNAVAILABLE),
    InvalidCSRError: _Answer(Status.INVALID_ARGUMENT, SignFailure.INVALID_CSR),
    InvalidIdentityError: _Answer(Status.INVALID_ARGUMENT, SignFailure.INVALID_REQUEST),
    InvalidRequestError: _Answer(Status.INVALID_ARGUMENT, SignFailure.INVALID_REQUEST),
    IssuerNotValidError: _Answer(Status.FAILED_PRECONDITION, SignFailure.ISSUER_NOT_VALID, is_fault=True),
    SigningError: _Answer(Status.INTERNAL, SignFailure.SIGNING, "failed to sign certificate", is_fault=True),
    JwtError: _Answer(Status.INTERNAL, SignFailure.SIGNING, is_fault=True),
    AuditUnavailableError: _Answer(Status.UNAVAILABLE, SignFailure.AUDIT_UNAVAILABLE, is_fault=True),
}


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """Rules for all certificates of a run.

    Attributes:
        lifetime: lifetime of a workload certificate, unless the issuer ends earlier.
        allowed_clock_skew: time before its issue at which its validity begins.
        namespace: the authority's own; control-plane services there are given DNS names.
        cluster_domain: returns the DNS domain that those names end in.
    """

    lifetime: timedelta
    allowed_clock_skew: timedelta
    namespace: str
    cluster_domain: Callable[[], str]


class CertificateService:
    """The gRPC service `dapr.proto.sentry.v1.CA`.

    Args:
        issuer: signs.
        validators: authenticate callers.
        policy: settings that are the same for all calls.
        metrics: counts every request.
        now: the wall clock.
        jwts: makes JWTs that go with certificates; None if they are off.
        recorder: records the decision.
        request_arrived: called for every request.
    """

    def __init__(
        self,
        issuer: Issuer,
        validators: Validators,
        policy: Policy,
        *,
        metrics: Metrics,
        now: Callable[[], datetime],
        jwts: Jwts | None = None,
        recorder: Recorder | None = None,
        request_arrived: Callable[[], None] = lambda: None,
    ) -> None:
        self._issuer = issuer
        self._validators = validators
        self._policy = policy
        self._metrics = metrics
        self._now = now
        self._jwts = jwts
        self._recorder = recorder or Recorder()
        self._request_arrived = request_arrived
        self._certificate_seconds = _CERTIFICATE_SECONDS + issuer.signing_seconds
        self._jwt_seconds = 0.0 if jwts is None else jwts.signing_seconds

    def __mapping__(self) -> Mapping[str, Handler]:
        """Maps the path to the handler, as the generated base class does; its module imports asyncio.

        The request type rejects a request out of bounds before it is parsed.
        """
        return {
            "/dapr.proto.sentry.v1.CA/SignCertificate": Handler(
                self.SignCertificate, Cardinality.UNARY_UNARY, BoundedRequest, SignCertificateResponse
            )
        }

    async def SignCertificate(self, stream: _Stream) -> None:  # noqa: N802  # the name on the wire
        """Answers one request; the first step that fails decides the status (Dapr Sentry 1.18's order and texts).

        Cancellation, by the caller's deadline or its leaving, ends it between two steps: nothing is signed half.

        Raises:
            GRPCError: the request is rejected.
        """
        self._metrics.csrs_received.inc()
        self._request_arrived()
        decision = Decision(stream.peer)
        with self._deciding(decision):
            response = await self._decide(stream, decision)
            await self._recorder.commit(decision)
        await stream.send_message(response)
        self._metrics.certificates_issued.inc()
        holder = decision.spiffe_id
        if decision.issued is not None and holder is not None:
            _log.debug(
                f"Successfully signed certificate for {holder.namespace}/{holder.app_id}",
                id=str(holder),
                not_after=decision.issued.not_after.isoformat(),
                request=decision.request_id,
            )

    async def _decide(self, stream: _Stream, decision: Decision) -> SignCertificateResponse:
        with self._metrics.stage("parse"):
            request = decision.request = cast("SignCertificateRequest", await stream.recv_message())
        try:
            with self._metrics.stage("validate"):
                decision.validator, validator = self._validators.choose(request.token_validator)
                caller = await validator.validate(request, stream.network)
        except SentryError:
            # Hundreds of calls may have waited for the same key set, review or object.
            await stream.wait_for_turn(_REJECTION_SECONDS)
            raise
        decision.pod_uid = caller.pod_uid
        audiences = [caller.trust_domain, *request.jwt_audiences]
        csr_seconds = len(request.certificate_signing_request) * _CSR_OCTET_SECONDS
        await stream.wait_for_turn(self._certificate_seconds + csr_seconds)
        with self._metrics.stage("sign"):
            issued, identity = self._issue(request, caller)
        decision.issued, decision.spiffe_id = issued, identity.spiffe_id
        with self._metrics.stage("encode"):
            response = self._response(issued)
        if self._jwts is not None:
            issue = partial(self._jwts.issue, identity.spiffe_id, now=self._now(), not_after=issued.not_after)
            await self._add_jwts(response, stream, issue, audiences)
            decision.jwts = 1 + len(response.per_audience_jwts)
        return response

    def _issue(
        self, request: SignCertificateRequest, caller: AuthenticatedCaller
    ) -> tuple[IssuedCertificate, WorkloadIdentity]:
        public_key_info = read_csr(request.certificate_signing_request)
        identity = WorkloadIdentity(
            spiffe_id=SpiffeId.make(caller.trust_domain, request.namespace, request.id),
            dns_names=dns_names(request.id, request.namespace, self._policy.namespace, self._policy.cluster_domain()),
            images=caller.images,
        )
        issued = self._issuer.issue(
            public_key_info,
            identity,
            lifetime=self._policy.lifetime,
            allowed_clock_skew=self._policy.allowed_clock_skew,
            now=self._now(),
        )
        return issued, identity

    def _response(self, issued: IssuedCertificate) -> SignCertificateResponse:
        response = SignCertificateResponse(
            workload_certificate=issued.pem, trust_chain_certificates=[self._issuer.bundle.anchors_pem]
        )
        response.valid_until.seconds = int(issued.not_after.timestamp())  # whole seconds, as X.509 has it
        return response

    async def _add_jwts(
        self,
        response: SignCertificateResponse,
        stream: _Stream,
        issue: Callable[[Sequence[str]], str],
        audiences: Sequence[str],
    ) -> None:
        """Adds one JWT for the trust domain and all requested audiences, and one for each of these alone.

        daprd looks up the trust domain's own token by its name, as in Dapr Sentry's map.
        """
        async with self._jwt_turn(stream, "JWT"):
            response.jwt.value = issue(audiences)
        for audience in dict.fromkeys(audiences):
            async with self._jwt_turn(stream, f"JWT for audience {audience}"):
                response.per_audience_jwts[audience].value = issue([audience])

    @asynccontextmanager
    async def _jwt_turn(self, stream: _Stream, what: str) -> AsyncIterator[None]:
        """Waits for a turn of the event loop that has room for a JWT; the block signs it.

        A call may ask for a signature for each of its audiences. If all calls under way did so in every turn, a turn
        would take as long as there are calls.
        """
        await stream.wait_for_turn(self._jwt_seconds)
        with self._metrics.stage("sign"), _naming(what):
            yield

    @contextmanager
    def _deciding(self, decision: Decision) -> Iterator[None]:
        """Maps errors to a status; counts, records and logs every failure."""
        try:
            yield
        except tuple(_ANSWERS) as error:
            raise self._rejection(error, decision) from error
        except GRPCError as error:
            # The request could not be read.
            self._failed(decision, SignFailure.INVALID_REQUEST, error.status)
            raise
        except Exception:
            self._record(decision, SignFailure.INTERNAL)
            raise
        except BaseException:
            # trio.Cancelled, alone or in a group.
            self._record(decision, SignFailure.CANCELLED)
            raise

    def _rejection(self, error: SentryError, decision: Decision) -> GRPCError:
        answer = entry_for(_ANSWERS, error)
        if isinstance(error, NotPermittedError):
            decision.pod_uid = error.pod_uid
        self._failed(decision, answer.reason, answer.status)
        if answer.is_fault:
            _log.error(f"failed to sign certificate: {error}", request=decision.request_id)
        else:
            _log.debug(f"signing request rejected: {error}", reason=answer.reason.value, request=decision.request_id)
        return GRPCError(answer.status, answer.text or str(error))

    def _failed(self, decision: Decision, cause: SignFailure, status: Status) -> None:
        self._metrics.sign_failed(cause, status)
        self._record(decision, cause)

    def _record(self, decision: Decision, cause: SignFailure) -> None:
        """Records the failure; cancellations and defects are counted where calls end, within a handler or before."""
        decision.cause = cause
        self._recorder.record(decision)


@contextmanager
def _naming(what: str) -> Iterator[None]:
    """Dapr Sentry 1.18's texts for a token that could not be made."""
    try:
        yield
    except JwtError as error:
        raise JwtError(f"failed to generate {what}: {error}") from error

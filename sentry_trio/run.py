"""One run: prepared from the current configuration, then served in a nursery until it is replaced."""

import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import cached_property
from typing import Final

import msgspec
import trio

from sentry_trio.audit.decision import Recorder
from sentry_trio.ca.certificates import read_certificate
from sentry_trio.ca.expiry import ExpiryState
from sentry_trio.ca.issue import Issuer
from sentry_trio.ca.lineage import Link, lineage, serving_link
from sentry_trio.ca.published import PublishedKeys
from sentry_trio.ca.spiffe import SpiffeId
from sentry_trio.conditions import Conditions
from sentry_trio.environments.environment import Environment
from sentry_trio.environments.run_inputs import RunInputs
from sentry_trio.errors import IssuerNotValidError, SigningError, UnservableIssuerError
from sentry_trio.event_reasons import EventReason
from sentry_trio.grpc import Limits, serve_grpc
from sentry_trio.grpc.health import HealthService
from sentry_trio.grpc_metrics import ServerObserver
from sentry_trio.identity import ServingIdentity
from sentry_trio.reload import Changed
from sentry_trio.renewal_status import RenewalStatus
from sentry_trio.service import CertificateService, Policy
from sentry_trio.telemetry.logs import get_logger, shown_time
from sentry_trio.telemetry.metrics import Metrics
from sentry_trio.watchers.expiry import watch_expiry

_log: Final = get_logger("dapr.sentry")
_server_log: Final = get_logger("dapr.sentry.server")
_security_log: Final = get_logger("dapr.runtime.security")

# Health is reported for the server as a whole, and for the service that it offers.
_SERVED: Final = ("", "dapr.proto.sentry.v1.CA")


class RunContext(msgspec.Struct, frozen=True, kw_only=True):
    """Parts that outlive a run and that it needs.

    Attributes:
        identity: identity of the authority itself.
        limits: limits of the gRPC server.
        environment: source of a run's inputs.
        listeners: listening sockets of the gRPC server.
        metrics: metrics of all runs.
        now: returns the wall clock's time, aware.
        authority_serves: returns true if a run serves, this one or another.
        recorder: records decisions on requests.
        conditions: problems that last; `serving-certificate` is set while that cannot be renewed.
    """

    identity: SpiffeId
    limits: Limits
    environment: Environment
    listeners: Sequence[socket.socket]
    metrics: Metrics
    now: Callable[[], datetime]
    authority_serves: Callable[[], bool]
    recorder: Recorder = msgspec.field(default_factory=Recorder)
    conditions: Conditions = msgspec.field(default_factory=Conditions)


class Run:
    """A run that can sign: everything it needs was read, verified and tried before it was made; see `prepare_run`.

    Attributes:
        bundle: the trust bundle that it signs with.
        configuration: its settings.
        loaded_at: time at which the configuration was read.
        targets: further readiness targets: a serving certificate that is valid now, and the targets of its
            `RunInputs`.
    """

    def __init__(self, context: RunContext, inputs: RunInputs, changed: Changed) -> None:
        self.bundle = inputs.bundle
        self.loaded_at = context.now()
        self.configuration = inputs.configuration
        self._context = context
        self._inputs = inputs
        self._changed = changed
        configuration = inputs.configuration
        issuer = Issuer(inputs.bundle)
        # Signing its own certificate is the trial: an issuer that cannot do that never takes over.
        self._identity = ServingIdentity(
            issuer,
            context.identity,
            lifetime=configuration.workload_cert_ttl,
            allowed_clock_skew=configuration.allowed_clock_skew,
            now=context.now,
        )
        self.targets: Mapping[str, Callable[[], bool]] = {
            **inputs.targets,
            "serving-certificate": self._identity.is_valid,
        }
        self._health = HealthService()
        self._service = CertificateService(
            issuer,
            inputs.validators,
            Policy(
                lifetime=configuration.workload_cert_ttl,
                allowed_clock_skew=configuration.allowed_clock_skew,
                namespace=context.identity.namespace,
                cluster_domain=inputs.cluster_domain,
            ),
            metrics=context.metrics,
            now=context.now,
            jwts=inputs.jwts,
            recorder=context.recorder,
            request_arrived=inputs.request_arrived,
        )

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serves until cancelled; then closes its listeners, drains its connections, and ends.

        Args:
            task_status: started when connections are accepted.
        """
        around = self._context
        async with trio.open_nursery() as run:
            failing = around.conditions.condition("serving-certificate")
            run.start_soon(lambda: self._identity.keep_fresh(metrics=around.metrics, failing=failing))
            own_roots = self._inputs.own_roots
            run.start_soon(
                lambda: watch_expiry(self.bundle, now=around.now, report=self._report_expiry, own_roots=own_roots)
            )
            run.start_soon(self._inputs.watch, self._changed)
            await run.start(self._serve_grpc)
            run.start_soon(self._report_health)
            for name in self._inputs.validators.names:
                _log.info(f"Using validator '{name}'")
            for listener in around.listeners:
                _server_log.info(f"Running gRPC server on port {listener.getsockname()[1]}")
            task_status.started()

    @property
    def published(self) -> PublishedKeys | None:
        """Keys by which its tokens verify; None if it issues none."""
        jwts = self._inputs.jwts
        return None if jwts is None else jwts.published

    @property
    def certificates(self) -> tuple[Link, ...]:
        """Certificates in use: trust anchors, issuer chain down to the issuer, and its own certificate."""
        return (*self._lineage, serving_link(read_certificate(self._identity.certificate.der), self.bundle.issuer))

    @property
    def renewal(self) -> RenewalStatus | None:
        """State of CA renewal, as far as it is known."""
        return self._context.environment.renewal

    @cached_property
    def _lineage(self) -> tuple[Link, ...]:
        return lineage(self.bundle.anchors, self.bundle.chain, self._inputs.own_roots)

    async def _report_health(self) -> None:
        """Health in gRPC's own protocol: SERVING while the run serves; watchers then reconnect to the next run.

        While the run drains, health reports the authority and not the run: a restart makes nothing unhealthy.
        """
        self._set_serving(True)  # noqa: FBT003  # the value that is set
        try:
            await trio.sleep_forever()
        finally:
            _server_log.info("Shutting down gRPC server")
            self._set_serving(self._context.authority_serves())
            self._health.close()

    def _set_serving(self, serving: bool) -> None:  # noqa: FBT001  # the value that is set
        for name in _SERVED:
            self._health.set_serving(name, serving)

    def _report_expiry(self, states: Sequence[ExpiryState]) -> None:
        for state in states:
            if state.needs_attention:
                end = f"{state.not_after:%Y-%m-%dT%H:%M:%SZ}"
                message = f"{state.role} certificate {state.subject} is {state.state.value}: it ends at {end}"
                self._context.environment.notify(EventReason.EXPIRY_NEAR, message)
        self._context.metrics.watch_certificates(states)

    async def _serve_grpc(self, *, task_status: trio.TaskStatus[None]) -> None:
        around = self._context
        limits = around.limits
        around.metrics.grpc_connections_max.set(limits.connections)
        around.metrics.grpc_calls_waiting_max.set(limits.calls_waiting)
        await serve_grpc(
            [self._service, self._health],
            around.listeners,
            tls=lambda: self._identity.context,
            limits=limits,
            observer=ServerObserver(around.metrics, around.recorder.shed),
            task_status=task_status,
        )


async def prepare_run(context: RunContext, changed: Changed, *, may_generate: bool) -> Run:
    """Reads configuration and credentials again and prepares a run, or generates credentials if there are none.

    Args:
        context: parts that outlive the run.
        changed: awaited when inputs of the run have changed.
        may_generate: see `Environment.run_inputs`.

    Raises:
        SentryError: the run cannot be made: configuration or credentials are bad, or the issuer cannot sign.

    Cancellation: at once, but for a write of generated credentials, which is finished.
    """
    context.recorder.follow()
    inputs = await context.environment.run_inputs(may_generate=may_generate)
    bundle = inputs.bundle
    expiry = shown_time(bundle.issuer.not_after)
    _log.info(f"trust root bundle loaded. issuer cert expiry: {expiry}", fingerprint=bundle.fingerprint)
    _log.info("CA certificate key pair ready", fingerprint=bundle.fingerprint)
    _security_log.info("Fetching initial identity")
    with _trying(inputs):
        run = Run(context, inputs, changed)
    _security_log.info("Security is initialized successfully")
    return run


@contextmanager
def _trying(inputs: RunInputs) -> Iterator[None]:
    """Names the sources of a serving certificate that could not be issued.

    The configuration is named only if its lifetimes can be the reason.
    """
    try:
        yield
    except (IssuerNotValidError, SigningError) as error:
        sources = [inputs.chain_source]
        if not isinstance(error, IssuerNotValidError | UnservableIssuerError):
            sources.append(inputs.configuration_source)
        raise type(error)(f"failed to make the serving certificate: {error} ({', '.join(sources)})") from error

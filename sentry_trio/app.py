"""The composition root: what outlives a run, from the outside in."""

import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Final

import msgspec
import trio

from sentry_trio import __version__
from sentry_trio.audit.decision import Recorder
from sentry_trio.authority import CertificateAuthority
from sentry_trio.ca.published import PublishedKeys
from sentry_trio.ca.spiffe import parse_trust_domain
from sentry_trio.conditions import Conditions
from sentry_trio.environments import Environment, Notice
from sentry_trio.environments.standalone import open_standalone
from sentry_trio.errors import (
    ApiUnavailableError,
    InvalidBundleError,
    InvalidConfigurationError,
    InvalidIdentityError,
    InvalidOptionsError,
    InvalidValidatorError,
    IssuerNotValidError,
    SentryError,
    SigningError,
    StoreError,
)
from sentry_trio.lifetimes import outliving
from sentry_trio.listener import Address, open_listener
from sentry_trio.reload import Reload
from sentry_trio.run import Run, Surroundings, prepare_run
from sentry_trio.settings.options import Mode, Options
from sentry_trio.settings.values import format_duration
from sentry_trio.telemetry.logs import get_logger
from sentry_trio.telemetry.metrics import Metrics, RestartFailure
from sentry_trio.web.health import Health
from sentry_trio.web.metrics import metrics_handler
from sentry_trio.web.server import Handler, serve_http

Publish = Callable[[PublishedKeys | None], None]
"""Told what tokens verify with from now on."""

_log: Final = get_logger("dapr.sentry")

_EVERY_INTERFACE: Final = ("0.0.0.0", "::")  # noqa: S104  # compared, not bound
# Ready while a run serves; a restart does not touch them.
_TARGETS: Final = ("security-provider", "sentry-server")
_CAUSES: Final[Mapping[type[SentryError], RestartFailure]] = {
    StoreError: RestartFailure.STORE,
    ApiUnavailableError: RestartFailure.STORE,
    InvalidBundleError: RestartFailure.BUNDLE,
    InvalidValidatorError: RestartFailure.VALIDATOR,
    InvalidConfigurationError: RestartFailure.CONFIGURATION,
    IssuerNotValidError: RestartFailure.SERVER_CERTIFICATE,
    SigningError: RestartFailure.SERVER_CERTIFICATE,
}


def _wall_clock() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Application:
    """What can be asked of a certificate authority that serves.

    Attributes:
        authority: restarts and stops.
        grpc_port: where CSRs are answered.
        health_port: where `/healthz`, `/readyz` and `/livez` are answered.
        metrics_port: where Prometheus scrapes; None with metrics off.
        oidc_port: where discovery and key set are told; None with OIDC off.
    """

    authority: CertificateAuthority[Run]
    grpc_port: int
    health_port: int
    metrics_port: int | None
    oidc_port: int | None


async def serve(
    options: Options,
    *,
    environ: Mapping[str, str] | None = None,
    now: Callable[[], datetime] = _wall_clock,
    task_status: trio.TaskStatus[Application] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serves a certificate authority until cancelled: `trio.run(sentry_trio.serve, options)`.

    From the outside in: health and metrics over HTTP, which answer from before the first run until after the last; the
    listening sockets of gRPC, bound once; the authority with its runs. They end in the opposite order, each after
    what stands inside it, so that health says "not ready" while calls drain.

    Logging is the caller's: see `sentry_trio.telemetry.logs.configure_logging`. So are signals.

    Args:
        options: see `sentry_trio.settings.options.parse_options`.
        environ: stands for `$NAME` in the configuration file; the process's environment if not given.
        now: the wall clock, aware.
        task_status: started when the first run serves, with what can be asked of it; also while the first run waits
            for a certificate to become valid, when `/readyz` answers 503.

    Raises:
        SentryError: in an exception group; what kept it from starting.

    Cancellation: graceful, and bounded by `options.drain_timeout` and a few seconds.
    """
    options = replace(options, trust_domain=_trust_domain(options))
    metrics = Metrics(now=now)
    ledger = _Ledger(metrics, options.mode, now)
    health = ledger.health
    async with AsyncExitStack() as outer:
        outer.enter_context(metrics.event_loop())
        health_port = await outer.enter_async_context(_health_server(options, health))
        metrics_port = await outer.enter_async_context(_metrics_server(options, metrics, health))
        ledger.publish, oidc_port = await outer.enter_async_context(_oidc(options, metrics, health))
        recorder = await outer.enter_async_context(
            _audit_log(options, os.environ if environ is None else environ, metrics, now)
        )
        environment = await outer.enter_async_context(
            _environment(options, os.environ if environ is None else environ, metrics, now, ledger.conditions)
        )
        ledger.tell = environment.tell
        listener = outer.enter_context(open_listener(options.listen_address, options.port, name=f"port {options.port}"))
        surroundings = Surroundings(
            options=options,
            environment=environment,
            listeners=[listener],
            metrics=metrics,
            now=now,
            authority_serves=lambda: ledger.serves,
            recorder=recorder,
            conditions=ledger.conditions,
        )

        authority = CertificateAuthority(
            partial(prepare_run, surroundings), ledger, watch_rejected=environment.watch_rejected, now=now
        )
        async with trio.open_nursery() as nursery:
            await nursery.start(authority.serve)
            task_status.started(
                Application(
                    authority,
                    grpc_port=listener.getsockname()[1],
                    health_port=health_port,
                    metrics_port=metrics_port,
                    oidc_port=oidc_port,
                )
            )


def _trust_domain(options: Options) -> str:
    """The name of the trust domain; `--trust-domain` may be any SPIFFE ID within it, as in Dapr Sentry."""
    try:
        return parse_trust_domain(options.trust_domain)
    except InvalidIdentityError as error:
        raise InvalidOptionsError(f"invalid --trust-domain {options.trust_domain!r}: {error}") from error


def _environment(
    options: Options,
    environ: Mapping[str, str],
    metrics: Metrics,
    now: Callable[[], datetime],
    conditions: Conditions,
) -> AbstractAsyncContextManager[Environment]:
    """Where this authority lives; of what only a cluster takes, nothing is imported elsewhere."""
    if options.mode is Mode.KUBERNETES:
        from sentry_trio.environments.kubernetes import open_kubernetes

        return open_kubernetes(options, environ, metrics=metrics, now=now, conditions=conditions)
    return open_standalone(options, environ, metrics=metrics, now=now)


@asynccontextmanager
async def _health_server(options: Options, health: Health) -> AsyncIterator[int]:
    """Serves health beside the block; yields the port."""
    address = (options.healthz_listen_address, options.healthz_port)
    async with _http(health, "healthz-server", health.answer, *address) as bound:
        _log.info(f"Healthz server is listening on {bound}")
        try:
            yield bound.port
        finally:
            _log.info("Healthz server is shutting down")


@asynccontextmanager
async def _metrics_server(options: Options, metrics: Metrics, health: Health) -> AsyncIterator[int | None]:
    """Serves metrics beside the block if they are enabled; yields the port."""
    if not options.enable_metrics:
        yield None
        return
    address = (options.metrics_listen_address, options.metrics_port)
    async with _http(health, "metrics-exporter", metrics_handler(metrics), *address) as bound:
        # Dapr Sentry binds every interface and logs no host.
        shown = Address("", bound.port) if bound.host in _EVERY_INTERFACE else bound
        _log.info(f"metrics server started on {shown}/")
        yield bound.port


@asynccontextmanager
async def _http(health: Health, target: str, handler: Handler, host: str, port: int) -> AsyncIterator[Address]:
    """Serves HTTP beside the block; yields the bound address."""
    async with outliving(partial(serve_http, handler, host=host, port=port)) as bound:
        with health.ready(target):
            yield bound


@asynccontextmanager
async def _oidc(options: Options, metrics: Metrics, health: Health) -> AsyncIterator[tuple[Publish, int | None]]:
    """Serves OIDC beside the block, if it is on; yields where to publish, and the port."""
    if not (options.oidc_enabled and options.jwt_enabled):
        _log.info("OIDC HTTP server is disabled")
        if options.oidc_enabled:
            _log.warning("--oidc-enabled has no effect without --jwt-enabled: there are no keys to publish")
        yield _to_nobody, None
        return
    from sentry_trio.oidc.server import OidcServer

    server = OidcServer(options, metrics=metrics, ready=health.target("oidc-server"))
    async with outliving(server.serve) as bound:
        yield server.publish, bound.port


@asynccontextmanager
async def _audit_log(
    options: Options, environ: Mapping[str, str], metrics: Metrics, now: Callable[[], datetime]
) -> AsyncIterator[Recorder]:
    """Keeps the audit log beside the block, if it is on."""
    if options.audit_log is None:
        yield Recorder()
        return
    from sentry_trio.audit.log import open_log

    log = await open_log(options.audit_log, required=options.audit_required, environ=environ, metrics=metrics, now=now)
    async with outliving(log.serve):
        yield log


class _Ledger:
    """Keeps health and metrics in step with the authority's runs."""

    def __init__(self, metrics: Metrics, mode: Mode, now: Callable[[], datetime]) -> None:
        self.present: Run | None = None
        self.conditions = Conditions(metrics.degraded)
        self.health = Health(detail=self.detail, conditions=self.targets)
        for target in _TARGETS:
            self.health.target(target).not_ready()
        self.tell: Callable[[Notice, str], None] = _to_nobody
        self.publish: Publish = _to_nobody
        self._metrics = metrics
        self._mode = mode
        self._now = now
        self._started_at = now()
        self._number = 0
        self._last_restart: str | None = None
        self._last_restart_at: datetime | None = None
        self._start = self.conditions.condition("start")
        self._restart = self.conditions.condition("restart")

    @property
    def serves(self) -> bool:
        return all(self.health.target(target).is_ready for target in _TARGETS)

    def waiting(self, error: SentryError, valid_from: datetime) -> None:
        self._delayed(error)
        _log.error(
            f"cannot serve yet, waiting for a certificate to become valid: {error}", valid_from=valid_from.isoformat()
        )

    def _delayed(self, error: SentryError) -> None:
        message = f"cannot serve yet: {error}"
        self._start.set(message)
        self.tell(Notice.RELOAD_FAILED, message)

    def serving(self, run: Run, number: int, reload: Reload | None) -> None:
        former, fingerprint = self.present, run.bundle.fingerprint
        if former is not None and former.bundle.fingerprint != fingerprint:
            self.tell(Notice.REPLACED, f"a changed trust bundle is in use: {fingerprint}")
        keys = run.published and run.published.fingerprint
        if former is not None and keys != (former.published and former.published.fingerprint):
            self.tell(Notice.JWT_KEYS_REPLACED, f"changed JWT keys are in use: {keys or 'none'}")
        if former is not None and reload is not None:
            _log.info(
                "reload succeeded",
                **_described(reload),
                run=number,
                bundle=fingerprint,
                previous_bundle=former.bundle.fingerprint,
                **({"jwks": keys} if keys else {}),
                workload_cert_ttl=format_duration(run.configuration.workload_cert_ttl),
                allowed_clock_skew=format_duration(run.configuration.allowed_clock_skew),
            )
        self.present, self._number = run, number
        self._start.clear()
        self._restart.clear()
        self.publish(run.published)
        self._metrics.run_started(number)
        self._metrics.bundle_in_use(fingerprint)
        if number > 1:
            self._last_restart, self._last_restart_at = "succeeded", self._now()
            self._metrics.restart_succeeded()
        for target in _TARGETS:
            self.health.target(target).ready()

    def reload_failed(self, error: SentryError, reload: Reload) -> None:
        if self.present is None:
            self._delayed(error)
            _log.error(f"still cannot serve: {error}", **_described(reload))
            return
        _log.error(
            f"reload failed, still running the previous configuration: {error}", **_described(reload), run=self._number
        )
        self._last_restart, self._last_restart_at = "failed", self._now()
        self._restart.set(str(error))
        self._metrics.restart_failed(_cause(error))
        self.tell(Notice.RELOAD_FAILED, f"reload failed, still running the previous configuration: {error}")

    def stopping(self) -> None:
        for target in _TARGETS:
            self.health.target(target).not_ready()

    def targets(self) -> Mapping[str, bool]:
        """What the present run waits for while it serves."""
        return {name: is_ready() for name, is_ready in self.present.targets.items()} if self.present else {}

    def detail(self) -> Mapping[str, object]:
        """What `?verbose` adds to the verdict; nothing of it is a secret, since anybody may ask."""
        present = self.present
        return {
            "version": __version__,
            "mode": self._mode.value,
            "started_at": self._started_at.isoformat(),
            "run": self._number,
            "bundle": present and present.bundle.fingerprint,
            "jwks": present and present.published and present.published.fingerprint,
            "loaded_at": present and present.loaded_at.isoformat(),
            "last_restart": self._last_restart,
            "last_restart_at": self._last_restart_at and self._last_restart_at.isoformat(),
            "degraded": self.conditions.summary,
            "conditions": dict(self.conditions.active),
            "certificates": msgspec.to_builtins(present.certificates) if present else [],
        }


def _described(reload: Reload) -> dict[str, object]:
    return {"cause": reload.cause, "duration_seconds": round(reload.seconds, 3)}


def _to_nobody(*_told: object) -> None:
    """Before there is somebody to tell."""


def _cause(error: SentryError) -> RestartFailure:
    for kind, cause in _CAUSES.items():
        if isinstance(error, kind):
            return cause
    return RestartFailure.INTERNAL

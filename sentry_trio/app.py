"""Composition root: the parts that outlive a run, outermost first."""

import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Final

import msgspec
import trio

from sentry_trio.audit.decision import Recorder
from sentry_trio.authority import CertificateAuthority
from sentry_trio.authority_state import AuthorityState, StateObserver
from sentry_trio.component_settings import environment_settings, grpc_limits, make_oidc_server
from sentry_trio.conditions import Conditions
from sentry_trio.environments.environment import Environment
from sentry_trio.environments.settings import EnvironmentSettings
from sentry_trio.environments.standalone import Standalone
from sentry_trio.lifetimes import outliving
from sentry_trio.listener import Address, open_listener
from sentry_trio.run import Run, RunContext, prepare_run
from sentry_trio.settings.options import Options
from sentry_trio.telemetry.logs import get_logger
from sentry_trio.telemetry.metrics import Metrics
from sentry_trio.web.health import Health
from sentry_trio.web.messages import Handler
from sentry_trio.web.metrics import metrics_handler
from sentry_trio.web.server import serve_http

if TYPE_CHECKING:
    from sentry_trio.oidc.server import OidcServer

_log: Final = get_logger("dapr.sentry")

_EVERY_INTERFACE: Final = ("0.0.0.0", "::")  # noqa: S104  # compared, not bound


def _wall_clock() -> datetime:
    return datetime.now(UTC)


class Application(msgspec.Struct, frozen=True):
    """A certificate authority that serves, or waits to serve.

    Attributes:
        authority: restarts and stops it.
        grpc_port: port of the gRPC server.
        health_port: port of `/healthz`, `/readyz` and `/livez`.
        metrics_port: port of the metrics; None if metrics are off.
        oidc_port: port of discovery and key set; None if OIDC is off.
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
    listening sockets of gRPC, bound once; the authority with its runs. They end in the opposite order, so that health
    reports "not ready" while calls drain.

    Logging and signals are the caller's.

    Args:
        options: see `parse_options` and `local_options`.
        environ: variables for `$NAME` in the configuration file; the process's environment if not given.
        now: the wall clock, aware.
        task_status: started with the application when the first run serves, or while it waits for a certificate to
            become valid; `/readyz` then answers 503.

    Raises:
        SentryError: in an exception group; the reason why it did not start.

    Cancellation: graceful, and bounded by `options.drain_timeout` and a few seconds.
    """
    settings, limits = environment_settings(options), grpc_limits(options)
    environ = os.environ if environ is None else environ
    metrics = Metrics(now=now)
    state = AuthorityState(options.mode.value, metrics, now)
    health = Health(detail=state.detail, conditions=state.targets)
    async with AsyncExitStack() as outer:
        outer.enter_context(metrics.event_loop())
        health_port = await outer.enter_async_context(_health_server(options, metrics, health))
        metrics_port = await outer.enter_async_context(_metrics_server(options, metrics, health))
        oidc = await outer.enter_async_context(_oidc_server(options, metrics, health))
        recorder = await outer.enter_async_context(_audit_log(options, environ, metrics, now))
        environment = await outer.enter_async_context(_environment(settings, environ, metrics, now, state.conditions))
        listener = outer.enter_context(
            await open_listener(options.listen_address, options.port, name=f"port {options.port}")
        )
        context = RunContext(
            identity=settings.identity,
            limits=limits,
            environment=environment,
            listeners=[listener],
            metrics=metrics,
            now=now,
            authority_serves=lambda: state.serves,
            recorder=recorder,
            conditions=state.conditions,
        )
        observer = StateObserver(
            state, metrics=metrics, notify=environment.notify, publish=oidc.publish if oidc else None, now=now
        )
        authority = CertificateAuthority(
            partial(prepare_run, context), observer, watch_rejected=environment.watch_rejected, now=now
        )
        async with trio.open_nursery() as nursery:
            await nursery.start(authority.serve)
            task_status.started(
                Application(
                    authority,
                    grpc_port=listener.getsockname()[1],
                    health_port=health_port,
                    metrics_port=metrics_port,
                    oidc_port=oidc.port if oidc else None,
                )
            )


@asynccontextmanager
async def running(
    options: Options, *, environ: Mapping[str, str] | None = None, now: Callable[[], datetime] = _wall_clock
) -> AsyncIterator[Application]:
    """Serves a certificate authority beside the block: `async with sentry_trio.running(options) as application:`.

    The block begins when the first run serves, or waits for a certificate to become valid. When the block ends, by
    itself, by an error or by a cancellation, the server drains and stops before the statement ends. If the server
    fails meanwhile, the block is cancelled.

    Logging and signals are the caller's, as with `serve`.

    Args:
        options: see `local_options`, which listens on loopback, and `parse_options`, which uses the given addresses.
        environ: variables for `$NAME` in the configuration file; the process's environment if not given.
        now: the wall clock, aware.

    Yields:
        The application: its ports, and the authority that restarts and stops it. After `authority.stop()` the
        block continues; health and metrics answer until it ends.

    Raises:
        SentryError: it cannot start; the block is not entered.
        BaseException: the block's own error, as it was raised.
        BaseExceptionGroup: several errors at once, such as one of the block and one of the server.

    Cancellation: while it starts, it stops at once. Later the block is cancelled first, and the server drains for at
    most `options.drain_timeout` and a few seconds.
    """
    try:
        async with outliving(partial(_serve_ungrouped, options, environ=environ, now=now)) as application:
            yield application
    except BaseExceptionGroup as group:
        # The nursery wraps even a single error; a group that the block raised stays one.
        failure = group.exceptions[0] if len(group.exceptions) == 1 else group
    else:
        return
    # Outside of the handler: the group must not become the error's context.
    raise failure


async def _serve_ungrouped(
    options: Options,
    *,
    environ: Mapping[str, str] | None,
    now: Callable[[], datetime],
    task_status: trio.TaskStatus[Application],
) -> None:
    """Serves; raises a single error without the groups of the nurseries that it has passed."""
    try:
        await serve(options, environ=environ, now=now, task_status=task_status)
    except BaseExceptionGroup as group:
        failure: BaseException = group
        while isinstance(failure, BaseExceptionGroup) and len(failure.exceptions) == 1:
            failure = failure.exceptions[0]
    else:
        return
    raise failure


def _environment(
    settings: EnvironmentSettings,
    environ: Mapping[str, str],
    metrics: Metrics,
    now: Callable[[], datetime],
    conditions: Conditions,
) -> AbstractAsyncContextManager[Environment]:
    """Opens the environment; modules for a cluster are imported only in Kubernetes mode."""
    if settings.cluster is not None:
        from sentry_trio.environments.kubernetes import open_kubernetes

        return open_kubernetes(settings, environ, metrics=metrics, now=now, conditions=conditions)
    return Standalone(settings, environ, metrics=metrics, now=now, conditions=conditions).open()


@asynccontextmanager
async def _health_server(options: Options, metrics: Metrics, health: Health) -> AsyncIterator[int]:
    """Serves health beside the block; yields the port."""
    address = Address(options.healthz_listen_address, options.healthz_port)
    evicted = partial(metrics.http_connection_evicted, "health")
    async with _http(health, "healthz-server", health.answer, address, evicted) as bound:
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
    address = Address(options.metrics_listen_address, options.metrics_port)
    evicted = partial(metrics.http_connection_evicted, "metrics")
    async with _http(health, "metrics-exporter", metrics_handler(metrics), address, evicted) as bound:
        # Dapr Sentry binds every interface and logs no host.
        shown = Address("", bound.port) if bound.host in _EVERY_INTERFACE else bound
        _log.info(f"metrics server started on {shown}/")
        yield bound.port


@asynccontextmanager
async def _http(
    health: Health, target: str, handler: Handler, address: Address, count_evicted: Callable[[], None]
) -> AsyncIterator[Address]:
    """Serves HTTP beside the block; yields the bound address."""
    serve = partial(serve_http, handler, host=address.host, port=address.port, count_evicted=count_evicted)
    async with outliving(serve) as bound:
        with health.ready(target):
            yield bound


@asynccontextmanager
async def _oidc_server(options: Options, metrics: Metrics, health: Health) -> AsyncIterator["OidcServer | None"]:
    """Serves OIDC beside the block, if it is enabled; yields the server."""
    if not (options.oidc_enabled and options.jwt_enabled):
        _log.info("OIDC HTTP server is disabled")
        if options.oidc_enabled:
            _log.warning("--oidc-enabled has no effect without --jwt-enabled: there are no keys to publish")
        yield None
        return
    server = make_oidc_server(options, metrics=metrics, ready=health.target("oidc-server"))
    async with outliving(server.serve):
        yield server


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

"""One run: prepared from what is configured now, then served in a nursery until it is replaced."""

import socket
import stat
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import trio

from sentry_trio.ca.bundle import StoredBundle, TrustBundle
from sentry_trio.ca.expiry import ExpiryState
from sentry_trio.ca.generate import generate
from sentry_trio.ca.issue import Issuer
from sentry_trio.ca.keys import KeyType
from sentry_trio.ca.spiffe import SpiffeId
from sentry_trio.ca.verify import verify
from sentry_trio.errors import (
    BundlePart,
    InvalidBundleError,
    InvalidIdentityError,
    InvalidOptionsError,
    IssuerNotValidError,
    SigningError,
    StoreError,
)
from sentry_trio.grpc import Limits, serve_grpc
from sentry_trio.grpc.health import HealthService
from sentry_trio.identity import APP_ID, ServingIdentity
from sentry_trio.observation import ServerObserver
from sentry_trio.proto.sentry_pb2 import SignCertificateRequest
from sentry_trio.service import CertificateService, Policy
from sentry_trio.settings.configuration import Configuration
from sentry_trio.settings.options import Options
from sentry_trio.stores.configuration import read_configuration
from sentry_trio.stores.disk import reason_of
from sentry_trio.stores.files import FileStore
from sentry_trio.telemetry.logs import get_logger
from sentry_trio.telemetry.metrics import CertificateExpiry, CertificateRole, Metrics
from sentry_trio.validators import Validators
from sentry_trio.validators.insecure import InsecureValidator
from sentry_trio.watchers.config import watch_config
from sentry_trio.watchers.content import ContentTracker
from sentry_trio.watchers.expiry import watch_expiry

_log: Final = get_logger("dapr.sentry")
_ca_log: Final = get_logger("dapr.sentry.ca")
_server_log: Final = get_logger("dapr.sentry.server")
_security_log: Final = get_logger("dapr.runtime.security")

# What health is told of: the server as a whole, and the service that it is there for.
_SERVED: Final = ("", "dapr.proto.sentry.v1.CA")


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What outlives every run.

    Attributes:
        options: the command line.
        environ: the environment, for names in the configuration file.
        listeners: listening sockets of the gRPC server.
        metrics: kept across runs.
        now: the wall clock, aware.
    """

    options: Options
    environ: Mapping[str, str]
    listeners: Sequence[socket.socket]
    metrics: Metrics
    now: Callable[[], datetime]


class Run:
    """A run that can sign: everything it needs was read, verified and tried before it was made; see `prepare_run`.

    Attributes:
        bundle: the trust bundle that it signs with.
        loaded_at: when that was read.
    """

    def __init__(
        self,
        surroundings: Surroundings,
        configuration: Configuration,
        bundle: TrustBundle,
        tracker: ContentTracker,
        changed: Callable[[], Awaitable[None]],
    ) -> None:
        self.bundle = bundle
        self.loaded_at = surroundings.now()
        self._surroundings = surroundings
        self._tracker = tracker
        self._changed = changed
        options = surroundings.options
        issuer = Issuer(bundle)
        # Signing its own certificate is the trial: an issuer that cannot do that never takes over.
        self._identity = ServingIdentity(
            issuer,
            _own_identity(options),
            lifetime=configuration.workload_cert_ttl,
            allowed_clock_skew=configuration.allowed_clock_skew,
            now=surroundings.now,
        )
        self._health = HealthService()
        self._service = CertificateService(
            issuer,
            _validators(),
            Policy(
                lifetime=configuration.workload_cert_ttl,
                allowed_clock_skew=configuration.allowed_clock_skew,
                namespace=options.namespace,
                cluster_domain=options.trust_domain,
            ),
            metrics=surroundings.metrics,
            now=surroundings.now,
        )

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serves until cancelled; then gives up its listeners, drains its connections, and ends.

        Args:
            task_status: started when connections are accepted.
        """
        around = self._surroundings
        async with trio.open_nursery() as run:
            run.start_soon(lambda: self._identity.keep_fresh(metrics=around.metrics))
            run.start_soon(lambda: watch_expiry(self.bundle, now=around.now, report=self._report_expiry))
            run.start_soon(lambda: watch_config(self._tracker, changed=self._files_changed))
            await run.start(self._serve_grpc)
            run.start_soon(self._tell_health)
            for listener in around.listeners:
                _server_log.info(f"Running gRPC server on port {listener.getsockname()[1]}")
            task_status.started()

    async def _tell_health(self) -> None:
        """By gRPC's own health protocol: serving until the run is cancelled; who watches is then sent to the next."""
        for name in _SERVED:
            self._health.set_serving(name, True)  # noqa: FBT003  # the value that is set
        try:
            await trio.sleep_forever()
        finally:
            for name in _SERVED:
                self._health.set_serving(name, False)  # noqa: FBT003  # the value that is set
            self._health.close()

    def _report_expiry(self, states: Sequence[ExpiryState]) -> None:
        self._surroundings.metrics.watch_certificates(
            CertificateExpiry(CertificateRole(state.role), state.subject, state.fingerprint, state.not_after)
            for state in states
        )

    async def _serve_grpc(self, *, task_status: trio.TaskStatus[None]) -> None:
        around = self._surroundings
        await serve_grpc(
            [self._service, self._health],
            around.listeners,
            tls=lambda: self._identity.context,
            limits=_limits(around.options),
            observer=ServerObserver(around.metrics),
            task_status=task_status,
        )

    async def _files_changed(self, paths: frozenset[Path]) -> None:
        _log.debug("Received issuer credentials changed signal", paths=sorted(map(str, paths)))
        self._surroundings.metrics.issuer_changed()
        _log.warning("Issuer credentials changed; reloading")
        await self._changed()


async def prepare_run(surroundings: Surroundings, changed: Callable[[], Awaitable[None]], *, may_generate: bool) -> Run:
    """Reads configuration and credentials anew and makes a run of them, or generates credentials where there are none.

    Args:
        surroundings: what outlives the run.
        changed: awaited when the files that the run was made from have other content.
        may_generate: whether an empty store is filled; only the first run of a process may do that, as an emptied one
            is a mistake that must not cost the authority its keys.

    Raises:
        SentryError: what keeps this run from being: configuration, credentials, or that the issuer cannot sign.

    Cancellation: at once, but for a write of generated credentials, which is finished.
    """
    options, now = surroundings.options, surroundings.now
    _own_identity(options)
    _check_directories(options)
    credentials = (options.issuer_ca_path, options.issuer_certificate_path, options.issuer_key_path)
    store = FileStore(*credentials)
    tls_files = (options.oidc_server_tls_cert_file, options.oidc_server_tls_key_file)
    # Before anything is read: what changes while it is read is then seen by the watcher.
    tracker = await ContentTracker.start([*credentials, Path(options.config), *filter(None, tls_files)])
    configuration = await read_configuration(options.config, surroundings.environ, required=options.config_given)
    _warn_of_ignored(configuration, options)
    _log.info("Adding validator 'insecure'")
    _ca_log.info("Using local file system for trust bundle storage")
    stored = await store.load()
    if stored is not None:
        _ca_log.info("Root and issuer certs found: using credentials from store")
        bundle = _verified(stored, options, now())
        tracker.accept(store.contents(stored))
    elif may_generate:
        _ca_log.info("Root and issuer certs not found: generating self signed CA")
        stored = generate(
            options.trust_domain,
            options.namespace,
            KeyType(options.ca_key_type),
            now=now(),
            allowed_clock_skew=configuration.allowed_clock_skew,
        )
        bundle = verify(stored, now())
        async with tracker.own_write(store.contents(stored)):
            await store.save(stored)
        surroundings.metrics.issuer_changed()
        _ca_log.info("Self-signed certs generated and persisted successfully")
    else:
        raise StoreError(
            f"the trust bundle is gone from {options.issuer_credentials}: none is generated in its place while one is "
            "in use; restore the files, or restart the process to begin with a new certificate authority"
        )
    _ca_log.info("CA certificate key pair ready", fingerprint=bundle.fingerprint)
    with _trying(options):
        run = Run(surroundings, configuration, bundle, tracker, changed)
    _security_log.info("Security is initialized successfully")
    return run


def _limits(options: Options) -> Limits:
    return Limits(
        connections=options.max_connections,
        connections_per_peer=options.max_connections_per_peer,
        calls=options.max_calls,
        idle_timeout=options.connection_idle_timeout.total_seconds(),
        age=options.connection_age.total_seconds(),
        drain_timeout=options.drain_timeout.total_seconds(),
    )


def _own_identity(options: Options) -> SpiffeId:
    try:
        return SpiffeId.make(options.trust_domain, options.namespace, APP_ID)
    except InvalidIdentityError as error:
        raise InvalidOptionsError(
            f"--trust-domain {options.trust_domain!r} and NAMESPACE {options.namespace!r} make no SPIFFE ID: {error}"
        ) from error


def _warn_of_ignored(configuration: Configuration, options: Options) -> None:
    """Says what an edit of the configuration cannot change: the flags decide, and flags take a new process."""
    named = configuration.control_plane_trust_domain
    if named not in {None, options.trust_domain}:
        _log.warning(
            f"{options.config}: spec.mtls.controlPlaneTrustDomain {named!r} has no effect, the trust domain is "
            f"{options.trust_domain!r}: change --trust-domain and start a new process"
        )


def _check_directories(options: Options) -> None:
    for directory in options.watched_directories:
        try:
            is_directory = stat.S_ISDIR(directory.stat().st_mode)
        except OSError as error:
            raise StoreError(f"failed to add target {directory}: {reason_of(error)}") from error
        if not is_directory:
            raise StoreError(f"failed to add target {directory}: not a directory")


def _verified(stored: StoredBundle, options: Options, now: datetime) -> TrustBundle:
    try:
        return verify(stored, now)
    except InvalidBundleError as error:
        files = {
            BundlePart.ANCHORS: options.issuer_ca_path,
            BundlePart.CHAIN: options.issuer_certificate_path,
            BundlePart.KEY: options.issuer_key_path,
        }
        at_fault = ", ".join(f"{part.value} {files[part]}" for part in error.parts)
        raise InvalidBundleError(f"{error} ({at_fault})", *error.parts) from error


@contextmanager
def _trying(options: Options) -> Iterator[None]:
    """Names what a serving certificate that could not be made was made from."""
    try:
        yield
    except (IssuerNotValidError, SigningError) as error:
        made_from = f"issuer chain {options.issuer_certificate_path}, configuration {options.config}"
        raise type(error)(f"failed to make the serving certificate: {error} ({made_from})") from error


def _validators() -> Validators:
    """Standalone mode without token validators: whoever asks is vouched for, by default (Dapr Sentry 1.18 likewise)."""
    insecure = SignCertificateRequest.INSECURE
    return Validators(present={insecure: InsecureValidator()}, default=insecure)

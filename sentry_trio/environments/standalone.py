"""Standalone mode: a trust bundle and a configuration in files, without anyone to ask who a caller is."""

import stat
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import trio

from sentry_trio.ca.bundle import StoredBundle, TrustBundle, verify
from sentry_trio.ca.generate import generate
from sentry_trio.ca.keys import KeyType
from sentry_trio.environments import Ingredients, Notice, names_to_sign, report_changes
from sentry_trio.environments.token_validators import Made, TokenValidators
from sentry_trio.errors import BundlePart, InvalidBundleError, StoreError
from sentry_trio.lifetimes import outliving
from sentry_trio.proto.sentry_pb2 import SignCertificateRequest
from sentry_trio.reload import Changed, ReloadCause, Trigger
from sentry_trio.settings.configuration import Configuration
from sentry_trio.settings.options import Options
from sentry_trio.stores.configuration import read_configuration
from sentry_trio.stores.disk import reason_of
from sentry_trio.stores.files import FileStore
from sentry_trio.stores.permissions import KeyPermissions
from sentry_trio.telemetry.logs import get_logger
from sentry_trio.telemetry.metrics import Metrics
from sentry_trio.validators import Validators
from sentry_trio.validators.insecure import InsecureValidator
from sentry_trio.watchers.config import watch_config
from sentry_trio.watchers.content import ContentTracker

if TYPE_CHECKING:
    from sentry_trio.environments.jwt import Opened
    from sentry_trio.environments.jwt_files import JwtFiles

_log: Final = get_logger("dapr.sentry")
_ca_log: Final = get_logger("dapr.sentry.ca")


@asynccontextmanager
async def open_standalone(
    options: Options, environ: Mapping[str, str], *, metrics: Metrics, now: Callable[[], datetime]
) -> AsyncIterator["Standalone"]:
    """Files on this machine, and what outlives the runs that are made of them; see `Standalone`.

    Cancellation: at once.
    """
    validators = TokenValidators(options, metrics=metrics, now=now)
    async with outliving(validators.keep):
        yield Standalone(options, environ, validators, metrics=metrics, now=now)


class Standalone:
    """Files on this machine.

    Args:
        options: name the files.
        environ: stands for `$NAME` in the configuration file.
        validators: makes those that a configuration asks for.
        metrics: told when the trust bundle changes.
        now: the wall clock, aware.
    """

    def __init__(
        self,
        options: Options,
        environ: Mapping[str, str],
        validators: TokenValidators,
        *,
        metrics: Metrics,
        now: Callable[[], datetime],
    ) -> None:
        self._options = options
        self._environ = environ
        self._validators = validators
        self._metrics = metrics
        self._now = now
        self._files = (options.issuer_ca_path, options.issuer_certificate_path, options.issuer_key_path)
        self._store = FileStore(*self._files)
        self._jwt = _jwt_files(options, metrics, now)
        self._permissions = KeyPermissions()
        self._jwt_paths = () if self._jwt is None else (options.jwt_key_path, options.jwks_path)
        self._read: tuple[ContentTracker, Configuration] | None = None

    def tell(self, notice: Notice, message: str) -> None:
        """Nobody: the log is all that there is here."""

    async def ingredients(self, *, may_generate: bool) -> Ingredients:
        """Reads the files anew, or generates a trust bundle where there is none; see `Environment`."""
        options = self._options
        _check_directories(options)
        # Before anything is read: what changes while it is read is then seen by the watcher.
        tracker = await ContentTracker.start([*self._files, *self._jwt_paths, Path(options.config)])
        configuration = await read_configuration(options.config, self._environ, required=options.config_given)
        made = await self._validators.make(configuration.jwks)
        _ca_log.info("Using local file system for trust bundle storage")
        stored = await self._store.load()
        if stored is not None:
            _ca_log.info("Root and issuer certs found: using credentials from store")
            tracker.accept(self._store.contents(stored))
            self._read = tracker, configuration
            bundle = self._verified(stored)
            await self._permissions.check(options.issuer_key_path, stored.key)
        elif may_generate:
            bundle = await self._generated(configuration, tracker)
        else:
            raise StoreError(
                f"the trust bundle is gone from {options.issuer_credentials}: none is generated in its place while one "
                "is in use; restore the files, or restart the process to begin with a new certificate authority"
            )
        jwts = None
        if self._jwt is not None:
            jwts = await self._jwt.open(configuration, tracker, may_generate=may_generate)
            await self._permissions.check(options.jwt_key_path, jwts.stored.key)
        return Ingredients(
            configuration=configuration,
            bundle=bundle,
            cluster_domain=lambda: self._options.trust_domain,
            jwts=None if jwts is None else jwts.issuer,
            validators=_validators(made),
            targets=made.targets,
            watch=partial(self._watch, tracker, configuration, jwts),
            chain_source=f"issuer chain {options.issuer_certificate_path}",
            configuration_source=f"configuration {options.config}",
        )

    async def watch_rejected(self, changed: Changed) -> None:
        """Watches the files that were read last; see `Environment`."""
        if self._read is not None:
            await self._watch(*self._read, None, changed)

    async def _generated(self, configuration: Configuration, tracker: ContentTracker) -> TrustBundle:
        _ca_log.info("Root and issuer certs not found: generating self signed CA")
        options = self._options
        stored = generate(
            options.trust_domain,
            options.namespace,
            KeyType(options.ca_key_type),
            now=self._now(),
            allowed_clock_skew=configuration.allowed_clock_skew,
        )
        bundle = verify(stored, self._now())
        _ca_log.info("Generating self-signed CA certs and persisting to store")
        async with tracker.own_write(self._store.contents(stored)):
            await self._store.save(stored)
        self._metrics.issuer_changed()
        _ca_log.info("Self-signed certs and JWT root key generated and persisted successfully")
        return bundle

    def _verified(self, stored: StoredBundle) -> TrustBundle:
        try:
            return verify(stored, self._now(), names_to_sign(self._options))
        except InvalidBundleError as error:
            parts = (BundlePart.ANCHORS, BundlePart.CHAIN, BundlePart.KEY)
            files = dict(zip(parts, self._files, strict=True))
            at_fault = ", ".join(f"{part.value} {files[part]}" for part in error.parts)
            raise InvalidBundleError(f"{error} ({at_fault})", *error.parts) from error

    async def _watch(
        self, tracker: ContentTracker, configuration: Configuration, jwts: "Opened | None", changed: Changed
    ) -> None:
        async def files_changed(paths: frozenset[Path]) -> None:
            causes = self._causes(paths)
            report_changes(self._metrics, *causes)
            await changed(*causes)

        directories = sorted({str(path.parent) for path in tracker.paths})
        _log.info(f"Starting watch on filesystem directories: [{' '.join(directories)}]")
        with self._validators.in_use(configuration.jwks):
            async with trio.open_nursery() as watching:
                if jwts is not None:
                    watching.start_soon(jwts.rotate, changed)
                await watch_config(tracker, changed=files_changed)

    def _causes(self, changed: frozenset[Path]) -> list[ReloadCause]:
        groups = {
            Trigger.TRUST_BUNDLE: self._files,
            Trigger.JWT_KEY: self._jwt_paths,
            Trigger.CONFIGURATION: (Path(self._options.config),),
        }
        return [
            ReloadCause(trigger, tuple(str(path) for path in paths if path in changed))
            for trigger, paths in groups.items()
            if not changed.isdisjoint(paths)
        ]


def _jwt_files(options: Options, metrics: Metrics, now: Callable[[], datetime]) -> "JwtFiles | None":
    if not options.jwt_enabled:
        return None
    from sentry_trio.environments.jwt_files import JwtFiles

    return JwtFiles(options, metrics=metrics, now=now)


def _check_directories(options: Options) -> None:
    for directory in options.required_directories:
        try:
            is_directory = stat.S_ISDIR(directory.stat().st_mode)
        except OSError as error:
            raise StoreError(f"failed to add target {directory}: {reason_of(error)}") from error
        if not is_directory:
            raise StoreError(f"failed to add target {directory}: not a directory")


def _validators(made: Made) -> Validators:
    """Without token validators whoever asks is vouched for, by default; with them, each caller has to name one.

    Dapr Sentry 1.18 likewise.
    """
    if made.validators:
        return Validators(present=made.validators, default=None)
    _log.info("Adding validator 'insecure'")
    insecure = SignCertificateRequest.INSECURE
    return Validators(present={insecure: InsecureValidator()}, default=insecure)

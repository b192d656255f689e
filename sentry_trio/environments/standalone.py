"""Standalone mode: trust bundle and configuration in files; all callers are accepted if no validator is configured."""

import stat
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final

import trio

from sentry_trio.ca.parts import BUNDLE_AND_RENEWAL, JWT_KEYS, ROOT_KEYS, Changes, Parts
from sentry_trio.conditions import Conditions
from sentry_trio.environments.clocks import ClockGuard
from sentry_trio.environments.environment import Environment
from sentry_trio.environments.run_inputs import Sources, causes_of
from sentry_trio.environments.settings import EnvironmentSettings
from sentry_trio.environments.token_validators import Made
from sentry_trio.environments.workloads import Workloads
from sentry_trio.errors import InvalidConfigurationError, Part, StoreError
from sentry_trio.event_reasons import EventReason
from sentry_trio.proto.sentry_pb2 import SignCertificateRequest
from sentry_trio.reload import Changed, ReloadCause, Trigger
from sentry_trio.settings.configuration import Configuration
from sentry_trio.stores.atomic_files import FileOperations, os_reason
from sentry_trio.stores.directory import DirectoryStore
from sentry_trio.stores.permissions import KeyPermissions
from sentry_trio.telemetry.logs import get_logger
from sentry_trio.telemetry.metrics import Metrics
from sentry_trio.validators import Validators
from sentry_trio.validators.insecure import InsecureValidator
from sentry_trio.watchers.config import watch_config
from sentry_trio.watchers.content import ContentTracker

_PRIVATE: Final = (Part.KEY, *ROOT_KEYS, Part.NEXT_KEY, Part.PREVIOUS_KEY, Part.REJECTED_KEY, Part.JWT_KEY)

_log: Final = get_logger("dapr.sentry")


class Standalone(Environment):
    """Environment of files on this machine.

    Args:
        settings: see `EnvironmentSettings`.
        environ: replaces `$NAME` in the configuration file.
        metrics: counts changes of the trust bundle.
        now: the wall clock, aware.
        conditions: reports of lasting problems.
    """

    _storage = "local file system"
    _restored = "the files"
    _has_replicas = False

    def __init__(
        self,
        settings: EnvironmentSettings,
        environ: Mapping[str, str],
        *,
        metrics: Metrics,
        now: Callable[[], datetime],
        conditions: Conditions,
    ) -> None:
        super().__init__(
            settings, workloads=Workloads(), clocks=ClockGuard(now), metrics=metrics, now=now, conditions=conditions
        )
        self._environ = environ
        self._store = DirectoryStore(settings.paths)
        self._permissions = KeyPermissions()
        self._configuration_source = f"configuration {settings.configuration}"

    def notify(self, reason: EventReason, message: str) -> None:
        """Does nothing: there is only the log here."""

    async def _open_sources(self) -> Sources:
        parts = (*BUNDLE_AND_RENEWAL, *(JWT_KEYS if self._settings.jwt is not None else ()))
        paths = [self._store.paths[part] for part in parts]
        _check_directories(paths)
        # Before anything is read: the watcher then sees changes during the read.
        tracker = await ContentTracker.start([*paths, Path(self._settings.configuration)])
        return Sources(_TrackedStore(self._store, tracker), partial(self._watch_files, tracker))

    async def _read_configuration(self) -> Configuration:
        settings = self._settings
        return await read_configuration(settings.configuration, self._environ, required=settings.needs_configuration)

    async def _accepted(self, stored: Parts, *, generated: bool) -> None:
        for part in _PRIVATE:
            if part in stored and not generated:
                await self._permissions.check(self._store.paths[part], stored[part])

    def _validators(self, added: Made) -> Validators:
        """Returns the insecure validator, or those that were added, of which each caller has to name one.

        Dapr Sentry 1.18 does the same.
        """
        if added.validators:
            return Validators(present=added.validators, default=None)
        _log.info("Adding validator 'insecure'")
        insecure = SignCertificateRequest.INSECURE
        return Validators(present={insecure: InsecureValidator()}, default=insecure)

    async def _cluster_domain(self) -> Callable[[], str]:
        return lambda: self._settings.identity.trust_domain

    async def _watch_files(
        self, tracker: ContentTracker, stored: Parts, configuration: Configuration, changed: Changed, *, in_use: bool
    ) -> None:
        del configuration, in_use
        # Later writes of others are reported, although the renewal of the run may read it first.
        tracker.accept({self._store.paths[part]: content for part, content in stored.items()})

        async def files_changed(paths: frozenset[Path]) -> None:
            await changed(*self._causes(paths))

        directories = sorted({str(path.parent) for path in tracker.paths})
        _log.info(f"Starting watch on filesystem directories: [{' '.join(directories)}]")
        await watch_config(tracker, changed=files_changed)

    def _causes(self, paths: frozenset[Path]) -> list[ReloadCause]:
        causes = causes_of([part for part, path in self._store.paths.items() if path in paths], self._store)
        if Path(self._settings.configuration) in paths:
            causes.append(ReloadCause(Trigger.CONFIGURATION, (self._settings.configuration,)))
        return causes


class _TrackedStore:
    """The store of one run, whose own writes are not reported by the watch of that run.

    Args:
        store: the files.
        tracker: has the known content of the files.
    """

    def __init__(self, store: DirectoryStore, tracker: ContentTracker) -> None:
        self._store = store
        self._tracker = tracker
        self.place = store.place
        self.locate = store.locate
        self.sources = store.sources
        self.read_only_reason = store.read_only_reason
        self.read = store.read
        self.read_bundle = store.read_bundle

    async def replace(self, changes: Changes, *, expected: Changes) -> bool:
        """See `DirectoryStore.replace`. The caller has to restart the run: its watch does not report this change."""
        async with self._tracker.own_write():
            done = await self._store.replace(changes, expected=expected)
            if done:
                self._tracker.accept({self._store.paths[part]: content for part, content in changes.items()})
        return done


def _check_directories(files: Iterable[Path]) -> None:
    """Checks the directories of files that are read or generated at start.

    Dapr Sentry requires those of the JWT files with JWT off, and those of the OIDC server's files, too.
    """
    for directory in dict.fromkeys(file.parent for file in files):
        try:
            is_directory = stat.S_ISDIR(directory.stat().st_mode)
        except OSError as error:
            raise StoreError(f"failed to add target {directory}: {os_reason(error)}") from error
        if not is_directory:
            raise StoreError(f"failed to add target {directory}: not a directory")


async def read_configuration(name: str, environ: Mapping[str, str], *, required: bool) -> Configuration:
    """Reads and validates the configuration file.

    Dapr Sentry 1.18 does not start without one, although its message mentions defaults; here they are used, and that
    is logged, if no file is configured.

    Args:
        name: path of the file.
        environ: values of `$NAME` in it.
        required: the operator has named it, so its absence is an error.

    Raises:
        InvalidConfigurationError: the file cannot be read or parsed; the text names it.
    """
    content = await trio.to_thread.run_sync(FileOperations().read, Path(name), abandon_on_cancel=True)
    if isinstance(content, bytes):
        # Only here: PyYAML takes 4 % of a start, and most of these processes have no configuration file.
        from sentry_trio.settings.configuration_document import parse_configuration

        # In a thread: the largest file allowed takes seconds, and a run is serving meanwhile.
        parse = partial(parse_configuration, content, environ, name=name)
        return await trio.to_thread.run_sync(parse, abandon_on_cancel=True)
    if content is None and not required:
        _log.info(f"no configuration file {name!r}: starting with defaults")
        return Configuration()
    if content is not None:
        raise InvalidConfigurationError(f'cannot read configuration "{name}": {content.reason}')
    raise InvalidConfigurationError(
        f'loading default config. couldn\'t find config name "{name}": stat {name}: no such file or directory'
    )

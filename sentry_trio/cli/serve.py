"""`sentry-trio serve`: options, logging and signals around the application."""

import os
import resource
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from typing import Final

import trio
from trio_util import AsyncValue

from sentry_trio import __version__, app
from sentry_trio.cli.garbage import collect_garbage
from sentry_trio.errors import InvalidBundleError, InvalidOptionsError, ListenError, SentryError, StoreError
from sentry_trio.reasons import leaves_of
from sentry_trio.reload import ReloadCause, Trigger
from sentry_trio.settings.command_line import parse_options
from sentry_trio.settings.flags import UsageError
from sentry_trio.settings.options import Options
from sentry_trio.telemetry.log_writer import LogFileError, LogWriter
from sentry_trio.telemetry.logs import capture_warnings, configure_logging, get_logger, instance_of, open_log

_log: Final = get_logger("dapr.sentry")
_signals_log: Final = get_logger("dapr.signals")
_FAILED, _USAGE = 1, 2
_DRAIN_TIMEOUT: Final = 1.0  # seconds for the lines before the last ones
# As Go spells them.
_SPELLINGS: Final[Mapping[int, str]] = {signal.SIGTERM: "terminated", signal.SIGINT: "interrupt"}


def run(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """Serves until a signal ends it; returns the exit code."""
    capture_warnings()
    with ExitStack() as logs:
        # Text on standard output until the options are read.
        log = logs.enter_context(open_log(None))
        _configure_logging(log, environ, level="info", as_json=False)
        try:
            options = parse_options(arguments, environ)
            if options.log_file is not None:
                log = logs.enter_context(open_log(options.log_file))
        except UsageError:
            raise  # explained on standard error, as by Dapr Sentry
        except LogFileError as error:
            _log.fatal(str(error))
            return _FAILED
        except InvalidOptionsError as error:
            _log.fatal(f"Invalid options: {error}")
            return _USAGE
        _configure_logging(log, environ, level=options.log_level, as_json=options.log_as_json)
        return _run(options, environ, log)


def _configure_logging(log: LogWriter, environ: Mapping[str, str], *, level: str, as_json: bool) -> None:
    configure_logging(level=level, as_json=as_json, stream=log, instance=instance_of(environ), version=__version__)


def _run(options: Options, environ: Mapping[str, str], log: LogWriter) -> int:
    _log.info(f"Starting Dapr Sentry certificate authority -- version {__version__} -- sentry-trio")
    _log.info(f"Log level set to: {options.log_level}")
    for warning in options.warnings:
        _log.warning(warning)
    _raise_descriptor_limit()
    try:
        trio.run(_serve, options, environ, log)
    except BaseExceptionGroup as group:
        # A full queue must not drop the lines with the reason.
        log.drain(_DRAIN_TIMEOUT)
        return _failed(group)
    _log.info("Sentry shut down gracefully")
    return 0


def _raise_descriptor_limit() -> None:
    """Raises the limit of open files as far as the system allows, as Go's runtime does: 1,024 are few connections."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Some systems name an infinite limit and grant less.
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def _serve(options: Options, environ: Mapping[str, str], log: LogWriter) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
        async with trio.open_nursery() as process:
            with trio.CancelScope() as serving:
                handler = _SignalHandler(signals, serving, log)
                process.start_soon(handler.run)
                async with trio.open_nursery() as nursery:
                    handler.application.value = await nursery.start(partial(app.serve, options, environ=environ))
                    process.start_soon(collect_garbage)
            process.cancel_scope.cancel()


class _SignalHandler:
    """Handles signals: SIGHUP restarts and reopens the log file; the first SIGTERM or SIGINT stops, the second exits.

    Attributes:
        application: the running application; None until it serves, and a restart requested earlier waits.
    """

    def __init__(self, signals: AsyncIterator[int], serving: trio.CancelScope, log: LogWriter) -> None:
        self.application = AsyncValue[app.Application | None](None)
        self._signals = signals
        self._serving = serving
        self._log = log

    async def run(self) -> None:
        """Handles signals until cancelled."""
        async with trio.open_nursery() as restarts:
            async for number in self._signals:
                if number == signal.SIGHUP:
                    self._log.reopen()
                    restarts.start_soon(self._restart)
                elif self._serving.cancel_called:
                    _signals_log.fatal(f"Received signal '{_SPELLINGS[number]}' during shutdown; exiting immediately")
                    self._log.drain(_DRAIN_TIMEOUT)
                    os._exit(1)
                else:
                    _signals_log.info(f"Received signal '{_SPELLINGS[number]}'; beginning shutdown")
                    self._serving.cancel()

    async def _restart(self) -> None:
        application = await self.application.wait_value(lambda value: value is not None)
        _signals_log.info("Received signal 'hangup'; restarting")
        # The reason of the failure has been logged.
        with suppress(SentryError):
            await application.authority.restart(ReloadCause(Trigger.SIGHUP))


def _failed(group: BaseExceptionGroup[BaseException]) -> int:
    """Logs each error that ended the process on one line; returns the exit code."""
    code = _FAILED
    for error in leaves_of(group):
        if isinstance(error, StoreError | InvalidBundleError):
            _log.fatal(f"error creating CA: failed to get CA bundle: {error}")
        elif isinstance(error, ListenError):
            _log.fatal(f"error running Sentry: {error}")
        elif isinstance(error, InvalidOptionsError):
            _log.fatal(f"Invalid options: {error}")
            code = _USAGE
        elif isinstance(error, SentryError):
            _log.fatal(str(error))
        else:
            _log.fatal(f"unexpected error: {error!r}", exc_info=error)
    return code

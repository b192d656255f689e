"""`sentry-trio status`: state of running authorities, for people and scripts."""

import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from datetime import UTC, datetime
from functools import partial
from io import TextIOWrapper
from pathlib import Path
from typing import Final

import trio
from msgspec.structs import replace
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from sentry_trio import __version__
from sentry_trio.cli.status_flags import EXAMPLES, OPTIONS, StatusOptions, parse
from sentry_trio.errors import InvalidConfigurationError
from sentry_trio.status.assess import Verdict, assess
from sentry_trio.status.collect import Files, StatusSources, collect, watch
from sentry_trio.status.json_report import json_report
from sentry_trio.status.render import Rendering
from sentry_trio.status.report import NotShown, Report
from sentry_trio.telemetry.logs import capture_warnings, configure_logging

__all__ = ["EXAMPLES", "OPTIONS", "run"]

_EXIT_CODES: Final[Mapping[Verdict, int]] = {Verdict.WELL: 0, Verdict.UNREACHABLE: 1, Verdict.ATTENTION: 3}
_INTERRUPTED: Final = 130  # as shells have it
_OWN_FILES: Final = Path(".sentry")  # where `make run` keeps them


def run(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """Shows the state once, or repeatedly; returns the exit code."""
    options = parse(arguments, environ)
    capture_warnings()
    if isinstance(sys.stdout, TextIOWrapper):
        # A subject may hold characters that the terminal's encoding lacks.
        sys.stdout.reconfigure(errors="backslashreplace")
    # Less severe lines of the Kubernetes client would disturb the display.
    configure_logging(level="error", as_json=False, stream=sys.stderr, instance="status", version=__version__)
    try:
        found = trio.run(_run, options, environ)
    except InvalidConfigurationError as error:
        print(f"sentry-trio status: {error}", file=sys.stderr)
        return _EXIT_CODES[Verdict.UNREACHABLE]
    if found is None:
        # A watch ends by an interrupt.
        return _INTERRUPTED if options.watch is None else 0
    return _show(found, as_json=options.json)


async def _run(options: StatusOptions, environ: Mapping[str, str]) -> Report | None:
    """Returns one report, or shows many; None if interrupted."""
    found: Report | None = None
    failure: InvalidConfigurationError | SystemExit | None = None
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_cancel_on_signal, signals, nursery.cancel_scope)
            try:
                async with _sources(options, environ) as sources:
                    once = partial(collect, sources, lambda: datetime.now(UTC))
                    if options.watch is None:
                        found = await once()
                    else:
                        with _screen() as show:
                            await watch(once, show, interval=options.watch)
            except (InvalidConfigurationError, SystemExit) as error:  # the latter is rich's, of a pipe that is closed
                failure = error
            nursery.cancel_scope.cancel()
    if failure is not None:
        # Not from within the nursery, which would wrap it in a group.
        raise failure
    return found


async def _cancel_on_signal(signals: AsyncIterator[int], scope: trio.CancelScope) -> None:
    async for _ in signals:
        scope.cancel()


# --- sources


@asynccontextmanager
async def _sources(options: StatusOptions, environ: Mapping[str, str]) -> AsyncIterator[StatusSources]:
    """Opens the sources of a report; a session of the Kubernetes API lasts as long as the block.

    Raises:
        InvalidConfigurationError: the Kubernetes API was requested, and there is no usable configuration for it.
    """
    sources = StatusSources(
        replicas=options.replicas, here=options.here, files=_files(options), timeout=options.timeout
    )
    if not (options.kubernetes or options.in_pod):
        yield sources
        return
    from sentry_trio.kube.session import open_session
    from sentry_trio.status.cluster import Cluster

    async with AsyncExitStack() as outer:
        try:
            session = await outer.enter_async_context(
                # A kubeconfig that was named is used in a pod, too.
                open_session(kubeconfig=options.kubeconfig, environ=environ if options.in_pod else {})
            )
        except InvalidConfigurationError as error:
            if options.kubernetes:
                raise
            yield replace(sources, cluster_missing=NotShown(str(error), asked=False))
            return
        cluster = Cluster(
            session,
            options.namespace,
            own_pod=environ.get("HOSTNAME", "") if options.in_pod else None,
            timeout=options.timeout,
            anchors_name=options.issuer_ca_filename,
            chain_name=options.issuer_certificate_filename,
        )
        yield replace(sources, cluster=cluster, files=None)


def _files(options: StatusOptions) -> Files | None:
    directory = options.issuer_credentials
    if directory is None and os.access(_OWN_FILES, os.X_OK):
        directory = _OWN_FILES
    if directory is None:
        return None
    return Files(
        directory / options.issuer_ca_filename,
        directory / options.issuer_certificate_filename,
        asked=options.issuer_credentials is not None,
    )


# --- showing


def _console() -> Console:
    return Console(highlight=False, markup=False, emoji=False)


def _show(report: Report, *, as_json: bool) -> int:
    assessment = assess(report)
    if as_json:
        _console().out(json.dumps(json_report(report, assessment), indent=2))
    else:
        _console().print(Rendering(report, assessment))
    return _EXIT_CODES[assessment.verdict]


@contextmanager
def _screen() -> Iterator[Callable[[Report], None]]:
    """Shows each report in place of the previous one (without a terminal, below it), and leaves the last verdict."""
    console = _console()
    if not console.is_terminal or console.is_dumb_terminal:
        yield lambda report: console.print(Rendering(report, assess(report)), Text())
        return
    last: list[Rendering] = []

    def show(report: Report) -> None:
        last[:] = [Rendering(report, assess(report), fit=True)]
        live.update(last[0], refresh=True)

    try:
        # A screen of its own: drawn over in place, more lines than there are rows would scroll the verdict away.
        with Live(
            console=console, screen=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
        ) as live:
            yield show
    finally:
        for rendering in last:
            console.print(Group(*rendering.head()))

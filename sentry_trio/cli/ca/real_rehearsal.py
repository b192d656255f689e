"""`sentry-trio ca rehearse --real`: a throw-away certificate authority renews itself while clients call it.

All of it is real but short-lived: a server on loopback with files in a temporary directory, certificates, time, and TLS
over TCP.
"""

import signal
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, NoReturn, TypeAlias

import trio

from sentry_trio.app import running
from sentry_trio.ca.certificates import read_certificates, write_certificates
from sentry_trio.ca.parts import Parts
from sentry_trio.ca.renewal_state import read_state
from sentry_trio.cli.ca.flags import CaOptions
from sentry_trio.cli.ca.overview import policy_of
from sentry_trio.cli.ca.places import Place, open_directory
from sentry_trio.cli.ca.rehearsal import REHEARSAL_DOMAIN, PhaseResult
from sentry_trio.cli.ca.rehearsal_clients import MARGIN, HandshakeCounts, RehearsalClient, RehearsalClients
from sentry_trio.errors import Part, SentryError
from sentry_trio.go_text import format_duration
from sentry_trio.renewal_status import Phase
from sentry_trio.settings.command_line import local_options
from sentry_trio.stores.atomic_files import os_reason

_LOOK: Final = 0.1  # s
_AFTER: Final = 2.0  # s for which clients call after the bridge has ended

Report: TypeAlias = Callable[[PhaseResult], None]


async def rehearse_in_real_time(options: CaOptions, report: Report) -> None:
    """Renews a certificate authority that serves, and lets clients of each generation call it and each other.

    The clients have the former root alone, both, the new root alone, or follow the published ones. After the bridge has
    ended, the first of them has to fail, which shows that the others could.

    Args:
        options: lifetime of the certificate authority, which is about the duration, and kind of its keys.
        report: called at the end of each phase.

    Raises:
        SentryError: the server cannot start, a phase does not begin, or a signal interrupts it.

    Cancellation: the server stops; its files, private keys among them, are removed.
    """
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_interrupt, signals)
            with _temporary_directory() as path:
                await _rehearse(path, options, report)
            nursery.cancel_scope.cancel()


async def _interrupt(signals: AsyncIterator[int]) -> NoReturn:
    number = await anext(signals)
    raise SentryError(f"interrupted by {signal.Signals(number).name}")


@contextmanager
def _temporary_directory() -> Iterator[Path]:
    try:
        directory = tempfile.TemporaryDirectory(prefix="sentry-trio-rehearsal-")
    except OSError as error:
        raise SentryError(f"cannot create a temporary directory: {os_reason(error)}") from error
    with directory as name:
        yield Path(name)


async def _rehearse(path: Path, options: CaOptions, report: Report) -> None:
    async with running(local_options(_flags(path, options)), environ={}) as application:
        rehearsal = _Rehearsal(open_directory(path, options), options, application.grpc_port, report)
        async with trio.open_nursery() as clients:
            await rehearsal.run(clients)
            clients.cancel_scope.cancel()


def _flags(path: Path, options: CaOptions) -> list[str]:
    """Returns a command line by which all phases take place within the lifetime."""
    lifetimes = f"{{workloadCertTTL: {format_duration(_leaf_lifetime(options.ttl))}, allowedClockSkew: 1s}}"
    configuration = path / "config.yaml"
    text = f"apiVersion: dapr.io/v1alpha1\nkind: Configuration\nspec: {{mtls: {lifetimes}}}\n"
    try:
        configuration.write_text(text)
    except OSError as error:
        raise SentryError(f"cannot write {configuration}: {os_reason(error)}") from error
    return [
        f"--issuer-credentials={path}",
        f"--config={configuration}",
        f"--trust-domain={REHEARSAL_DOMAIN}",
        f"--ca-key-type={options.ca_key_type.value}",
        f"--ca-ttl={format_duration(options.ttl)}",
        f"--trust-anchor-propagation-grace={format_duration(options.ttl / 30)}",
        "--port=0",
        "--healthz-port=0",
        "--enable-metrics=false",
    ]


def _leaf_lifetime(ttl: timedelta) -> timedelta:
    return max(timedelta(seconds=2), ttl / 15)


class _Rehearsal:
    """Phases of one renewal, and the clients in them.

    Args:
        place: the stored certificate authority.
        options: lifetimes.
        port: port of the server.
        report: called at the end of each phase.
    """

    def __init__(self, place: Place, options: CaOptions, port: int, report: Report) -> None:
        self._place = place
        self._options = options
        self._report = report
        self._clients = RehearsalClients(port, _leaf_lifetime(options.ttl))
        self._published = b""

    async def run(self, nursery: trio.Nursery) -> None:
        """Goes through all phases."""
        clients, former = self._clients, await self._look()
        end = read_certificates(former[Part.ANCHORS])[0].not_after
        deadline = time.monotonic() + (end - _now()).total_seconds()
        held = RehearsalClient("former root", lambda: former[Part.ANCHORS], until=end)
        nursery.start_soon(clients.call, held)
        nursery.start_soon(clients.call, RehearsalClient("published roots", lambda: self._published))
        with self._phase(Phase.STEADY.value):
            await self._wait(Phase.DISTRIBUTING, deadline)
        with self._phase(Phase.DISTRIBUTING.value):
            both = self._published
            nursery.start_soon(clients.call, RehearsalClient("both roots", lambda: both))
            await self._wait(Phase.SIGNING, deadline)
        with self._phase(Phase.SIGNING.value):
            await self._wait(Phase.RETIRING, deadline)
        with self._phase(Phase.RETIRING.value):
            # From now on, as certificates of the former issuer have no path to the new root.
            newest = write_certificates(read_certificates(both)[:1])
            nursery.start_soon(clients.call, RehearsalClient("new root", lambda: newest))
            await trio.sleep((end - _now()).total_seconds())
        with self._phase("after the bridge"):
            await trio.sleep(MARGIN.total_seconds())
            await self._check_cut_off(held)
            await trio.sleep(_AFTER)

    @contextmanager
    def _phase(self, name: str) -> Iterator[None]:
        """Counts the clients' handshakes in the block, and reports them."""
        began, counts = time.perf_counter(), HandshakeCounts()
        self._clients.counts = counts
        yield
        self._report(
            PhaseResult(
                name=name,
                handshakes=counts.handshakes,
                failures=tuple(dict.fromkeys(counts.failures)),
                milliseconds=(time.perf_counter() - began) * 1000,
            )
        )

    async def _look(self) -> Parts:
        stored = await self._place.read()
        self._published = stored[Part.ANCHORS]
        return stored

    async def _wait(self, phase: Phase, deadline: float) -> None:
        """Waits until a phase has begun.

        Raises:
            SentryError: the authority has expired before.
        """
        while True:
            stored = await self._look()
            if read_state(stored, policy_of(self._options, stored), _now(), is_published=True).phase is phase:
                return
            if time.monotonic() >= deadline:
                raise SentryError(f"the phase {phase.value} has not begun before the certificate authority expired")
            await trio.sleep(_LOOK)

    async def _check_cut_off(self, held: RehearsalClient) -> None:
        if await self._clients.request_failure(held) is None:
            self._clients.counts.failures.append(
                f"a client with the {held.name} still works, so the success of the others proves nothing"
            )
        self._clients.counts.handshakes += 1


def _now() -> datetime:
    return datetime.now(UTC)

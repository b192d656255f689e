"""`sentry-trio ca rehearse --real`: a throw-away certificate authority renews itself while clients call it.

All of it is real but short-lived: a server on loopback with files in a temporary directory, certificates, time, and TLS
over TCP.
"""

import ssl
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias

import trio

from sentry_trio.app import running
from sentry_trio.ca.certificates import read_certificates, write_certificates
from sentry_trio.ca.parts import Parts
from sentry_trio.ca.renewal_state import read_state
from sentry_trio.ca.spiffe import sentry_id
from sentry_trio.cli.ca.flags import CaOptions
from sentry_trio.cli.ca.overview import policy_of
from sentry_trio.cli.ca.places import Place, open_directory
from sentry_trio.cli.ca.rehearsal import REHEARSAL_DOMAIN, REHEARSAL_NAMESPACE, Leaf, PhaseResult, tls_context
from sentry_trio.client import Authority, Obtained, RequestFailedError, Workload, obtain
from sentry_trio.errors import Part, SentryError
from sentry_trio.go_text import format_duration
from sentry_trio.renewal_status import Phase
from sentry_trio.settings.command_line import local_options

_HOST: Final = "127.0.0.1"
_PAUSE: Final = 0.2  # s of each client between two rounds
_LOOK: Final = 0.1  # s
_MARGIN: Final = timedelta(seconds=1)  # before its end, in which no certificate is used
_TIMEOUT: Final = 10.0  # s of a handshake
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
        SentryError: the server cannot start, or a phase does not begin.
    """
    with tempfile.TemporaryDirectory(prefix="sentry-trio-rehearsal-") as directory:
        path = Path(directory)
        async with running(local_options(_flags(path, options)), environ={}) as application:
            place = open_directory(path, options)
            rehearsal = _Rehearsal(place, options, application.grpc_port, report)
            async with trio.open_nursery() as clients:
                await rehearsal.run(clients)
                clients.cancel_scope.cancel()


def _flags(path: Path, options: CaOptions) -> list[str]:
    """Returns a command line by which all phases take place within the lifetime."""
    lifetimes = f"{{workloadCertTTL: {format_duration(_leaf_lifetime(options.ttl))}, allowedClockSkew: 1s}}"
    configuration = path / "config.yaml"
    configuration.write_text(f"apiVersion: dapr.io/v1alpha1\nkind: Configuration\nspec: {{mtls: {lifetimes}}}\n")
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


@dataclass(slots=True)
class _Client:
    """Workload that requests certificates, and calls the other ones.

    Attributes:
        name: its trust anchors, for people.
        anchors: reads them.
        until: when they expire.
        leaf: its certificate; None before the first.
        server: TLS context as a server.
        client: TLS context as a client.
    """

    name: str
    anchors: Callable[[], bytes]
    until: datetime
    leaf: Obtained | None = None
    server: ssl.SSLContext | None = None
    client: ssl.SSLContext | None = None

    @property
    def end(self) -> datetime:
        """End of its certificate or its trust anchors."""
        return self.until if self.leaf is None else min(self.until, self.leaf.valid_until)

    def take(self, leaf: Obtained) -> None:
        """Uses a certificate from now on."""
        self.leaf, anchors = leaf, self.anchors()
        shown = Leaf(self.name, leaf.chain, leaf.key)
        self.server = tls_context(ssl.PROTOCOL_TLS_SERVER, shown, anchors)
        self.client = tls_context(ssl.PROTOCOL_TLS_CLIENT, shown, anchors)


@dataclass(slots=True)
class _Counts:
    """Handshakes of one phase, and those that failed."""

    handshakes: int = 0
    failures: list[str] = field(default_factory=list)


class _Rehearsal:
    """Phases of one renewal, and the clients in them.

    Args:
        place: the stored certificate authority.
        options: lifetimes.
        port: of the server.
        report: called at the end of each phase.
    """

    def __init__(self, place: Place, options: CaOptions, port: int, report: Report) -> None:
        self._place = place
        self._options = options
        self._port = port
        self._report = report
        self._leaf_lifetime = _leaf_lifetime(options.ttl)
        self._clients: list[_Client] = []
        self._counts = _Counts()
        self._published = b""

    async def run(self, nursery: trio.Nursery) -> None:
        """Goes through all phases."""
        former = await self._look()
        end = read_certificates(former[Part.ANCHORS])[0].not_after
        deadline = time.monotonic() + (end - _now()).total_seconds()
        held = _Client("former root", lambda: former[Part.ANCHORS], until=end)
        self._start(nursery, held)
        self._start(nursery, _Client("published roots", lambda: self._published, until=_end_of_time()))
        with self._phase(Phase.STEADY.value):
            await self._wait(Phase.DISTRIBUTING, deadline)
        with self._phase(Phase.DISTRIBUTING.value):
            both = self._published
            self._start(nursery, _Client("both roots", lambda: both, until=_end_of_time()))
            await self._wait(Phase.SIGNING, deadline)
        with self._phase(Phase.SIGNING.value):
            await self._wait(Phase.RETIRING, deadline)
        with self._phase(Phase.RETIRING.value):
            # From now on, as certificates of the former issuer have no path to the new root.
            newest = write_certificates(read_certificates(both)[:1])
            self._start(nursery, _Client("new root", lambda: newest, until=_end_of_time()))
            await trio.sleep((end - _now()).total_seconds())
        with self._phase("after the bridge"):
            await trio.sleep(_MARGIN.total_seconds())
            await self._check_cut_off(held)
            await trio.sleep(_AFTER)

    @contextmanager
    def _phase(self, name: str) -> Iterator[None]:
        """Counts what clients do in the block, and reports it."""
        began, counts = time.perf_counter(), _Counts()
        self._counts = counts
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

    async def _check_cut_off(self, held: _Client) -> None:
        if await self._why_not_issued(held) is None:
            self._counts.failures.append(
                f"a client with the {held.name} still works, so the success of the others proves nothing"
            )
        self._counts.handshakes += 1

    # --- clients

    def _start(self, nursery: trio.Nursery, client: _Client) -> None:
        nursery.start_soon(self._call, client)

    async def _call(self, client: _Client) -> None:
        """Requests a certificate and calls the other clients, again and again, until the trust anchors expire."""
        self._clients.append(client)
        while _now() + _MARGIN < client.until:
            self._count(await self._why_not_issued(client), client.name, "the server", client.until)
            for other in list(self._clients):
                end = min(client.end, other.end)
                if client.client is not None and other.server is not None and _now() + _MARGIN < end:
                    why = await _why_failed(client.client, other.server)
                    self._count(why, client.name, f"{other.name}'s holder", end)
            await trio.sleep(_PAUSE)
        self._clients.remove(client)

    def _count(self, why: str | None, caller: str, called: str, end: datetime) -> None:
        """Counts a handshake, unless it has failed because it outlasted a certificate."""
        if why is None or _now() < end:
            self._counts.handshakes += 1
        if why is not None and _now() < end:
            self._counts.failures.append(f"client with {caller} to {called}: {why}")

    async def _why_not_issued(self, client: _Client) -> str | None:
        """Requests a certificate for a client, which takes it at half the life of the one before."""
        authority = Authority(
            host=_HOST,
            port=self._port,
            trust_anchors=client.anchors(),
            spiffe_id=sentry_id(REHEARSAL_DOMAIN, REHEARSAL_NAMESPACE),
        )
        workload = Workload(app_id="app", namespace=REHEARSAL_NAMESPACE)
        try:
            obtained = await trio.to_thread.run_sync(
                partial(obtain, authority, workload, attempts=1), abandon_on_cancel=True
            )
        except RequestFailedError as error:
            return str(error)
        if client.leaf is None or client.leaf.valid_until - _now() < self._leaf_lifetime / 2:
            client.take(obtained)
        return None


async def _why_failed(client: ssl.SSLContext, server: ssl.SSLContext) -> str | None:
    """Connects two clients over TCP with mutual TLS; returns why that failed, or None."""
    why = None
    try:
        with trio.fail_after(_TIMEOUT):
            await _connect(client, server)
    except* (trio.BrokenResourceError, trio.TooSlowError, OSError) as group:
        why = _reason(group)
    return why


async def _connect(client: ssl.SSLContext, server: ssl.SSLContext) -> None:
    (listener,) = await trio.open_tcp_listeners(0, host=_HOST)
    async with listener:
        stream = await trio.open_tcp_stream(*listener.socket.getsockname())
        accepted = await listener.accept()
    async with stream, accepted, trio.open_nursery() as ends:
        connecting = trio.SSLStream(stream, client)
        accepting = trio.SSLStream(accepted, server, server_side=True)
        ends.start_soon(accepting.send_all, b"x")
        # TLS 1.3: a client learns of a rejected certificate when it reads.
        await connecting.receive_some(1)


def _reason(error: BaseException) -> str:
    """Returns the cause of a failed handshake, as OpenSSL names it."""
    while True:
        if isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        elif error.__cause__ is not None:
            error = error.__cause__
        else:
            return (error.reason if isinstance(error, ssl.SSLError) else None) or repr(error)


def _now() -> datetime:
    return datetime.now(UTC)


def _end_of_time() -> datetime:
    return datetime.max.replace(tzinfo=UTC)

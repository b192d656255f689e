"""Clients of a rehearsal, which call its server and each other over TCP."""

import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

import msgspec
import trio

from sentry_trio.ca.spiffe import sentry_id
from sentry_trio.cli.ca.rehearsal import REHEARSAL_DOMAIN, REHEARSAL_NAMESPACE, Leaf, tls_context
from sentry_trio.client import Authority, Obtained, RequestFailedError, Workload, obtain

MARGIN: Final = timedelta(seconds=1)
"""Time before its end in which no certificate is used."""

_HOST: Final = "127.0.0.1"
_PAUSE: Final = 0.2  # s of each client between two rounds
_TIMEOUT: Final = 10.0  # s of a handshake


class RehearsalClient(msgspec.Struct):
    """Workload that requests certificates, and calls the other ones.

    Attributes:
        name: its trust anchors, for people.
        anchors: reads them.
        until: their expiry; by default not before the rehearsal ends.
        leaf: its certificate; None before the first.
        server: TLS context as a server.
        client: TLS context as a client.
    """

    name: str
    anchors: Callable[[], bytes]
    until: datetime = datetime.max.replace(tzinfo=UTC)
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


class HandshakeCounts(msgspec.Struct):
    """Handshakes of one phase, and those that failed."""

    handshakes: int = 0
    failures: list[str] = msgspec.field(default_factory=list)


class RehearsalClients:
    """Clients that call at the same time.

    Args:
        port: port of the server.
        leaf_lifetime: lifetime of their certificates.

    Attributes:
        counts: those of the current phase.
    """

    def __init__(self, port: int, leaf_lifetime: timedelta) -> None:
        self.counts = HandshakeCounts()
        self._port = port
        self._leaf_lifetime = leaf_lifetime
        self._clients: list[RehearsalClient] = []

    async def call(self, client: RehearsalClient) -> None:
        """Requests a certificate and calls the other clients, again and again, until the trust anchors expire."""
        self._clients.append(client)
        while _now() + MARGIN < client.until:
            self._count(await self.request_failure(client), client.name, "the server", client.until)
            for other in list(self._clients):
                end = min(client.end, other.end)
                if client.client is not None and other.server is not None and _now() + MARGIN < end:
                    why = await handshake_failure(client.client, other.server)
                    self._count(why, client.name, f"{other.name}'s holder", end)
            await trio.sleep(_PAUSE)
        self._clients.remove(client)

    def _count(self, why: str | None, caller: str, called: str, end: datetime) -> None:
        """Counts a handshake, unless it has failed because it outlasted a certificate."""
        if why is None or _now() < end:
            self.counts.handshakes += 1
        if why is not None and _now() < end:
            self.counts.failures.append(f"client with {caller} to {called}: {why}")

    async def request_failure(self, client: RehearsalClient) -> str | None:
        """Requests a certificate for a client; returns the reason of a failure, or None.

        The client uses it from half of the previous one's lifetime on.
        """
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


async def handshake_failure(client: ssl.SSLContext, server: ssl.SSLContext) -> str | None:
    """Connects two clients over TCP with mutual TLS; returns the reason of a failure, or None."""
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

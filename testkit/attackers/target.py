"""Target of an attack, its pace and its results."""

import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeAlias

import trio
from h2.errors import ErrorCodes


class Pace:
    """So many units a second for all attacks that share it, evenly; more units wait longer."""

    def __init__(self, per_second: float) -> None:
        self._per_second = per_second
        self._next = 0.0

    async def take(self, units: int = 1) -> None:
        begin = max(trio.current_time(), self._next)
        self._next = begin + units / self._per_second
        await trio.sleep_until(begin)


def careless_context() -> ssl.SSLContext:
    """Chooses h2 and accepts every certificate, to save the attacker's CPU."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    return context


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Target of an attack.

    Attributes:
        port: where the server listens.
        health_port: where its health server listens.
        host: at which address.
        source: the address that the attack comes from, e.g. 127.0.0.2; None leaves it to the system.
        path: a method that takes one message and is there.
        streaming_path: a method that takes one message, an empty one for instance, and streams its replies without end.
        message: an encoded message that this method answers well.
        timeout: value of `grpc-timeout` for calls; empty for none.
        message_bytes: how large a message may be.
        pause: seconds between the single bytes of kinds that are slow.
        connections: how fast connections may be opened; None for as fast as can be.
        calls: how fast whole calls may be sent, which the server has to answer; None for as fast as can be.
        frames: how fast other frames may be sent; None for as fast as can be.
    """

    port: int
    health_port: int = 0
    host: str = "127.0.0.1"
    source: str | None = None
    path: str = "/toys.Toys/Echo"
    streaming_path: str = "/toys.Toys/Watch"
    message: bytes = b""
    timeout: str = ""
    message_bytes: int = 4 * 1024 * 1024
    pause: float = 1.0
    connections: Pace | None = None
    calls: Pace | None = None
    frames: Pace | None = None
    context: ssl.SSLContext = field(default_factory=careless_context)


@dataclass(slots=True)
class Course:
    """Results of one attack so far.

    Attributes:
        established: set when the attack has begun: a flood has sent its first frames, a hoarder holds its resources.
        over: set when the server has cut it, or never let it in.
        goaway: reason in the server's GOAWAY, if there was one.
        resets: the streams that the server has reset, in order.
        statuses: the gRPC status of each call that the server has answered.
        ended: the streams that the server has ended, either way.
    """

    established: trio.Event = field(default_factory=trio.Event)
    over: trio.Event = field(default_factory=trio.Event)
    goaway: ErrorCodes | None = None
    resets: dict[int, ErrorCodes] = field(default_factory=dict)
    statuses: dict[int, int] = field(default_factory=dict)
    ended: set[int] = field(default_factory=set)

    async def begun(self) -> None:
        """Waits until the attack is established, or has ended before."""
        async with trio.open_nursery() as nursery:

            async def wait(event: trio.Event) -> None:
                await event.wait()
                nursery.cancel_scope.cancel()

            nursery.start_soon(wait, self.established)
            nursery.start_soon(wait, self.over)


Kind: TypeAlias = Callable[[Target, Course], Awaitable[None]]
"""One hostile connection: returns or raises when it is cut."""

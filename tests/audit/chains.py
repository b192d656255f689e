"""Chains made in memory, and a sink that fails as it is told."""

import errno
import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import trio

from sentry_trio.audit.batch import Batches, End
from sentry_trio.audit.chain import START, encode_members
from sentry_trio.audit.moments import timestamp
from sentry_trio.audit.sinks import Opened
from sentry_trio.audit.tail import Found
from sentry_trio.audit.verify import Report, Verifier

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def members(event: str = "decision", **more: Any) -> bytes:
    return encode_members({"time": timestamp(NOON), "event": event, **more})


def opening(begins: str = "anew") -> bytes:
    return members("opened", begins=begins)


def chain(decisions: int = 3) -> list[bytes]:
    """The lines of a process that was started, has decided so often, and was stopped; each with its newline."""
    decided = (members(number=number) for number in range(decisions))
    data = Batches(End(START)).compose([opening(), *decided, members("closed", reason="stopped")])
    return data.splitlines(keepends=True)


def verified(data: bytes | Sequence[bytes], **options: Any) -> Report:
    verifier = Verifier(**options)
    for piece in [data] if isinstance(data, bytes) else data:
        verifier.feed(piece)
    return verifier.finish()


class Paper:
    """A sink in memory.

    Attributes:
        data: what was written.
        room: bytes that it still takes; None for any number.
        writes: how often it was written to.
        sync_fails: whether the medium does.
        syncs: how often it was waited for.
        has_moved: what `moved` says.
        is_closed: whether it was given up.
    """

    def __init__(self, room: int | None = None) -> None:
        self.data = b""
        self.writes = 0
        self.room = room
        self.sync_fails = False
        self.syncs = 0
        self.has_moved = self.is_closed = False

    def write(self, data: bytes) -> int:
        self.writes += 1
        taken = data if self.room is None else data[: self.room]
        if data and not taken:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.data += taken
        if self.room is not None:
            self.room -= len(taken)
        return len(taken)

    def sync(self) -> None:
        self.syncs += 1
        if self.sync_fails:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    def moved(self) -> bool:
        return self.has_moved

    def close(self) -> None:
        self.is_closed = True

    def opened(self) -> Opened:
        return Opened(self, Found(End(START)))


class Worker:
    """Calls what blocks at once, in place of a thread: virtual time would not wait for one.

    Attributes:
        free: a call waits for it.
    """

    def __init__(self) -> None:
        self.free = trio.Event()
        self.free.set()

    async def __call__(self, blocks: Callable[..., Any], *arguments: Any) -> Any:
        await trio.lowlevel.checkpoint()
        await self.free.wait()
        return blocks(*arguments)

    def hang(self) -> None:
        self.free = trio.Event()

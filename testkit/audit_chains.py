"""Chains made in memory, and a sink that fails on demand."""

import errno
import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import trio

from sentry_trio.audit.chain import Batches, ChainEnd, encode_members
from sentry_trio.audit.decision import timestamp
from sentry_trio.audit.sinks import Sink
from sentry_trio.audit.verify import VerificationReport, Verifier

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def members(event: str = "decision", **more: Any) -> bytes:
    return encode_members({"time": timestamp(NOON), "event": event, **more})


def opening(begins: str = "anew") -> bytes:
    return members("opened", begins=begins)


def chain(decisions: int = 3) -> list[bytes]:
    """The lines of a process that was started, has decided so often, and was stopped; each with its newline."""
    decided = (members(number=number) for number in range(decisions))
    data = Batches(ChainEnd()).compose([opening(), *decided, members("closed", reason="stopped")])
    return data.splitlines(keepends=True)


def verified(data: bytes | Sequence[bytes], **options: Any) -> VerificationReport:
    verifier = Verifier(**options)
    for piece in [data] if isinstance(data, bytes) else data:
        verifier.feed(piece)
    return verifier.finish()


class Paper(Sink):
    """A sink in memory.

    Args:
        end: of what is there already.

    Attributes:
        data: what was written.
        room: bytes that it still takes; None for any number.
        writes: how often it was written to.
        sync_fails: whether the medium does.
        syncs: how often it was waited for.
        has_moved: field `moved`.
        is_closed: True after `close`.
    """

    def __init__(self, room: int | None = None, end: ChainEnd | None = None) -> None:
        super().__init__(-1, end or ChainEnd())
        self.data = b""
        self.writes = 0
        self.room = room
        self.sync_fails = False
        self.syncs = 0
        self.has_moved = self.is_closed = False

    def append(self, data: bytes, *, sync: bool) -> tuple[int, OSError | None]:
        self.writes += bool(data)
        taken = data if self.room is None else data[: self.room]
        self.data += taken
        if self.room is not None:
            self.room -= len(taken)
        if len(taken) < len(data):
            return len(taken), OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.syncs += sync
        fails = sync and self.sync_fails
        return len(taken), OSError(errno.EIO, os.strerror(errno.EIO)) if fails else None

    def moved(self) -> bool:
        return self.has_moved

    def close(self) -> None:
        self.is_closed = True

    def opened(self) -> Sink:
        return self


class Worker:
    """Runs a blocking function directly, in place of a thread: virtual time would not wait for one.

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

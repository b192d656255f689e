"""Writes the lines of an audit log, and keeps account of those that could not be written."""

import math
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

import trio

from sentry_trio.audit.batch import Batches, End
from sentry_trio.audit.chain import START, encode_members
from sentry_trio.audit.moments import timestamp
from sentry_trio.audit.sinks import Opened, Sink
from sentry_trio.errors import AuditLogError
from sentry_trio.telemetry.logs import get_logger
from sentry_trio.telemetry.metrics import Metrics, Shed

Counted = TypeVar("Counted")
InThread: TypeAlias = Callable[..., Awaitable[Any]]
"""Calls a function that blocks, with its arguments, elsewhere. When cancelled it returns and leaves that to itself."""

_log: Final = get_logger("dapr.sentry.audit")

_EVERY: Final = 1.0  # seconds from one look at what can wait to the next: fsync that nobody waits for, calls shed
_QUIET: Final = 60.0  # seconds from one complaint to the next


class Entry:
    """A decision to be written.

    Attributes:
        members: of its line.
        is_issued: whether it gives a certificate.
        done: set once the line will last, or cannot be written; None where nobody waits for that.
        failed: it could not be.
        is_dropped: whoever waited has left, and it is not to be written.
    """

    __slots__ = ("done", "failed", "is_dropped", "is_issued", "members")

    def __init__(self, members: bytes, *, is_issued: bool, done: trio.Event | None = None) -> None:
        self.members = members
        self.is_issued = is_issued
        self.done = done
        self.failed = self.is_dropped = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditOptions:
    """What an audit log is to be.

    Attributes:
        name: what it is called in messages: its path, or `stdout`.
        required: whether a certificate may leave only once its line will outlast a loss of power.
        instance: this machine's name.
        version: of the program.
    """

    name: str
    required: bool
    instance: str
    version: str


class _Put(NamedTuple):
    """What became of a write: bytes that were taken, and what was wrong."""

    taken: int
    error: OSError | None


class Writer:
    """Writes batches of lines in a worker thread, one batch after the other.

    What a failed write loses is counted, and the first line that can be written again tells it. Decisions that somebody
    waits for are not lost: whoever waits is told, and lets nothing leave.

    Args:
        opened: what is written to.
        options: what the log is to be.
        in_thread: calls what blocks.
        metrics: told of losses.
        now: the wall clock, aware.
    """

    def __init__(
        self,
        opened: Opened,
        options: AuditOptions,
        *,
        in_thread: InThread,
        metrics: Metrics,
        now: Callable[[], datetime],
    ) -> None:
        self._sink: Sink = opened.sink
        self._batches = Batches(opened.found.end)
        self._options = options
        self._metrics = metrics
        self._now = now
        self._lost: Counter[str] = Counter()
        self._shed: Counter[Shed] = Counter()
        self._unsynced: tuple[int, int] | None = None  # seq of the first line, and of the last
        self._in_thread = in_thread
        self._is_dirty = False  # something was written that may not last
        self._is_failing = False
        self._looked_at = -math.inf
        self._complained_at = -math.inf
        self._has_complained = False
        begins = "anew" if opened.found.end.link == START else "continued"
        if opened.found.is_damaged:
            begins = "after_damage"
            _log.error(
                f"the last line of the audit log {options.name} is not as it was written, and another chain begins "
                "after it: keep a copy of the file, and find out who has changed it"
            )
        self._opening: bytes | None = self._opened(begins)

    @property
    def due(self) -> float:
        """When something has to be written though there are no decisions, on Trio's clock."""
        return self._looked_at + _EVERY if self._is_dirty or self._shed else math.inf

    def shed(self, reason: Shed) -> None:
        """Counts a call that was refused unread."""
        self._shed[reason] += 1

    def lose(self, entry: Entry) -> None:
        """A decision will not be written."""
        self._lost["issued" if entry.is_issued else "not_issued"] += 1
        self._metrics.audit_lost(1)

    async def write(self, entries: Sequence[Entry] = (), *events: bytes, sync: bool = False) -> bool:
        """Writes events, and then decisions, and tells whoever waits for one.

        Args:
            entries: the decisions.
            events: members of other lines.
            sync: whether all that was written is to last, even if nobody waits for that.

        Returns:
            Whether all was written, and lasts if it was to.

        Cancellation: at once, though the thread goes on; nothing may be written after that.
        """
        is_due = trio.current_time() >= self._looked_at + _EVERY
        sync = sync or is_due or self._is_failing or any(entry.done is not None for entry in entries)
        ahead = [*self._ahead(with_shed=sync), *((event, _nothing) for event in events)]
        lines = [*(line for line, _ in ahead), *(entry.members for entry in entries)]
        if not lines and not (sync and self._is_dirty):
            return True
        if sync:
            self._looked_at = trio.current_time()
        first = self._batches.end.link.seq + len(ahead) + 1
        data = self._batches.compose(lines)
        put: _Put = await self._in_thread(_put, self._sink, data, sync)
        whole = self._batches.settle(put.taken)
        for _, told in ahead[:whole]:
            told()
        self._is_dirty = put.error is not None or not sync
        self._settle(entries, whole - len(ahead), first, put.error)
        self._judge(put.error)
        return put.error is None

    def _settle(self, entries: Sequence[Entry], whole: int, first: int, error: OSError | None) -> None:
        """Tells whoever waits, and counts what is lost of decisions of which the first so many have whole lines."""
        if error is None:
            self._unsynced = None
        for number, entry in enumerate(entries):
            if entry.done is not None:
                entry.failed = error is not None
                entry.done.set()
                if entry.failed and number < whole:
                    since = first + number if self._unsynced is None else self._unsynced[0]
                    self._unsynced = (since, first + number)
            elif number >= whole:
                self.lose(entry)

    def _judge(self, error: OSError | None) -> None:
        if error is not None:
            self.complain(error.strerror or str(error))
            return
        self._is_failing = False
        if self._has_complained:
            self._has_complained = False
            _log.warning(f"the audit log {self._options.name} is written again; it says what is not in it")

    def complain(self, reason: str) -> None:
        """Tells the operator that decisions cannot be written, if that was not told within a minute."""
        self._is_failing = True
        now = trio.current_time()
        if now >= self._complained_at + _QUIET:
            self._complained_at = now
            self._has_complained = True
            meanwhile = (
                "no certificate is issued until it can (--audit-required)"
                if self._options.required
                else "certificates are issued without a record until it can"
            )
            _log.error(f"the audit log {self._options.name} cannot be written: {reason}; {meanwhile}")

    async def follow(self, open_sink: Callable[[], Opened]) -> None:
        """Goes on in a new file, if the present one has another name by now. Where it cannot be made, nothing changes.

        Cancellation: as of `write`.
        """
        if not await self._in_thread(self._sink.moved):
            return
        name = self._options.name
        try:
            opened: Opened = await self._in_thread(open_sink)
        except AuditLogError as error:
            _log.error(f"the audit log {name} was moved, and goes on where it is, as no new one can be opened: {error}")
            return
        if opened.found.end != End(START):
            opened.sink.close()
            _log.error(f"the audit log {name} was moved, and goes on where it is, as the new one is not empty")
            return
        await self.write([], self.event("closed", reason="moved"), sync=True)
        self._sink.close()
        self._sink = opened.sink
        self._batches.elsewhere()
        self._opening = self._opened("moved")
        await self.write(sync=True)
        _log.info(f"the audit log goes on in a new file {name}")

    async def close(self) -> None:
        """Writes a last line, that no more will come, and gives up what is written to."""
        await self.write([], self.event("closed", reason="stopped"), sync=True)
        self._sink.close()

    def give_up(self) -> None:
        """Gives up what is written to, and writes nothing."""
        self._sink.close()

    def event(self, event: str, **members: object) -> bytes:
        """The members of a line that is no decision."""
        return encode_members({"time": timestamp(self._now()), "event": event, **members})

    def _opened(self, begins: str) -> bytes:
        options = self._options
        return self.event("opened", begins=begins, instance=options.instance[:200], version=options.version)

    def _ahead(self, *, with_shed: bool) -> Iterator[tuple[bytes, Callable[[], None]]]:
        """What has to be written before anything else, each with what is to be done once its line is there."""
        if self._opening is not None:
            yield self._opening, self._has_opened
        if self._lost or self._unsynced is not None:
            lost = Counter(self._lost)
            told = {"issued": lost["issued"], "not_issued": lost["not_issued"]} if lost else None
            yield self.event("resumed", lost=told, unsynced=self._unsynced), partial(_forget, self._lost, lost)
        if self._shed and with_shed:
            shed = Counter(self._shed)
            yield self.event("shed", calls=shed), partial(_forget, self._shed, shed)

    def _has_opened(self) -> None:
        self._opening = None


def _forget(counts: Counter[Counted], told: Counter[Counted]) -> None:
    counts -= told  # in place


def _nothing() -> None:
    """What is to be done once a line is there that nothing depends on."""


def _put(sink: Sink, data: bytes, sync: bool) -> _Put:  # noqa: FBT001  # called by way of `run_sync`
    taken = 0
    try:
        while taken < len(data):
            taken += sink.write(data[taken:])
        if sync:
            sink.sync()
    except OSError as error:
        return _Put(taken, error)
    return _Put(taken, None)

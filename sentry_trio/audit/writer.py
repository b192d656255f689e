"""Writes the lines of an audit log, and accounts for those that could not be written."""

import math
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Final, TypeAlias, TypeVar

import msgspec
import trio

from sentry_trio.audit.chain import START, Batches, ChainEnd, encode_members
from sentry_trio.audit.decision import timestamp
from sentry_trio.audit.sinks import Sink
from sentry_trio.errors import AuditLogError
from sentry_trio.grpc.observer import Shed
from sentry_trio.reasons import reason_of
from sentry_trio.telemetry.logs import get_logger
from sentry_trio.telemetry.metrics import Metrics

Counted = TypeVar("Counted")
InThread: TypeAlias = Callable[..., Awaitable[Any]]
"""Calls a blocking function with its arguments in a thread. If cancelled it returns, and the thread continues."""

_log: Final = get_logger("dapr.sentry.audit")

_INTERVAL: Final = 1.0  # seconds between writes that can wait: fsync without a waiting call, counts of shed calls
_COMPLAINT_INTERVAL: Final = 60.0


class Entry(msgspec.Struct, eq=False):
    """A decision to be written.

    Attributes:
        members: members of its line.
        is_issued: it issues a certificate.
        done: set once the line will survive a power failure, or cannot be written; None if no call waits.
        failed: the line cannot be written, or may not survive.
        is_cancelled: the caller that waited has left; the entry is not written.
    """

    members: bytes
    is_issued: bool
    done: trio.Event | None
    failed: bool = False
    is_cancelled: bool = False


class AuditLogOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Options of an audit log.

    Attributes:
        name: names it in messages: its path, or `stdout`.
        required: a certificate may be sent only once its line will survive a power failure.
        instance: this machine's name.
        version: version of the program.
    """

    name: str
    required: bool
    instance: str
    version: str


class Writer:
    """Writes batches of lines in a thread, one batch after the other.

    Lines that a failed write loses are counted, and the first line that can be written again reports them. Decisions
    with a waiting call are not lost: the call fails, and its certificate is not sent.

    Args:
        sink: file or stream to which lines are appended.
        options: options of the log.
        in_thread: calls blocking functions.
        metrics: counts lost lines.
        now: the wall clock, aware.
    """

    def __init__(
        self,
        sink: Sink,
        options: AuditLogOptions,
        *,
        in_thread: InThread,
        metrics: Metrics,
        now: Callable[[], datetime],
    ) -> None:
        self._sink = sink
        self._batches = Batches(sink.end)
        self._options = options
        self._in_thread = in_thread
        self._metrics = metrics
        self._now = now
        self._lost: Counter[str] = Counter()
        self._shed: Counter[Shed] = Counter()
        self._unsynced: tuple[int, int] | None = None  # seq of the first line, and of the last
        self._is_dirty = False  # something was written that may not survive
        self._is_failing = False
        self._synced_at = self._complained_at = -math.inf
        self._has_complained = False
        begins = "anew" if sink.end.link == START else "continued"
        if sink.end.is_damaged:
            begins = "after_damage"
            _log.error(
                f"the last line of the audit log {options.name} is damaged; a new chain begins "
                "after it: keep a copy of the file, and find out what changed it"
            )
        self._opening: bytes | None = self._opened(begins)

    @property
    def due(self) -> float:
        """Time on Trio's clock at which something has to be written even if there are no decisions."""
        return self._synced_at + _INTERVAL if self._is_dirty or self._shed else math.inf

    def shed(self, reason: Shed) -> None:
        """Counts a call that was rejected unread."""
        self._shed[reason] += 1

    def lose(self, entry: Entry) -> None:
        """Counts a decision that will not be written."""
        self._lost["issued" if entry.is_issued else "not_issued"] += 1
        self._metrics.audit_lost.inc()

    async def write(self, entries: Sequence[Entry] = (), *events: bytes, sync: bool = False) -> bool:
        """Writes events and decisions, and notifies the calls that wait for a decision.

        Args:
            entries: the decisions.
            events: members of other lines, which come first.
            sync: wait for the medium even if no call does.

        Returns:
            Whether everything was written, and survives if it was to.

        Cancellation: immediate, but the thread continues; nothing may be written afterwards.
        """
        is_due = trio.current_time() >= self._synced_at + _INTERVAL
        sync = sync or is_due or self._is_failing or any(entry.done is not None for entry in entries)
        reports = self._reports(with_shed=sync)
        ahead = [*(line for line, _ in reports), *events]
        lines = [*ahead, *(entry.members for entry in entries)]
        if not lines and not (sync and self._is_dirty):
            return True
        if sync:
            self._synced_at = trio.current_time()
        first = self._batches.end.link.seq + len(ahead) + 1
        data = self._batches.compose(lines)
        taken, error = await self._in_thread(partial(self._sink.append, data, sync=sync))
        whole = self._batches.settle(taken)
        for _, clear in reports[:whole]:
            clear()
        self._is_dirty = error is not None or not sync
        self._settle(entries, whole - len(ahead), first, error)
        self._log_change(error)
        return error is None

    def _settle(self, entries: Sequence[Entry], whole: int, first: int, error: OSError | None) -> None:
        """Notifies the calls that wait, and counts the decisions that are lost.

        Args:
            entries: the decisions.
            whole: number of them with complete lines.
            first: seq of the first one's line.
            error: the error.
        """
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

    def _log_change(self, error: OSError | None) -> None:
        if error is not None:
            self.complain(reason_of(error))
            return
        self._is_failing = False
        if self._has_complained:
            self._has_complained = False
            _log.warning(
                f"the audit log {self._options.name} can be written again; the number of missing decisions is "
                "recorded in it"
            )

    def complain(self, reason: str) -> None:
        """Logs that decisions cannot be written, at most once a minute."""
        self._is_failing = True
        now = trio.current_time()
        if now >= self._complained_at + _COMPLAINT_INTERVAL:
            self._complained_at = now
            self._has_complained = True
            meanwhile = (
                "no certificates are issued meanwhile (--audit-required)"
                if self._options.required
                else "certificates are issued without a record meanwhile"
            )
            _log.error(f"the audit log {self._options.name} cannot be written: {reason}; {meanwhile}")

    async def follow(self, open_sink: Callable[[], Sink]) -> None:
        """Continues in a new file if the current one was renamed. If it cannot be created, nothing changes.

        Cancellation: as of `write`.
        """
        if not await self._in_thread(self._sink.moved):
            return
        name = self._options.name
        try:
            sink: Sink = await self._in_thread(open_sink)
        except AuditLogError as error:
            _log.error(
                f"the audit log {name} was moved, but a new file cannot be opened: {error}; writing continues in the "
                "moved file"
            )
            return
        if sink.end != ChainEnd():
            sink.close()
            _log.error(
                f"the audit log {name} was moved, but the new file is not empty; writing continues in the moved file"
            )
            return
        await self.write([], self._event("closed", reason="moved"), sync=True)
        self._sink.close()
        self._sink = sink
        # A partial line stays behind in the old file.
        self._batches = Batches(ChainEnd(self._batches.end.link))
        self._opening = self._opened("moved")
        await self.write(sync=True)
        _log.info(f"the audit log continues in a new file {name}")

    async def close(self) -> None:
        """Writes a closing line and closes the sink."""
        await self.write([], self._event("closed", reason="stopped"), sync=True)
        self._sink.close()

    def _event(self, event: str, **members: object) -> bytes:
        """Members of a line other than a decision."""
        return encode_members({"time": timestamp(self._now()), "event": event, **members})

    def _opened(self, begins: str) -> bytes:
        options = self._options
        return self._event("opened", begins=begins, instance=options.instance[:200], version=options.version)

    def _reports(self, *, with_shed: bool) -> list[tuple[bytes, Callable[[], None]]]:
        """Lines that come before all others, each with a function to call once it is written."""
        reports: list[tuple[bytes, Callable[[], None]]] = []
        if self._opening is not None:
            reports.append((self._opening, self._clear_opening))
        if self._lost or self._unsynced is not None:
            lost = Counter(self._lost)
            counts = {"issued": lost["issued"], "not_issued": lost["not_issued"]} if lost else None
            event = self._event("resumed", lost=counts, unsynced=self._unsynced)
            reports.append((event, partial(_subtract, self._lost, lost)))
        if self._shed and with_shed:
            shed = Counter(self._shed)
            reports.append((self._event("shed", calls=shed), partial(_subtract, self._shed, shed)))
        return reports

    def _clear_opening(self) -> None:
        self._opening = None


def _subtract(counts: Counter[Counted], reported: Counter[Counted]) -> None:
    counts -= reported  # in place, and drops zeros

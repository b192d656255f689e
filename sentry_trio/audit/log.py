"""The audit log of a process: decisions wait in a queue for a task that writes them, many at once."""

import socket
import sys
from collections import deque
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final, NoReturn, Self

import trio

from sentry_trio import __version__
from sentry_trio.audit.case import Case
from sentry_trio.audit.chain import encode_members
from sentry_trio.audit.moments import timestamp
from sentry_trio.audit.sinks import STDOUT, Opened, open_file, open_stdout
from sentry_trio.audit.writer import AuditOptions, Entry, InThread, Writer
from sentry_trio.errors import AuditLogError, AuditUnavailableError
from sentry_trio.telemetry.logs import get_logger, held_back
from sentry_trio.telemetry.metrics import Metrics, Shed

_log: Final = get_logger("dapr.sentry.audit")

_MOST_WAITING: Final = 8 * 1024 * 1024  # bytes in the queue, some ten thousand decisions
_MOST_AT_ONCE: Final = 256 * 1024  # bytes of decisions in one write
_GATHERED: Final = 0.02  # seconds that decisions are gathered where nobody waits: a thread costs more than a line
_FIRST_WORDS: Final = 30.0  # seconds for opening, and for the first line
_LAST_WORDS: Final = 5.0  # seconds for what is in the queue when the process ends
_BEHIND: Final = "decisions come faster than they are written"


class AuditLog:
    """Takes decisions down, in the order in which they are told, and chains them. Come by one with `open_log`.

    Lines are written in a worker thread, many at once. Where the log is required, whoever commits waits for the write
    and for the medium (fsync), which all that have come since the last write share. Else nobody waits: what comes
    within some milliseconds is written together, and the medium is waited for once a second.

    Args:
        open_sink: opens what is written to.
        writer: writes to that.
        options: what the log is to be.
        now: the wall clock, aware.
    """

    def __init__(
        self, open_sink: Callable[[], Opened], writer: Writer, options: AuditOptions, now: Callable[[], datetime]
    ) -> None:
        self._open_sink = open_sink
        self._writer = writer
        self._options = options
        self._now = now
        self._queue: deque[Entry] = deque()
        self._queued_bytes = 0
        self._wake = trio.Event()
        self._to_follow = self._is_leaving = False

    @classmethod
    async def open(
        cls,
        open_sink: Callable[[], Opened],
        options: AuditOptions,
        *,
        metrics: Metrics,
        now: Callable[[], datetime],
        in_thread: InThread | None = None,
    ) -> Self:
        """Opens what is written to, and writes a first line.

        Args:
            open_sink: opens it; blocks, and raises AuditLogError.
            options: what the log is to be.
            metrics: told of losses.
            now: the wall clock, aware.
            in_thread: calls what blocks; in a worker thread if not given.

        Raises:
            AuditLogError: it cannot be opened, the line cannot be written and the log is required, or neither comes to
                an end within half a minute.

        Cancellation: once it has come to its end.
        """
        # One thread at a time and no more, so that a medium that hangs takes none of those that others wait for.
        in_thread = in_thread or partial(
            trio.to_thread.run_sync, abandon_on_cancel=True, limiter=trio.CapacityLimiter(1)
        )
        # Not cancelled half way: what was opened, and is locked, has to be given up again.
        with trio.CancelScope(shield=True, deadline=trio.current_time() + _FIRST_WORDS) as scope:
            try:
                opened: Opened = await in_thread(open_sink)
            except AuditLogError as error:
                raise AuditLogError(f"the audit log cannot be opened: {error}") from error
            writer = Writer(opened, options, in_thread=in_thread, metrics=metrics, now=now)
            if not await writer.write(sync=True) and options.required:
                writer.give_up()
                raise AuditLogError(f"the audit log {options.name} cannot be written, and is required")
        if scope.cancelled_caught:
            raise AuditLogError(f"the audit log {options.name} did not answer within {_FIRST_WORDS:g} s")
        return cls(open_sink, writer, options, now)

    # --- what is told

    def record(self, case: Case) -> None:
        """Takes a decision down; neither waits nor fails. With the queue full it is lost, and counted."""
        entry = Entry(self._members(case), is_issued=case.is_issued)
        if not self._enqueue(entry):
            self._writer.lose(entry)

    async def commit(self, case: Case) -> None:
        """Takes down that a certificate is issued; where the log is required, returns once that will last.

        Raises:
            AuditUnavailableError: the log is required, and cannot be written.

        Cancellation: at once, where the log is required; the line may be written all the same, so what became of the
        call has to be recorded then.
        """
        if not self._options.required:
            self.record(case)
            return
        done = trio.Event()
        entry = Entry(self._members(case), is_issued=True, done=done)
        if not self._enqueue(entry):
            raise AuditUnavailableError
        try:
            await done.wait()
        except trio.Cancelled:
            entry.is_dropped = True
            raise
        if entry.failed:
            raise AuditUnavailableError

    def shed(self, reason: Shed) -> None:
        """Counts a call that was refused unread; a line a second at most says how many there were."""
        self._writer.shed(reason)
        self._wake.set()

    def follow(self) -> None:
        """Goes on in a new file soon, if the present one has another name by now; else nothing happens."""
        self._to_follow = True
        self._wake.set()

    def _members(self, case: Case) -> bytes:
        return encode_members({"time": timestamp(self._now()), **case.members()})

    def _enqueue(self, entry: Entry) -> bool:
        if self._queued_bytes + len(entry.members) > _MOST_WAITING:
            self._writer.complain(_BEHIND)
            return False
        self._queue.append(entry)
        self._queued_bytes += len(entry.members)
        self._wake.set()
        return True

    # --- writing

    async def serve(self, *, task_status: trio.TaskStatus[Self] = trio.TASK_STATUS_IGNORED) -> NoReturn:
        """Writes until cancelled; then what is left, and a last line, for five seconds at most.

        Args:
            task_status: started, with this log, at once.
        """
        async with trio.open_nursery() as nursery:
            scope = trio.CancelScope(shield=True)
            nursery.start_soon(self._write_all, scope)
            try:
                task_status.started(self)
                await trio.sleep_forever()
            finally:
                scope.deadline = trio.current_time() + _LAST_WORDS
                self._is_leaving = True
                self._wake.set()
        raise AssertionError("it ends by cancellation only")  # pragma: no cover  # for the type checker

    async def _write_all(self, scope: trio.CancelScope) -> None:
        with scope:
            while not (self._is_leaving and not self._queue):
                await self._something_to_do()
                await self._writer.write(self._take())
                if self._to_follow and not self._queue:
                    self._to_follow = False
                    await self._writer.follow(self._open_sink)
            await self._writer.close()
        if scope.cancelled_caught:
            # The thread that writes is stuck, and ends with the process.
            _log.error(f"the audit log {self._options.name} did not take its last lines within {_LAST_WORDS:g} s")

    async def _something_to_do(self) -> None:
        if not (self._queue or self._to_follow or self._is_leaving):
            with trio.move_on_at(self._writer.due):
                await self._wake.wait()
        if not (self._options.required or self._is_leaving):
            await trio.sleep(_GATHERED)
        self._wake = trio.Event()

    def _take(self) -> list[Entry]:
        """The first decisions of the queue, as many as are written at once."""
        taken = []
        size = 0
        while self._queue and size < _MOST_AT_ONCE:
            entry = self._queue.popleft()
            self._queued_bytes -= len(entry.members)
            if not entry.is_dropped:
                taken.append(entry)
                size += len(entry.members)
        return taken


async def open_log(
    name: str, *, required: bool, environ: Mapping[str, str], metrics: Metrics, now: Callable[[], datetime]
) -> AuditLog:
    """Opens the audit log of a process.

    Args:
        name: a path, or `stdout`.
        required: whether a certificate may leave only once its line will outlast a loss of power.
        environ: the environment; HOSTNAME is looked at.
        metrics: told of losses.
        now: the wall clock, aware.

    Raises:
        AuditLogError: it cannot be opened, or cannot be written and is required.
    """
    options = AuditOptions(
        name=name,
        required=required,
        instance=environ.get("HOSTNAME") or socket.gethostname(),
        version=__version__,
    )
    if name == STDOUT and sys.__stdout__ is None:
        raise AuditLogError("the audit log cannot be opened: standard output is closed")
    open_sink = (
        partial(open_stdout, sys.stdout.fileno(), held_back) if name == STDOUT else partial(open_file, Path(name))
    )
    return await AuditLog.open(open_sink, options, metrics=metrics, now=now)

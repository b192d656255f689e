"""The audit log of a process: decisions wait in a queue for a task that writes them in batches."""

import sys
from collections import deque
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final, NoReturn, Self

import trio

from sentry_trio import __version__
from sentry_trio.audit.chain import ChainEnd, encode_members
from sentry_trio.audit.decision import Decision, Recorder, timestamp
from sentry_trio.audit.sinks import Sink, open_file
from sentry_trio.audit.writer import AuditLogOptions, Entry, InThread, Writer
from sentry_trio.errors import AuditLogError, AuditUnavailableError
from sentry_trio.grpc.observer import Shed
from sentry_trio.telemetry.logs import get_logger, held_back, instance_of
from sentry_trio.telemetry.metrics import Metrics

_log: Final = get_logger("dapr.sentry.audit")

_MAX_QUEUED: Final = 8 * 1024 * 1024  # bytes in the queue, some ten thousand decisions
_MAX_BATCH: Final = 256 * 1024  # bytes of decisions in one write
_GATHER: Final = 0.02  # seconds of decisions in one write if no call waits: waking a thread costs more than a line
_OPEN_TIMEOUT: Final = 30.0  # for opening, and for the first line
_CLOSE_TIMEOUT: Final = 5.0  # for the queue when the process ends
_STDOUT: Final = "stdout"


class AuditLog(Recorder):
    """Records decisions in the order in which they come, and chains them. Open one with `open_log`.

    Lines are written in a worker thread, many at once. If the log is required, a call that commits waits for the write
    and for the medium (fsync), shared by all decisions since the last write. Otherwise no call waits: decisions are
    gathered for some milliseconds, and the medium is waited for once a second.

    Args:
        open_sink: opens the sink; blocks.
        writer: writes to it.
        options: options of the log.
        now: the wall clock, aware.
    """

    def __init__(
        self, open_sink: Callable[[], Sink], writer: Writer, options: AuditLogOptions, now: Callable[[], datetime]
    ) -> None:
        self._open_sink = open_sink
        self._writer = writer
        self._options = options
        self._now = now
        self._queue: deque[Entry] = deque()
        self._queued_bytes = 0
        self._wake = trio.Event()
        self._must_follow = self._is_closing = False

    @classmethod
    async def open(
        cls,
        open_sink: Callable[[], Sink],
        options: AuditLogOptions,
        *,
        metrics: Metrics,
        now: Callable[[], datetime],
        in_thread: InThread | None = None,
    ) -> Self:
        """Opens the sink, and writes a first line.

        Args:
            open_sink: opens it; blocks, and raises AuditLogError.
            options: options of the log.
            metrics: counts lost decisions.
            now: the wall clock, aware.
            in_thread: calls blocking functions; in a worker thread by default.

        Raises:
            AuditLogError: it cannot be opened, the line cannot be written and the log is required, or half a minute was
                not enough for both.

        Cancellation: only after it has ended.
        """
        # One thread at a time, so that a medium that hangs takes none of those that others wait for.
        in_thread = in_thread or partial(
            trio.to_thread.run_sync, abandon_on_cancel=True, limiter=trio.CapacityLimiter(1)
        )
        # Not cancelled half way: an opened and locked sink has to be closed again.
        with trio.CancelScope(shield=True, deadline=trio.current_time() + _OPEN_TIMEOUT) as scope:
            try:
                sink: Sink = await in_thread(open_sink)
            except AuditLogError as error:
                raise AuditLogError(f"the audit log cannot be opened: {error}") from error
            writer = Writer(sink, options, in_thread=in_thread, metrics=metrics, now=now)
            if not await writer.write(sync=True) and options.required:
                sink.close()
                raise AuditLogError(f"the audit log {options.name} cannot be written, but --audit-required is set")
        if scope.cancelled_caught:
            raise AuditLogError(f"the audit log {options.name} could not be opened within {_OPEN_TIMEOUT:g} s")
        return cls(open_sink, writer, options, now)

    # --- records

    def record(self, decision: Decision) -> None:
        """Records a decision; neither waits nor fails. If the queue is full the decision is lost, and counted."""
        entry = self._entry(decision)
        if not self._enqueue(entry):
            self._writer.lose(entry)

    async def commit(self, decision: Decision) -> None:
        """Records that a certificate is issued; if the log is required, returns once the line will survive.

        Raises:
            AuditUnavailableError: the log is required, and cannot be written.

        Cancellation: immediate, if the log is required; the line may be written all the same, so the outcome of the
        call has to be recorded then.
        """
        if not self._options.required:
            self.record(decision)
            return
        done = trio.Event()
        entry = self._entry(decision, done)
        if not self._enqueue(entry):
            raise AuditUnavailableError
        try:
            await done.wait()
        except trio.Cancelled:
            entry.is_cancelled = True
            raise
        if entry.failed:
            raise AuditUnavailableError

    def shed(self, reason: Shed) -> None:
        """Counts a call that was rejected unread; a line a second at most reports the number."""
        self._writer.shed(reason)
        self._wake.set()

    def follow(self) -> None:
        """Continues in a new file soon, if the current one was renamed; else nothing happens."""
        self._must_follow = True
        self._wake.set()

    def _entry(self, decision: Decision, done: trio.Event | None = None) -> Entry:
        members = encode_members({"time": timestamp(self._now()), **decision.members()})
        return Entry(members, is_issued=decision.cause is None, done=done)

    def _enqueue(self, entry: Entry) -> bool:
        if self._queued_bytes + len(entry.members) > _MAX_QUEUED:
            self._writer.complain("decisions are made faster than they can be written")
            return False
        self._queue.append(entry)
        self._queued_bytes += len(entry.members)
        self._wake.set()
        return True

    # --- writing

    async def serve(self, *, task_status: trio.TaskStatus[Self] = trio.TASK_STATUS_IGNORED) -> NoReturn:
        """Writes until cancelled; then the rest of the queue and a last line, for five seconds at most.

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
                scope.deadline = trio.current_time() + _CLOSE_TIMEOUT
                self._is_closing = True
                self._wake.set()
        raise AssertionError("it ends by cancellation only")  # pragma: no cover  # for the type checker

    async def _write_all(self, scope: trio.CancelScope) -> None:
        with scope:
            while not (self._is_closing and not self._queue):
                await self._wait()
                await self._writer.write(self._take())
                if self._must_follow and not self._queue:
                    self._must_follow = False
                    await self._writer.follow(self._open_sink)
            await self._writer.close()
        if scope.cancelled_caught:
            # The thread that writes is stuck, and ends with the process.
            _log.error(
                f"the audit log {self._options.name} could not be closed within {_CLOSE_TIMEOUT:g} s: its last lines "
                "may be missing"
            )

    async def _wait(self) -> None:
        """Waits until there is something to write."""
        if not (self._queue or self._must_follow or self._is_closing):
            with trio.move_on_at(self._writer.due):
                await self._wake.wait()
        if not (self._options.required or self._is_closing):
            await trio.sleep(_GATHER)
        self._wake = trio.Event()

    def _take(self) -> list[Entry]:
        """Takes the decisions of the next batch out of the queue."""
        taken = []
        size = 0
        while self._queue and size < _MAX_BATCH:
            entry = self._queue.popleft()
            self._queued_bytes -= len(entry.members)
            if not entry.is_cancelled:
                taken.append(entry)
                size += len(entry.members)
        return taken


async def open_log(
    name: str, *, required: bool, environ: Mapping[str, str], metrics: Metrics, now: Callable[[], datetime]
) -> AuditLog:
    """Opens the audit log of a process.

    Args:
        name: a path; `stdout` or `-` for standard output.
        required: a certificate may be sent only once its line will survive a power failure.
        environ: the environment; HOSTNAME is read.
        metrics: counts lost decisions.
        now: the wall clock, aware.

    Raises:
        AuditLogError: it cannot be opened, or cannot be written and is required.
    """
    name = _STDOUT if name == "-" else name
    options = AuditLogOptions(
        name=name,
        required=required,
        instance=instance_of(environ),
        version=__version__,
    )
    open_sink = partial(open_file, Path(name))
    if name == _STDOUT:
        if sys.__stdout__ is None:
            raise AuditLogError("the audit log cannot be opened: standard output is closed")
        # Every process begins a chain of its own there.
        open_sink = partial(Sink, sys.stdout.fileno(), ChainEnd(), exclusive=held_back)
    return await AuditLog.open(open_sink, options, metrics=metrics, now=now)

"""Writes log lines in a thread of its own, so that no log call waits for the log's reader."""

import os
import select
import threading
from collections.abc import Callable
from pathlib import Path
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Final, Self, TypeAlias

_MOST_WAITING: Final = 4 * 1024 * 1024
_MOST_AT_ONCE: Final = 64 * 1024
_CLOSE_TIMEOUT: Final = 2.0

_Order: TypeAlias = Callable[[], bool]
"""Run by the thread between two writes; returns whether the thread ends."""


class LogFileError(OSError):
    """The log file cannot be opened; the text names it."""


class LogWriter:
    """Writes lines to a descriptor in order, many with one write. Looks like a text stream to its users.

    A full pipe or a disk that hangs holds up the thread alone. At most 4 MiB of lines wait for it. Lines beyond that,
    and lines that cannot be written, are dropped and counted; when a write succeeds again the loss is reported.

    Callers of `write` exclude one another. All other methods are safe to call from any thread.

    Args:
        descriptor: descriptor to write to; it stays open, unless there is a path.
        encoding: encoding of the text.
        path: opened again by `reopen`; None for a descriptor that has none.
        on_dropped: called in the thread with the number of lines, once a write succeeds after lines were dropped.
        on_reopen_failed: called in the thread.
        most_waiting: bytes that wait at most.
    """

    def __init__(
        self,
        descriptor: int,
        *,
        encoding: str = "utf-8",
        path: Path | None = None,
        on_dropped: Callable[[int], None],
        on_reopen_failed: Callable[[LogFileError], None],
        most_waiting: int = _MOST_WAITING,
    ) -> None:
        self.encoding = encoding
        self.alone = threading.Lock()
        """Held during each write; another writer to the same descriptor holds it to keep lines apart."""
        self._descriptor = descriptor
        self._path = path
        self._on_dropped = on_dropped
        self._on_reopen_failed = on_reopen_failed
        self._most_waiting = most_waiting
        self._queue: SimpleQueue[bytes | _Order] = SimpleQueue()
        # Each of these has one writing thread, so that none needs a lock.
        self._bytes_queued = self._lines_refused = 0  # by callers of `write`
        self._bytes_done = self._lines_failed = self._lines_reported = 0  # by the thread
        self._is_torn = False
        self._thread = threading.Thread(target=self._run, name="log writer", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """Number of lines that were dropped so far."""
        return self._lines_refused + self._lines_failed

    def write(self, line: str) -> int:
        """Queues a line, which ends with a line break, or drops it; returns its length."""
        data = line.encode(self.encoding, "backslashreplace")
        if self._bytes_queued - self._bytes_done + len(data) > self._most_waiting:
            self._lines_refused += 1
        else:
            self._bytes_queued += len(data)
            self._queue.put(data)
        return len(line)

    def flush(self) -> None:
        """Does nothing: lines are written as soon as they can be. See `drain`."""

    def isatty(self) -> bool:
        """Returns True if a terminal shows the lines."""
        return os.isatty(self._descriptor)

    def drain(self, timeout: float) -> bool:
        """Waits `timeout` seconds at most until all lines so far are written or dropped; returns whether they are."""
        done = threading.Event()

        def reached() -> bool:
            done.set()
            return False

        self._queue.put(reached)
        return done.wait(timeout)

    def reopen(self) -> None:
        """Continues in the file that the path names now. If it cannot be opened, nothing changes."""
        if self._path is not None:
            self._queue.put(self._reopen)

    def close(self, timeout: float = _CLOSE_TIMEOUT) -> None:
        """Writes the waiting lines, for `timeout` seconds at most, and ends. A stuck thread ends with the process."""
        self._queue.put(lambda: True)
        self._thread.join(timeout)
        if self._path is not None and not self._thread.is_alive():
            os.close(self._descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- in the thread

    def _run(self) -> None:
        is_over = False
        while not is_over:
            lines: list[bytes] = []
            size = 0
            item: bytes | _Order | None = self._queue.get()
            while isinstance(item, bytes):
                lines.append(item)
                size += len(item)
                item = self._next() if size < _MOST_AT_ONCE else None
            if lines:
                self._write(b"".join(lines))
                self._bytes_done += size
            if item is not None:
                is_over = item()

    def _next(self) -> bytes | _Order | None:
        try:
            return self._queue.get_nowait()
        except Empty:
            return None

    def _write(self, data: bytes) -> None:
        # The rest of a line that was cut short must not run into the next.
        text = b"\n" + data if self._is_torn else data
        written = self._put(text)
        if written < len(text):
            self._is_torn = text[written - 1 : written] != b"\n" if written else self._is_torn
            self._lines_failed += text.count(b"\n", max(written, len(text) - len(data)))
            return
        self._is_torn = False
        if (dropped := self.dropped) > self._lines_reported:
            count, self._lines_reported = dropped - self._lines_reported, dropped
            self._on_dropped(count)

    def _put(self, text: bytes) -> int:
        """Writes until everything is written or a write fails; returns the number of bytes written."""
        rest = memoryview(text)
        with self.alone:
            while rest:
                try:
                    rest = rest[os.write(self._descriptor, rest) :]
                except BlockingIOError:  # the parent process has made it non-blocking
                    select.select([], [self._descriptor], [])
                except OSError:
                    break
        return len(text) - len(rest)

    def _reopen(self) -> bool:
        if self._path is not None:
            try:
                fresh = open_append(self._path)
            except LogFileError as error:
                self._on_reopen_failed(error)
                return False
            os.dup2(fresh, self._descriptor, inheritable=False)
            os.close(fresh)
        return False


def open_append(path: Path) -> int:
    """Opens a file to append to, created with mode 0644 if absent; returns the descriptor.

    Raises:
        LogFileError: with Dapr Sentry's text, `failed to open log file "<path>": <reason>`.
    """
    try:
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise LogFileError(f'failed to open log file "{path}": {error.strerror or error}') from error

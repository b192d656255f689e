"""The thread that writes log lines: order, bounds, readers that stop, media that fail, files that are renamed."""

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sentry_trio.telemetry.log_writer import LogFileError, LogWriter, open_append
from sentry_trio.telemetry.logs import configure_logging, dropped_lines, get_logger, held_back, open_log
from sentry_trio.telemetry.metrics import Metrics

PATIENCE = 60.0  # seconds; far more than any wait needs


class Watched:
    """A writer on a pipe, and what it reports."""

    def __init__(self, most_waiting: int = 1000, path: Path | None = None) -> None:
        self.dropped: list[int] = []
        self.failed: list[LogFileError] = []
        self.reported = threading.Event()
        self.reading, self.writing = os.pipe()
        if path is not None:
            os.close(self.writing)
            self.writing = open_append(path)
        self.writer = LogWriter(
            self.writing,
            path=path,
            on_dropped=self._on_dropped,
            on_reopen_failed=self._on_reopen_failed,
            most_waiting=most_waiting,
        )

    def _on_dropped(self, lines: int) -> None:
        self.dropped.append(lines)
        self.reported.set()

    def _on_reopen_failed(self, error: LogFileError) -> None:
        self.failed.append(error)

    def fill(self) -> int:
        """Fills the pipe, by a descriptor of its own that does not wait; returns how many bytes it took."""
        other = os.open(f"/proc/self/fd/{self.writing}", os.O_WRONLY | os.O_NONBLOCK)
        taken = 0
        try:
            while True:
                taken += os.write(other, b"x" * 4096)
        except BlockingIOError:
            return taken
        finally:
            os.close(other)

    def read(self, size: int) -> bytes:
        found = b""
        while len(found) < size and (part := os.read(self.reading, size - len(found))):
            found += part
        return found


@contextmanager
def watched(most_waiting: int = 1000, path: Path | None = None) -> Iterator[Watched]:
    made = Watched(most_waiting, path)
    try:
        yield made
    finally:
        os.close(made.reading)  # a thread that waits for a reader sees that there is none
        made.writer.close(PATIENCE)
        if path is None:
            os.close(made.writing)


def test_lines_are_written_in_order() -> None:
    with watched() as made:
        for number in range(50):
            made.writer.write(f"line {number}\n")
        assert made.writer.drain(PATIENCE)
        expected = "".join(f"line {number}\n" for number in range(50)).encode()
        assert made.read(len(expected)) == expected
        assert made.writer.dropped == 0


def test_a_stopped_reader_blocks_no_call_and_the_loss_is_reported() -> None:
    with watched() as made:
        filled = made.fill()
        for number in range(1000):
            made.writer.write(f"line {number:03}\n")
        assert not made.writer.drain(0)
        kept = 1000 // len("line 000\n")
        assert made.writer.dropped == 1000 - kept
        made.read(filled)
        assert made.reported.wait(PATIENCE)
        assert made.dropped == [1000 - kept]
        expected = "".join(f"line {number:03}\n" for number in range(kept)).encode()
        assert made.read(len(expected)) == expected
        made.writer.write("more\n")
        assert made.writer.drain(PATIENCE)
        assert made.read(5) == b"more\n"
        assert made.dropped == [1000 - kept]


def test_a_close_has_a_deadline() -> None:
    with watched() as made:
        filled = made.fill()
        made.writer.write("late\n")
        made.writer.close(0)
        made.read(filled)
        assert made.read(5) == b"late\n"


def test_a_pipe_that_does_not_block_is_waited_for() -> None:
    with watched() as made:
        os.set_blocking(made.writing, False)
        filled = made.fill()
        made.writer.write("late\n")
        assert made.read(filled + 5).endswith(b"xlate\n")
        assert made.writer.drain(PATIENCE)
        assert made.writer.dropped == 0


def with_room(monkeypatch: pytest.MonkeyPatch, size: int) -> list[int]:
    """Makes writes fail as on a full disk; returns the number of bytes that fit, to be changed by the test."""
    room = [size]
    written = os.write

    def short(descriptor: int, data: bytes | memoryview) -> int:
        if not room[0]:
            raise OSError(28, "No space left on device")
        taken = written(descriptor, data[: room[0]])
        room[0] -= taken
        return taken

    monkeypatch.setattr(os, "write", short)
    return room


def test_lines_that_cannot_be_written_are_counted_and_a_torn_line_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = with_room(monkeypatch, 7)
    path = tmp_path / "log"
    with watched(path=path) as made:
        made.writer.write("one\ntwo\nthree\n")
        assert made.writer.drain(PATIENCE)
        assert made.writer.dropped == 2
        assert made.dropped == []
        room[0] = 1000
        made.writer.write("four\n")
        assert made.writer.drain(PATIENCE)
        assert made.dropped == [2]
    assert path.read_text() == "one\ntwo\nfour\n"


def test_a_line_that_was_torn_ends_after_further_failures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    room = with_room(monkeypatch, 2)
    path = tmp_path / "log"
    with watched(path=path) as made:
        for number, line in enumerate(("torn\n", "lost\n"), start=1):
            made.writer.write(line)
            assert made.writer.drain(PATIENCE)
            assert made.writer.dropped == number
        room[0] = 1  # the line break alone
        made.writer.write("lost too\n")
        assert made.writer.drain(PATIENCE)
        room[0] = 1000
        made.writer.write("whole\n")
        assert made.writer.drain(PATIENCE)
        assert made.dropped == [3]
    assert path.read_text() == "to\nwhole\n"


def test_a_renamed_file_is_reopened(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with watched(path=path) as made:
        made.writer.write("before\n")
        assert made.writer.drain(PATIENCE)
        path.rename(tmp_path / "log.1")
        made.writer.write("still there\n")
        made.writer.reopen()
        made.writer.write("after\n")
        assert made.writer.drain(PATIENCE)
        assert (tmp_path / "log.1").read_text() == "before\nstill there\n"
        assert path.read_text() == "after\n"
        assert path.stat().st_mode & 0o111 == 0


def test_a_file_that_cannot_be_reopened_is_kept(tmp_path: Path) -> None:
    directory = tmp_path / "logs"
    directory.mkdir()
    with watched(path=directory / "log") as made:
        directory.rename(tmp_path / "moved")
        made.writer.reopen()
        made.writer.write("line\n")
        assert made.writer.drain(PATIENCE)
        assert [str(error) for error in made.failed] == [
            f'failed to open log file "{directory / "log"}": No such file or directory'
        ]
        assert (tmp_path / "moved" / "log").read_text() == "line\n"


def test_the_loss_is_a_log_line_and_a_metric(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_log(tmp_path / "log") as log:
        configure_logging(level="info", as_json=False, stream=log, instance="h", version="v")
        assert dropped_lines() == 0
        with monkeypatch.context() as patch:
            patch.setattr(log, "_most_waiting", 0)
            get_logger("dapr.x").info("dropped")
        assert b"sentry_log_lines_dropped_total 1.0\n" in Metrics().exposition()[0]
        get_logger("dapr.x").info("written")
        assert log.drain(PATIENCE)
        assert log.drain(PATIENCE)  # the report was queued after the first request to drain
        lines = (tmp_path / "log").read_text().splitlines()
        assert "msg=written" in lines[0]
        assert 'level=warning msg="1 log lines were dropped: ' in lines[1]


def test_log_calls_do_not_wait_while_another_writes_to_the_same_descriptor(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with open_log(path) as log:
        configure_logging(level="info", as_json=False, stream=log, instance="h", version="v")
        assert logging.getLogger("dapr").handlers
        with held_back():
            get_logger("dapr.x").info("later")
            assert not log.drain(0)
            assert path.read_text() == ""
        assert log.drain(PATIENCE)
        assert "msg=later" in path.read_text()

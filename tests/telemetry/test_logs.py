"""Logging as the process does it: levels, destinations, and streams that fail."""

import contextlib
import io
import json
import logging
import os
import threading
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

import pytest
from cryptography.utils import CryptographyDeprecationWarning

from sentry_trio.telemetry.log_writer import LogFileError
from sentry_trio.telemetry.logs import (
    LineStream,
    Logger,
    capture_warnings,
    configure_logging,
    get_logger,
    held_back,
    open_log,
)

# At import, before anything is configured: as every module of the package does it.
LOG = get_logger("dapr.sentry.server")
NOON = datetime(2026, 3, 1, 12, 0, 5, tzinfo=UTC)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Recorder(io.StringIO):
    def __init__(self) -> None:
        super().__init__()
        self.writes: list[str] = []

    def write(self, text: str) -> int:
        self.writes.append(text)
        return super().write(text)


class Failing(io.StringIO):
    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error: Exception | None = error

    def write(self, text: str) -> int:
        if self.error is not None:
            raise self.error
        return super().write(text)


def configure(stream: LineStream, *, level: str = "debug", as_json: bool = False) -> None:
    configure_logging(level=level, as_json=as_json, stream=stream, instance="host-1", version="1.2.3", now=lambda: NOON)


def fail() -> None:
    raise OSError("first\nline of the text")


def say_everything(log: Logger) -> None:
    log.debug("d")
    log.info("i")
    log.warning("w")
    log.error("e")
    log.fatal("f")


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ("debug", ["debug", "info", "warning", "error", "fatal"]),
        ("INFO", ["info", "warning", "error", "fatal"]),
        ("warn", ["warning", "error", "fatal"]),
        ("Warning", ["warning", "error", "fatal"]),
        ("error", ["error", "fatal"]),
        ("fatal", ["fatal"]),
    ],
)
def test_levels(level: str, expected: list[str]) -> None:
    stream = io.StringIO()
    configure(stream, level=level, as_json=True)
    say_everything(LOG)
    assert [json.loads(line)["level"] for line in stream.getvalue().splitlines()] == expected


def test_an_unknown_level_is_refused() -> None:
    with pytest.raises(ValueError, match="no such log level: loud"):
        configure(io.StringIO(), level="loud")


def test_text_on_a_stream_that_is_no_terminal() -> None:
    stream = io.StringIO()
    configure(stream)
    LOG.info("Running gRPC server on port 50001")
    assert stream.getvalue() == (
        'time="2026-03-01T12:00:05Z" level=info msg="Running gRPC server on port 50001"'
        " instance=host-1 scope=dapr.sentry.server type=log ver=1.2.3\n"
    )


def test_colours_on_a_terminal_but_never_in_json() -> None:
    terminal = Terminal()
    configure(terminal)
    LOG.info("ready")
    assert terminal.getvalue().startswith("\x1b[36mINFO\x1b[0m[0000] ready ")
    terminal = Terminal()
    configure(terminal, as_json=True)
    LOG.info("ready")
    assert json.loads(terminal.getvalue())["msg"] == "ready"


def test_fields_cannot_replace_members_of_a_record() -> None:
    stream = io.StringIO()
    configure(stream, as_json=True)
    taken = {"time": "t", "level": "l", "msg": "m", "instance": "i", "type": "y", "ver": "v"}
    LOG.info("real", **taken)
    parsed = json.loads(stream.getvalue())
    assert {name: parsed[f"fields.{name}"] for name in taken} == taken
    assert (parsed["msg"], parsed["level"], parsed["instance"], parsed["type"]) == ("real", "info", "host-1", "log")


@pytest.mark.parametrize("as_json", [False, True])
def test_an_exception_is_one_field(as_json: bool) -> None:
    stream = io.StringIO()
    configure(stream, as_json=as_json)
    try:
        fail()
    except OSError as error:
        LOG.error("by value", exc_info=error)  # noqa: TRY400 - that is the case
        LOG.fatal("the last", exc_info=error)
    LOG.error("none", exc_info=False)
    lines = stream.getvalue().splitlines()
    assert len(lines) == 3
    assert all("Traceback" in line and r"OSError: first\nline of the text" in line for line in lines[:2])
    assert "exception" not in lines[2]


def test_a_message_of_any_kind_is_shown() -> None:
    stream = io.StringIO()
    configure(stream, as_json=True)
    LOG.info(ValueError("logged by mistake"))  # type: ignore[arg-type] # callers without type checker do that
    LOG.info("100 % of {it}")
    assert [json.loads(line)["msg"] for line in stream.getvalue().splitlines()] == [
        "logged by mistake",
        "100 % of {it}",
    ]


def test_one_write_per_record() -> None:
    stream = Recorder()
    configure(stream)
    LOG.info("one")
    LOG.info("two", text="x" * 100_000)
    assert [write.count("\n") for write in stream.writes] == [1, 1]


def test_threads_do_not_mix_their_lines() -> None:
    stream = io.StringIO()
    configure(stream, as_json=True)

    def talk(name: str) -> None:
        for _ in range(50):
            LOG.info(name * 100)

    threads = [threading.Thread(target=talk, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    said = [json.loads(line)["msg"] for line in stream.getvalue().splitlines()]
    assert sorted(said) == [name * 100 for name in "abcd" for _ in range(50)]


@pytest.mark.parametrize(
    "error", [BrokenPipeError("gone"), OSError(28, "No space left on device"), ValueError("closed")]
)
def test_a_stream_that_fails_loses_lines_and_nothing_else(error: Exception) -> None:
    stream = Failing(error)
    configure(stream, as_json=True)
    LOG.error("lost")
    stream.error = None
    LOG.error("heard again")
    assert [json.loads(line)["msg"] for line in stream.getvalue().splitlines()] == ["heard again"]


def test_lines_are_held_back_while_another_writes_to_the_stream() -> None:
    recorder = Recorder()
    configure(recorder)
    (handler,) = logging.getLogger("dapr").handlers
    lock = handler.lock
    assert lock is not None
    free: list[bool] = []
    tries = threading.Thread(target=lambda: free.append(lock.acquire(blocking=False)))
    thread = threading.Thread(target=LOG.info, args=("later",))
    with held_back():
        tries.start()
        tries.join()
        thread.start()
        recorder.write("between\n")
    thread.join()
    assert free == [False]
    assert [text.partition(" ")[0] for text in recorder.writes] == ["between\n", 'time="2026-03-01T12:00:05Z"']


def test_a_closed_pipe() -> None:
    read_end, write_end = os.pipe()
    with io.FileIO(write_end, "w") as raw:
        stream = io.TextIOWrapper(io.BufferedWriter(raw), encoding="utf-8")
        configure(stream)
        LOG.info("heard")
        assert b"msg=heard" in os.read(read_end, 4096)
        os.close(read_end)
        LOG.info("lost")
        forsake(stream)


def test_a_full_disk() -> None:
    with io.FileIO("/dev/full", "w") as raw:
        stream = io.TextIOWrapper(io.BufferedWriter(raw), encoding="utf-8")
        configure(stream)
        LOG.info("lost")
        forsake(stream)


def forsake(stream: TextIO) -> None:
    """Close a stream whose last words cannot be written."""
    with contextlib.suppress(OSError):
        stream.close()


def test_a_closed_stream() -> None:
    stream = io.StringIO()
    configure(stream)
    stream.close()
    LOG.info("lost")


def test_a_stream_that_lacks_the_characters() -> None:
    raw = io.BytesIO()
    with io.TextIOWrapper(raw, encoding="ascii", write_through=True) as stream:
        configure(stream)
        LOG.info("grün")
        assert rb'msg="gr\xfcn"' in raw.getvalue()


def test_the_clock_is_local_time_by_default() -> None:
    stream = io.StringIO()
    configure_logging(level="info", as_json=True, stream=stream, instance="h", version="v")
    before = datetime.now(UTC)
    LOG.info("m")
    said = datetime.fromisoformat(json.loads(stream.getvalue())["time"])
    assert before <= said <= datetime.now(UTC)
    assert said.utcoffset() == before.astimezone().utcoffset()


def test_a_log_file_is_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "sentry.log"
    umask = os.umask(0)
    try:
        for message in ("one", "two"):
            with open_log(path) as stream:
                configure(stream, as_json=True)
                LOG.info(message)
                # Written at once, not when the file is closed.
                assert stream.drain(10)
                assert json.loads(path.read_text().splitlines()[-1])["msg"] == message
    finally:
        os.umask(umask)
    assert len(path.read_text().splitlines()) == 2
    assert path.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize(
    ("name", "reason"), [("absent/sentry.log", "No such file or directory"), ("", "Is a directory")]
)
def test_a_log_file_that_cannot_be_opened(tmp_path: Path, name: str, reason: str) -> None:
    path = tmp_path / name
    with pytest.raises(LogFileError) as caught:
        open_log(path)
    assert str(caught.value) == f'failed to open log file "{path}": {reason}'
    assert isinstance(caught.value.__cause__, OSError)


def test_without_configuration_the_standard_library_decides(caplog: pytest.LogCaptureFixture) -> None:
    LOG.warning("for whoever embeds this", port=50001)
    assert [(record.name, record.getMessage()) for record in caplog.records] == [
        ("dapr.sentry.server", "for whoever embeds this")
    ]


def test_others_may_log_under_the_same_name() -> None:
    stream = io.StringIO()
    configure(stream, as_json=True)
    logging.getLogger("dapr.sdk").log(25, "by %s", "another")
    logging.getLogger("dapr.sdk").log(60, "loud")
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(line["scope"], line["level"], line["msg"]) for line in lines] == [
        ("dapr.sdk", "info", "by another"),
        ("dapr.sdk", "fatal", "loud"),
    ]


def test_warnings_are_lines_and_each_text_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    configure(stream, as_json=True)
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        capture_warnings()
        for _ in range(2):
            warnings.warn("length must be 2, but it was 7\nmore", UserWarning, stacklevel=1)
        warnings.warn("serial number of zero", CryptographyDeprecationWarning, stacklevel=1)
        warnings.warn("coroutine was never awaited", RuntimeWarning, stacklevel=1)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(line["level"], line["msg"]) for line in lines] == [
        ("debug", "UserWarning: length must be 2, but it was 7\nmore"),
        ("debug", "CryptographyDeprecationWarning: serial number of zero"),
        ("warning", "RuntimeWarning: coroutine was never awaited"),
    ]


def test_texts_of_warnings_are_remembered_in_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    configure(stream)
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        capture_warnings()
        for number in range(200):
            warnings.warn(f"text {number}", UserWarning, stacklevel=1)
    assert len(stream.getvalue().splitlines()) == 100

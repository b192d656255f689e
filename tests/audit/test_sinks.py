"""Files and standard output as they really are: modes, links, locks, pipes."""

import fcntl
import os
import select
import stat
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from sentry_trio.audit.chain import Batches, ChainEnd
from sentry_trio.audit.sinks import Sink, open_file
from sentry_trio.errors import AuditLogError
from testkit.audit_chains import chain, opening, verified


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.log"


def written(sink: Sink, *lines: bytes) -> None:
    data = Batches(sink.end).compose(lines)
    assert sink.append(data, sync=False) == (len(data), None)


def stdout(descriptor: int) -> Sink:
    return Sink(descriptor, ChainEnd())


def refusal(path: Path) -> str:
    with pytest.raises(AuditLogError) as caught:
        open_file(path)
    return str(caught.value).removeprefix(f"{path}: ")


def test_a_new_file_is_for_its_owner_alone(path: Path) -> None:
    before = os.umask(0)
    try:
        with closing(open_file(path)) as sink:
            assert sink.append(b"x", sync=True) == (1, None)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_an_existing_file_is_appended_to_and_keeps_its_mode(path: Path) -> None:
    path.write_bytes(b"".join(chain()))
    path.chmod(0o640)
    with closing(open_file(path)) as sink:
        written(sink, opening("continued"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    report = verified(path.read_bytes())
    assert report.is_intact
    assert report.lines == len(chain()) + 1


def test_it_is_appended_to_while_others_write(path: Path) -> None:
    with closing(open_file(path)) as sink:
        sink.append(b"one ", sync=False)
        with path.open("ab") as other:
            other.write(b"two ")
        sink.append(b"three", sync=False)
    assert path.read_bytes() == b"one two three"


def test_links_are_not_followed(path: Path) -> None:
    target = path.with_name("target")
    path.symlink_to(target)
    assert refusal(path) == "symbolic links are not followed"
    assert not target.exists()


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: path.mkdir(), "Is a directory"),
        (os.mkfifo, "not a regular file"),
        (lambda path: path.write_text("127.0.0.1 localhost\n"), "not an audit log"),
    ],
    ids=["directory", "pipe", "text"],
)
def test_other_files_are_left_alone(path: Path, make: object, reason: str) -> None:
    assert callable(make)
    make(path)
    assert refusal(path) == reason
    assert path.is_dir() or path.is_fifo() or path.read_text() == "127.0.0.1 localhost\n"


def test_the_directory_has_to_be_there(path: Path) -> None:
    assert refusal(path / "audit.log") == "No such file or directory"


def test_one_process_at_a_time(path: Path) -> None:
    first = open_file(path)
    assert refusal(path) == "another process writes to it; each process needs its own file"
    first.close()
    open_file(path).close()


def test_a_file_system_without_locks_is_taken(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with closing(open_file(path)) as sink:
        written(sink, opening())
        # Appends by another process cannot be detected.
        open_file(path).close()
    report = verified(path.read_bytes())
    assert (report.is_intact, report.lines) == (True, 1)


def test_a_lock_that_fails_is_an_error(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(fcntl, "flock", fail)
    assert refusal(path) == "Input/output error"


def test_a_renamed_file_is_recognized(path: Path) -> None:
    with closing(open_file(path)) as sink:
        assert not sink.moved()
        path.rename(path.with_name("audit.log.1"))
        assert sink.moved()
        path.write_bytes(b"")
        assert sink.moved()
        path.unlink()
        path.with_name("audit.log.1").rename(path)
        assert not sink.moved()


# --- standard output


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    for descriptor in (reading, writing):
        try:
            os.close(descriptor)
        except OSError:
            continue


def test_standard_output_stays_open(pipe: tuple[int, int]) -> None:
    sink = stdout(pipe[1])
    written(sink, opening())
    assert sink.append(b"", sync=True) == (0, None)
    sink.close()
    assert not sink.moved()
    os.write(pipe[1], b"still open\n")
    assert os.read(pipe[0], 9999).endswith(b'"}\nstill open\n')


@pytest.mark.parametrize("blocking", [True, False])
def test_a_write_larger_than_the_pipe_is_one(pipe: tuple[int, int], blocking: bool) -> None:
    os.set_blocking(pipe[1], blocking)
    read = bytearray()

    def drain() -> None:
        while chunk := os.read(pipe[0], 4096):
            read.extend(chunk)

    reader = threading.Thread(target=drain)
    reader.start()
    data = os.urandom(1024) * 300
    assert stdout(pipe[1]).append(data, sync=True) == (len(data), None)
    os.close(pipe[1])
    reader.join()
    assert read == data


def test_a_pipe_that_is_full_and_does_not_block_is_waited_for(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    os.set_blocking(pipe[1], False)
    with suppress(BlockingIOError):
        while os.write(pipe[1], bytes(4096)):
            continue
    waited_for = []

    def drain(_: list[int], writing: list[int], __: list[int]) -> None:
        waited_for.extend(writing)
        os.read(pipe[0], 1 << 20)

    monkeypatch.setattr(select, "select", drain)
    assert stdout(pipe[1]).append(b"line\n", sync=False) == (5, None)
    assert waited_for == [pipe[1]]
    assert os.read(pipe[0], 100) == b"line\n"


def test_a_log_without_a_reader(pipe: tuple[int, int]) -> None:
    os.close(pipe[0])
    taken, error = stdout(pipe[1]).append(b"x", sync=False)
    assert taken == 0
    assert isinstance(error, BrokenPipeError)


def test_a_reader_that_leaves_half_way(pipe: tuple[int, int]) -> None:
    """Bytes that the pipe has accepted by then are counted."""
    fcntl.fcntl(pipe[1], fcntl.F_SETPIPE_SZ, 4096)

    def leave() -> None:
        os.read(pipe[0], 100)
        os.close(pipe[0])

    reader = threading.Thread(target=leave)
    reader.start()
    taken, error = stdout(pipe[1]).append(bytes(300_000), sync=False)
    assert 0 < taken < 300_000
    assert isinstance(error, BrokenPipeError)
    reader.join()

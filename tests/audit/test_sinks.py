"""Files and standard output as they really are: modes, links, locks, pipes."""

import fcntl
import os
import stat
import threading
from collections.abc import Iterator
from contextlib import closing, nullcontext
from pathlib import Path

import pytest

from sentry_trio.audit.batch import Batches, End
from sentry_trio.audit.chain import START
from sentry_trio.audit.sinks import Opened, open_file, open_stdout
from sentry_trio.errors import AuditLogError
from tests.audit.chains import chain, opening, verified


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.log"


def written(opened: Opened, *lines: bytes) -> None:
    data = Batches(opened.found.end).compose(lines)
    assert opened.sink.write(data) == len(data)


def refusal(path: Path) -> str:
    with pytest.raises(AuditLogError) as caught:
        open_file(path)
    return str(caught.value).removeprefix(f"{path}: ")


def test_a_new_file_is_for_its_owner_alone(path: Path) -> None:
    before = os.umask(0)
    try:
        with closing(open_file(path).sink) as sink:
            sink.write(b"x")
            sink.sync()
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_is_there_is_added_to_and_keeps_its_mode(path: Path) -> None:
    path.write_bytes(b"".join(chain()))
    path.chmod(0o640)
    opened = open_file(path)
    with closing(opened.sink):
        written(opened, opening("continued"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    report = verified(path.read_bytes())
    assert report.is_intact
    assert report.lines == len(chain()) + 1


def test_it_is_appended_to_whoever_else_writes(path: Path) -> None:
    with closing(open_file(path).sink) as sink:
        sink.write(b"one ")
        with path.open("ab") as other:
            other.write(b"two ")
        sink.write(b"three")
    assert path.read_bytes() == b"one two three"


def test_links_are_not_followed(path: Path) -> None:
    target = path.with_name("target")
    path.symlink_to(target)
    assert refusal(path) == "it is a symbolic link, which is not followed"
    assert not target.exists()


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: path.mkdir(), "Is a directory"),
        (os.mkfifo, "it is not a regular file"),
        (lambda path: path.write_text("127.0.0.1 localhost\n"), "it is something else than an audit log"),
    ],
    ids=["directory", "pipe", "text"],
)
def test_what_is_no_file_of_ours_is_left_alone(path: Path, make: object, reason: str) -> None:
    assert callable(make)
    make(path)
    assert refusal(path) == reason
    assert path.is_dir() or path.is_fifo() or path.read_text() == "127.0.0.1 localhost\n"


def test_the_directory_has_to_be_there(path: Path) -> None:
    assert refusal(path / "audit.log") == "No such file or directory"


def test_one_process_at_a_time(path: Path) -> None:
    first = open_file(path)
    assert refusal(path) == "another process appends to it; every process needs a file of its own"
    first.sink.close()
    open_file(path).sink.close()


def test_a_file_system_without_locks_is_taken(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    opened = open_file(path)
    with closing(opened.sink):
        written(opened, opening())
        # Appends by another process cannot be detected.
        open_file(path).sink.close()
    report = verified(path.read_bytes())
    assert (report.is_intact, report.lines) == (True, 1)


def test_it_is_known_whether_it_has_another_name_by_now(path: Path) -> None:
    with closing(open_file(path).sink) as sink:
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


def test_standard_output_begins_a_chain(pipe: tuple[int, int]) -> None:
    opened = open_stdout(pipe[1], nullcontext)
    assert opened.found.end == End(START)
    written(opened, opening())
    opened.sink.sync()
    opened.sink.close()
    assert not opened.sink.moved()
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
    assert open_stdout(pipe[1], nullcontext).sink.write(data) == len(data)
    os.close(pipe[1])
    reader.join()
    assert read == data


def test_nobody_reads(pipe: tuple[int, int]) -> None:
    os.close(pipe[0])
    with pytest.raises(BrokenPipeError):
        open_stdout(pipe[1], nullcontext).sink.write(b"x")


def test_a_reader_that_leaves_half_way(pipe: tuple[int, int]) -> None:
    """What the pipe has taken by then is counted."""
    fcntl.fcntl(pipe[1], fcntl.F_SETPIPE_SZ, 4096)

    def leave() -> None:
        os.read(pipe[0], 100)
        os.close(pipe[0])

    reader = threading.Thread(target=leave)
    reader.start()
    sink = open_stdout(pipe[1], nullcontext).sink
    assert 0 < sink.write(bytes(300_000)) < 300_000
    reader.join()

"""The load client, grpc-go's: built from the module beside this file, run as a process, its findings read."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import msgspec

from testkit.go_modules import GoModule
from testkit.processes import killed_at_end

_MORE_THAN_A_CALL = 90  # seconds; calls under way may take 60


@cache
def build() -> Path:
    """Builds the client; a second or so if Go has built it before.

    Raises:
        UnavailableError: there is no Go here, or its modules cannot be had.
    """
    return GoModule(Path(__file__).parent, "the foreign client").fetched().build("./load")


class Calls(msgspec.Struct):
    """Results of the calls of one kind of caller; durations in ms."""

    calls: int
    failures: int
    errors: list[str]
    longest_gap_ms: float
    p50_ms: float
    p99_ms: float
    max_ms: float


class Idle(msgspec.Struct):
    """Number of idle connections made, and of failures."""

    opened: int
    refused: int


class Report(msgspec.Struct):
    """Final report of the client. `issuers`: leaves by the SHA-256 of the certificate that signed them."""

    seconds: float
    kept: Calls
    new: Calls
    longest_gap_ms: float
    leaves_verified: int
    issuers: dict[str, int]
    idle_tcp: Idle
    idle_h2: Idle

    @property
    def calls(self) -> int:
        return self.kept.calls + self.new.calls

    @property
    def failures(self) -> int:
        return self.kept.failures + self.new.failures

    @property
    def errors(self) -> list[str]:
        """The first few error texts of both kinds."""
        return self.kept.errors + self.new.errors


class Cold(msgspec.Struct):
    """Results of pods that all request a first certificate at once."""

    seconds: float
    tries: int
    pods: Calls


class Load:
    """A client that is calling."""

    def __init__(self, popen: subprocess.Popen[str]) -> None:
        self._popen = popen

    @property
    def pid(self) -> int:
        """Its process."""
        return self._popen.pid

    def wait_ready(self) -> None:
        """Returns once every caller has had its first answer and every idle connection has been tried."""
        self._wait("ready")

    def count_anew(self) -> None:
        """Has it forget the calls so far; a call under way counts when it has ended."""
        assert self._popen.stdin is not None
        self._popen.stdin.write("\n")
        self._popen.stdin.flush()
        self._wait("counting")

    def stop(self) -> Report:
        """Lets it finish the calls under way, and reads its results."""
        output, complaints = self._popen.communicate(timeout=_MORE_THAN_A_CALL)
        assert self._popen.returncode == 0, complaints
        return msgspec.json.decode(output, type=Report)

    def _wait(self, word: str) -> None:
        assert self._popen.stderr is not None
        line = self._popen.stderr.readline()
        assert line == f"{word}\n", f"the load client said {line!r}"


@contextmanager
def load(binary: Path, port: int, anchors: Path, spiffe_id: str, **flags: int | str) -> Iterator[Load]:
    """Starts the client against loopback; `flags` as the client names them, with underscores."""
    where = (f"-address=127.0.0.1:{port}", f"-anchors={anchors}", f"-spiffe-id={spiffe_id}")
    more = [f"-{name.replace('_', '-')}={value}" for name, value in flags.items()]
    pipe = subprocess.PIPE
    popen = subprocess.Popen([binary, *where, *more], stdin=pipe, stdout=pipe, stderr=pipe, text=True)
    with killed_at_end(popen):
        yield Load(popen)


def cold_start(binary: Path, address: str, anchors: Path, spiffe_id: str, pods: Path) -> Cold:
    """Has the pods of a file ask at once, each with a sidecar's patience: five tries of 3 s; returns when all are done.

    Args:
        binary: the client.
        address: host and port of the authority.
        anchors: file of its trust anchors.
        spiffe_id: its own.
        pods: file, a JSON list of objects with `namespace`, `app` and `token`.
    """
    where = (f"-address={address}", f"-anchors={anchors}", f"-spiffe-id={spiffe_id}", "-trust-domain=public")
    done = subprocess.run([binary, *where, f"-cold={pods}"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return msgspec.json.decode(done.stdout, type=Cold)

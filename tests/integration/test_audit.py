"""The audit log of real processes: requests, refusals, restarts, kills, full disks; and what is done to it after."""

import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes

from sentry_trio.cli import main
from sentry_trio.client import Authority, Obtained, RequestFailedError, Workload, obtain
from testkit.authorities import LOOPBACK
from testkit.processes import sentry_process
from testkit.subject import SERVING, SPIFFE_ID, Subject, subject

Line = dict[str, Any]
TOKEN = "eyJhbGciOiJSUzI1NiJ9.c2VjcmV0LWNsYWltcw.c2VjcmV0LXNpZ25hdHVyZQ"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Of the log; credentials are beside it."""
    (tmp_path / "credentials").mkdir()
    return tmp_path / "audit.log"


@contextmanager
def recording(path: Path, *flags: str) -> Iterator[Subject]:
    with subject(path.with_name("credentials"), "--audit-log", str(path), *flags) as target:
        yield target


def ask(port: int, credentials: Path, app_id: str = "cart", **fields: Any) -> Obtained:
    anchors = (credentials / "ca.crt").read_bytes()
    authority = Authority(host="127.0.0.1", port=port, trust_anchors=anchors, spiffe_id=SPIFFE_ID)
    return obtain(authority, Workload(app_id=app_id, namespace="shop", token=TOKEN, **fields))


def lines(path: Path) -> list[Line]:
    return [json.loads(line) for line in path.read_bytes().splitlines() if line.endswith(b'"}')]


def decisions(path: Path) -> list[Line]:
    return [line for line in lines(path) if line["event"] == "decision"]


def verify(path: Path, *flags: str) -> int:
    return main(["audit", "verify", str(path), *flags])


def serial(obtained: Obtained) -> str:
    return f"{obtained.certificate.serial_number:x}"


def test_each_request_has_its_line_and_no_secret_is_in_any(place: Path) -> None:
    credentials = place.with_name("credentials")
    with recording(place, "--jwt-enabled") as target:
        first = ask(target.grpc_port, credentials, audiences=("one", "two"))
        with pytest.raises(RequestFailedError):
            ask(target.grpc_port, credentials, "my.cart", trust_domain="example.org")
        target.stop()
    issued, refused = decisions(place)
    assert issued["outcome"] == "issued"
    assert issued["asked"] == {
        "app_id": "cart",
        "namespace": "shop",
        "trust_domain": "",
        "validator": "unknown",
        "jwt_audiences": 2,
    }
    assert issued["validator"] == "insecure"
    assert issued["spiffe_id"] == "spiffe://public/ns/shop/cart"
    assert issued["serial"] == serial(first)
    assert issued["sha256"] == first.certificate.fingerprint(hashes.SHA256()).hex()
    assert issued["not_after"].startswith(first.certificate.not_valid_after_utc.strftime("%Y-%m-%dT%H:%M:%S"))
    assert issued["jwts"] == 4
    assert re.fullmatch(r"127\.0\.0\.1:\d+", issued["caller"])
    assert (refused["outcome"], refused["cause"], refused["asked"]["app_id"]) == (
        *("not_issued", "invalid_request", "my.cart"),
    )
    assert [line["event"] for line in lines(place)] == ["opened", "decision", "decision", "closed"]
    assert verify(place, "--expect-last", lines(place)[-1]["hash"]) == 0
    assert place.stat().st_mode & 0o777 == 0o600

    text = place.read_text()
    assert first.jwt is not None
    secrets = [*TOKEN.split("."), *first.jwt.split("."), "BEGIN", "MII", *first.key.decode().splitlines()[1:-1]]
    assert all(len(secret) >= 3 and secret not in text for secret in secrets)


def app_ids(path: Path) -> list[str]:
    """Callers in their order, each once: a client that meets the end of a run retries."""
    return list(dict.fromkeys(line["asked"]["app_id"] for line in decisions(path)))


def test_a_hot_restart_continues_in_the_file(place: Path) -> None:
    credentials = place.with_name("credentials")
    with recording(place) as target:
        ask(target.grpc_port, credentials, "one")
        target.process.send(signal.SIGHUP)
        target.process.log_until(SERVING)
        ask(target.grpc_port, credentials, "two")
        target.stop()
    assert app_ids(place) == ["one", "two"]
    assert [line["event"] for line in lines(place) if line["event"] != "decision"] == ["opened", "closed"]
    assert verify(place) == 0


def test_a_hot_restart_continues_in_a_new_file_if_the_old_one_was_renamed(place: Path) -> None:
    credentials, moved = place.with_name("credentials"), place.with_name("audit.log.1")
    with recording(place) as target:
        ask(target.grpc_port, credentials, "one")
        place.rename(moved)
        ask(target.grpc_port, credentials, "two")
        target.process.send(signal.SIGHUP)
        target.process.log_until("the audit log continues in a new file")
        ask(target.grpc_port, credentials, "three")
        target.stop()
    assert app_ids(moved) == ["one", "two"]
    assert app_ids(place) == ["three"]
    assert (lines(moved)[-1]["reason"], lines(place)[0]["begins"]) == ("moved", "moved")
    assert verify(moved) == verify(place) == 0
    whole = place.with_name("whole")
    whole.write_bytes(moved.read_bytes() + place.read_bytes())
    assert verify(whole) == 0
    whole.write_bytes(b"".join(moved.read_bytes().splitlines(keepends=True)[:-2]) + place.read_bytes())
    assert verify(whole) == 1


class Callers:
    """Threads that send requests until they are stopped, or the server is gone.

    Attributes:
        got: the serial numbers of what they have obtained.
    """

    def __init__(self, port: int, credentials: Path, number: int) -> None:
        self.got: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._enough = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(port, credentials)) for _ in range(number)]
        for thread in self._threads:
            thread.start()

    def _ask(self, port: int, credentials: Path) -> None:
        with suppress(RequestFailedError):
            while not self._enough.is_set():
                self.got.put(serial(ask(port, credentials)))

    def some(self) -> set[str]:
        """Certificates of the next three."""
        return {self.got.get(timeout=60) for _ in range(3)}

    def join(self) -> set[str]:
        """Stops them; what they have obtained since."""
        self._enough.set()
        for thread in self._threads:
            thread.join()
        return {self.got.get() for _ in range(self.got.qsize())}


def test_restarts_under_load_write_one_chain(place: Path) -> None:
    """Every certificate that was obtained is there once, whichever run gave it.

    The client treats a GOAWAY as the end of its connection and asks again, so some certificates are never received.
    """
    got: set[str] = set()
    with recording(place, "--audit-required") as target:
        callers = Callers(target.grpc_port, place.with_name("credentials"), 3)
        for _ in range(4):
            target.process.send(signal.SIGHUP)
            target.process.log_until(SERVING)
            got |= callers.some()
        got |= callers.join()
        target.stop()
    issued = Counter(line["serial"] for line in decisions(place) if line["outcome"] == "issued")
    assert len(got) >= 12
    assert got <= set(issued)
    assert set(issued.values()) == {1}
    assert verify(place) == 0


def test_after_a_kill_the_next_process_continues_the_log(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Answered requests are recorded whenever the process is killed, and a partial line is reported."""
    got: set[str] = set()
    for _ in range(3):
        with recording(place, "--audit-required") as target:
            callers = Callers(target.grpc_port, place.with_name("credentials"), 3)
            got |= callers.some()
            target.process.send(signal.SIGKILL)
            target.process.exit_code()
            got |= callers.join()
        assert verify(place) == 0
        # As a loss of power leaves it: half a line is there.
        with place.open("ab") as file:
            file.write(b'{"audit":1,"time":"2026-03-')
    with recording(place) as target:
        target.stop()
    assert got <= {line["serial"] for line in decisions(place)}
    assert [line["begins"] for line in lines(place) if line["event"] == "opened"] == ["anew", *["continued"] * 3]
    capsys.readouterr()
    assert verify(place) == 0
    assert capsys.readouterr().out.count("reports that a crash or a full disk cut short line") == 3


def test_every_kind_of_change_is_found(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with recording(place) as target:
        for app_id in ("one", "two", "three"):
            ask(target.grpc_port, place.with_name("credentials"), app_id)
        target.stop()
    written = place.read_bytes().splitlines(keepends=True)
    last = json.loads(written[-1])["hash"]
    assert len(written) == 5
    changed = place.with_name("changed")

    def outcome(data: list[bytes]) -> str:
        changed.write_bytes(b"".join(data))
        code = verify(changed, "--expect-last", last)
        reported = capsys.readouterr().out
        assert code == (1 if reported.startswith("broken") else 0)
        return reported.splitlines()[0]

    assert outcome(written).startswith("intact: 5 lines")
    for at, line in enumerate(written):
        for old, new in [(b"2026", b"2025"), (b'"seq":', b'"seq":1'), (b"event", b"EVENT"), (b'"}\n', b'" }\n')]:
            altered = line.replace(old, new, 1) if old in line else line[:-5] + b"\n"
            assert outcome([*written[:at], altered, *written[at + 1 :]]).startswith(f"broken: line {at + 1} ")
        assert outcome([*written[:at], *written[at + 1 :]]).startswith("broken: ")
        assert outcome([*written[:at], line, *written[at:]]).startswith("broken: line ")
        for other in range(at):
            swapped = list(written)
            swapped[at], swapped[other] = swapped[other], swapped[at]
            assert outcome(swapped).startswith(f"broken: line {other + 1} ")


# --- a full disk


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    directory = tmp_path / "disk"
    directory.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k,mode=700", "tmpfs", str(directory)]
    try:
        made = subprocess.run(mount, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount")
    if made.returncode != 0:
        pytest.skip(f"a file system cannot be mounted here: {made.stderr.strip()}")
    try:
        yield directory
    finally:
        subprocess.run(["umount", str(directory)], check=True)


def fill(directory: Path) -> Path:
    """Leaves no room."""
    filler = directory / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            return filler
    raise AssertionError("it has no end")


@contextmanager
def recording_on(disk: Path, *flags: str) -> Iterator[tuple[Subject, Path, Path]]:
    credentials = disk.with_name("credentials")
    credentials.mkdir()
    path = disk / "audit.log"
    with subject(credentials, "--audit-log", str(path), *flags) as target:
        yield target, credentials, path
        target.stop()


def until_it_is_full(target: Subject, credentials: Path) -> int:
    """Asks until the last page of the file has no room for a line; returns how many certificates were issued."""
    for asked in range(1, 12):
        ask(target.grpc_port, credentials, f"before-{asked}")
        if target.metric("sentry_audit_decisions_lost_total") > 0:
            return asked
    raise AssertionError("it was never full")


def test_a_full_disk_stops_no_issuing(small_disk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with recording_on(small_disk) as (target, credentials, path):
        filler = fill(small_disk)
        lost = until_it_is_full(target, credentials)
        assert lost < 11
        for number in range(3):
            ask(target.grpc_port, credentials, f"lost-{number}")
        with pytest.raises(RequestFailedError):
            ask(target.grpc_port, credentials, "my.cart")
        target.process.log_until(f"the audit log {path} cannot be written: No space left on device; certificates are")
        filler.unlink()
        target.process.log_until(f"the audit log {path} can be written again")
        ask(target.grpc_port, credentials, "after")
        reported = target.metric("sentry_audit_decisions_lost_total")
    complaints = [text for text in target.complaints() if "audit log" in text]
    assert len(complaints) == 2
    resumed = [line["lost"] for line in lines(path) if line["event"] == "resumed"]
    assert sum(line["issued"] + line["not_issued"] for line in resumed) == reported
    assert resumed[-1]["issued"] >= 3
    assert decisions(path)[-1]["asked"]["app_id"] == "after"
    assert verify(path) == 0
    assert "reports that decisions before it were lost" in capsys.readouterr().out


def ask_until_refused(target: Subject, credentials: Path) -> tuple[list[str], str]:
    """Obtained certificates, and the text of the rejection."""
    got: list[str] = []
    try:
        while len(got) < 12:
            got.append(serial(ask(target.grpc_port, credentials)))
    except RequestFailedError as error:
        return got, str(error)
    raise AssertionError("it was never refused")


def test_a_full_disk_stops_issuing_where_the_log_is_required(small_disk: Path) -> None:
    with recording_on(small_disk, "--audit-required") as (target, credentials, path):
        filler = fill(small_disk)
        got, refusal = ask_until_refused(target, credentials)
        assert "answered Unavailable: the audit log cannot be written now, try again" in refusal
        assert target.metric('sentry_sign_failures_total{code="Unavailable",reason="audit_unavailable"}') > 0
        filler.unlink()
        got.append(serial(ask(target.grpc_port, credentials)))
    assert [line["serial"] for line in decisions(path) if line["outcome"] == "issued"] == got
    assert all(line["lost"] is None or line["lost"]["issued"] == 0 for line in lines(path) if "lost" in line)
    assert verify(path) == 0


# --- standard output, and what keeps a process from starting


@pytest.mark.parametrize("form", [(), ("--log-as-json",)], ids=["text", "json"])
def test_in_standard_output_its_lines_are_between_those_of_the_log(
    place: Path, form: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    credentials = place.with_name("credentials")
    standalone = ("--mode", "standalone", "--issuer-credentials", str(credentials), *LOOPBACK)
    command = [sys.executable, "-m", "sentry_trio", *standalone, *form, "--log-level", "debug"]
    with subprocess.Popen([*command, "--audit-log", "stdout"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            seen = []
            for line in process.stdout:
                seen.append(line)
                if found := re.search(rb"Running gRPC server on port (\d+)", line):
                    obtained = ask(int(found[1]), credentials)
                    process.terminate()
        finally:
            process.kill()
    ours = [line for line in seen if line.startswith(b'{"audit":')]
    others = [line for line in seen if not line.startswith(b'{"audit":')]
    assert [json.loads(line)["event"] for line in ours] == ["opened", "decision", "closed"]
    assert json.loads(ours[1])["serial"] == serial(obtained)
    assert json.loads(ours[1])["request"].encode() in b"".join(others)  # in the log, too
    assert all(b'"audit":' not in line for line in others)
    assert all(line.startswith(b"{" if form else b"time=") for line in others)
    place.write_bytes(b"".join(seen))
    assert verify(place, "--among-logs") == 0
    assert verify(place) == 1
    assert f"note: {len(others)} other lines were ignored" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "flags", "reason"),
    [
        ("gone/audit.log", (), "No such file or directory"),
        ("credentials", (), "Is a directory"),
        ("/dev/full", ("--audit-required",), "not a regular file"),
    ],
)
def test_without_a_writable_log_no_process_starts(place: Path, name: str, flags: tuple[str, ...], reason: str) -> None:
    path = place.parent / name
    with sentry_process(place.with_name("credentials"), "--audit-log", str(path), *flags) as process:
        assert process.exit_code() == 1
    assert process.messages()[-1] == f"the audit log cannot be opened: {path}: {reason}"


def test_two_processes_do_not_share_one(place: Path) -> None:
    with (
        recording(place) as target,
        sentry_process(place.with_name("credentials"), "--audit-log", os.fspath(place)) as other,
    ):
        assert other.exit_code() == 1
        assert "another process writes to it; each process needs its own file" in other.messages()[-1]
        ask(target.grpc_port, place.with_name("credentials"))
        target.stop()
    assert verify(place) == 0
